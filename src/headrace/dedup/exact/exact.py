"""Equal samples, told by 128-bit keys of their values, or by the values themselves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pyarrow as pa

from headrace.dedup.exact.groups import match_keys
from headrace.dedup.exact.normalizing import Normalize, normalized, parse_normalize
from headrace.dedup.exact.verify import verified
from headrace.dedup.method import Edges, MatchOptions, Signature, Signatures
from headrace.errors import OptionError
from headrace.hashing.forms import check_type
from headrace.hashing.keys import row_keys


@dataclass(frozen=True, slots=True)
class KeySigner:
    """Makes a 128-bit key of the compared columns of each sample.

    Attributes:
        normalize: What is done to texts before, in this order.
        nulls_equal: Whether null equals null; else a sample with a null has no key.
    """

    normalize: tuple[str, ...] = ()
    nulls_equal: bool = False

    def __call__(self, batch: pa.RecordBatch) -> Signature:
        """Hash each row: `keys`, uint64 of shape [rows, 2], the low word first."""
        batch = normalized(batch, self.normalize)
        keys, has_null = row_keys(batch.columns, batch.schema.names)
        if self.nulls_equal or not has_null.any():
            return Signature(None, {"keys": keys})
        rows = np.flatnonzero(~has_null)
        return Signature(rows, {"keys": keys[rows]})


@dataclass(frozen=True, slots=True)
class Exact:
    """Samples are duplicates if the values of all compared columns are equal.

    Values are compared as they are, whatever their type: numbers, texts, times, lists, structs, images.

    - A sample with a null in one of the columns never equals another one, unless `nulls_equal`. A null
      inside of a list or a struct is a value like any other.
    - NaN equals NaN, and -0.0 equals 0.0, inside of lists and arrays too.
    - Texts are equal if their characters are. "é" and "e" with an accent behind it differ, unless
      `normalize` makes them equal. Time stamps are moments, and decimals numbers, whatever their scale.
    - N-d arrays are equal if their shapes, types and numbers are; encoded images if their bytes are.

    Samples are told apart by 128 bits of XXH3: among a billion different ones, two share their key with a
    probability of 1.5e-21. XXH3 is no cryptographic hash. Data that somebody wrote to deceive it, and whoever
    wants no probability at all, takes `verify`.

    Attributes:
        normalize: What is done to the texts of text columns and categories before they are compared; the data
            stays as it is. One word or several, which are applied in this order whatever theirs: "nfc" or
            "nfkc" (Unicode's forms), "casefold" (no upper and lower case; the form is made once more after
            it), "whitespace" (each run of white space is one blank, and none at the ends), "strip" (no white
            space at the ends).
        nulls_equal: Whether null equals null.
        verify: Whether samples of equal key are read once more, and compared by their values.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"text": ["A cat", "a  cat", "A dog"]})
        >>> hr.find_duplicates(ds).pairs.height
        0
        >>> alike = hr.Exact(normalize=["casefold", "whitespace"], verify=True)
        >>> hr.find_duplicates(ds, method=alike).pairs.rows()
        [(1, 0, 1.0)]
    """

    name: ClassVar[str] = "exact"

    normalize: Normalize = None
    nulls_equal: bool = False
    verify: bool = False

    def __post_init__(self) -> None:
        parse_normalize(self.normalize)
        for name in ("nulls_equal", "verify"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"`{name}` must be True or False, got {getattr(self, name)!r}")

    def columns(self, schema: pa.Schema) -> tuple[str, ...]:
        """Compare all columns."""
        return tuple(schema.names)

    def signer(self, schema: pa.Schema) -> KeySigner:
        """Return what makes the keys.

        Raises:
            SchemaError: A column's values cannot be compared; the message names it.
        """
        for field in schema:
            check_type(field.type, field.name)
        return KeySigner(parse_normalize(self.normalize), self.nulls_equal)

    def match(self, signatures: Signatures, options: MatchOptions) -> Edges:
        """Link samples of equal key, or of equal values, to the preferred one."""
        edges = match_keys(signatures, signatures.count, options)
        if not self.verify:
            return edges
        plain = partial(normalized, words=parse_normalize(self.normalize))
        return verified(edges, signatures, options, plain)
