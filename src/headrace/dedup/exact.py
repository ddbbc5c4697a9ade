"""Equal samples, told by 128-bit hashes of their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from headrace.dedup.groups import match_keys
from headrace.dedup.method import Edges, MatchOptions, Signature, Signatures
from headrace.hashing.columns import hash_columns


@dataclass(frozen=True, slots=True)
class KeySigner:
    """Hashes the compared columns of each sample.

    Attributes:
        nulls_equal: Whether null equals null.
    """

    nulls_equal: bool = False

    def __call__(self, batch: pa.RecordBatch) -> Signature:
        """Hash each row: `keys`, uint64 of shape [rows, 2]."""
        hashes, has_null = hash_columns(batch.columns, batch.schema.names)
        keys = np.stack([hashes, hashes], axis=1)
        if self.nulls_equal or not has_null.any():
            return Signature(None, {"keys": keys})
        rows = np.flatnonzero(~has_null)
        return Signature(rows, {"keys": keys[rows]})


@dataclass(frozen=True, slots=True)
class Exact:
    """Samples are duplicates if the values of all compared columns are equal."""

    name: ClassVar[str] = "exact"

    nulls_equal: bool = False

    def columns(self, schema: pa.Schema) -> tuple[str, ...]:
        """Compare all columns."""
        return tuple(schema.names)

    def signer(self, schema: pa.Schema) -> KeySigner:
        """Hash each sample."""
        return KeySigner(self.nulls_equal)

    def match(self, signatures: Signatures, options: MatchOptions) -> Edges:
        """Link samples of equal hash to the preferred one."""
        return match_keys(signatures, options)
