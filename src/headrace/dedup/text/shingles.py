r"""Texts to sets of shingles: every n words, or characters, in a row.

Words are the `\w+` of the lower-cased text, as Python's `re` finds them. Where shingles are of characters,
runs of white space are one blank, and there is none at a text's ends.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.errors import OptionError, check_whole
from headrace.hashing import forms

Unit = Literal["word", "char"]
Hashes = NDArray[np.uint64]
Lengths = NDArray[np.int64]
Rows = NDArray[np.int64]

_BLOCK_BYTES = 1 << 22  # of texts at a time, so that what is between stays in the processor's caches
_POINTS = 0x110000


def check_shingle(unit: Unit, ngram: int) -> None:
    """Check what makes a shingle.

    Raises:
        OptionError: There is no such unit, or it is less than one token.
    """
    if unit not in get_args(Unit):
        raise OptionError(f'`unit` must be "word" or "char", got {unit!r}')
    check_whole("ngram", ngram, least=1)


def holds_texts(kind: pa.DataType) -> bool:
    """Tell whether values of a type are texts, also where a dictionary holds them."""
    return forms.is_text(kind.value_type if pa.types.is_dictionary(kind) else kind)


def plain_texts(column: pa.Array) -> tuple[pa.Array, Rows | None]:
    """Return the texts that are not null as large strings, and their rows; None for all rows."""
    if pa.types.is_dictionary(column.type):
        values = column.dictionary.cast(pa.large_string())
        column = pa.DictionaryArray.from_arrays(column.indices, values).dictionary_decode()
    texts = column.cast(pa.large_string())
    # Only now are the nulls among a dictionary's values seen.
    rows = np.flatnonzero(texts.is_valid()) if texts.null_count else None
    return texts.drop_null(), rows


def shingles_of(texts: pa.Array, unit: Unit, ngram: int) -> tuple[Hashes, Lengths]:
    """Hash the shingles of each text.

    Args:
        texts: Large strings without nulls.
        unit: What a token is.
        ngram: How many tokens make a shingle.

    Returns:
        As `shingle_texts`; a text of fewer tokens than that has none.

    Example:
        >>> texts = pa.array(["One two, ONE two one!", "one"], pa.large_string())
        >>> hashes, lengths = shingles_of(texts, "word", 2)
        >>> lengths.tolist()
        [2, 0]
    """
    from headrace.dedup.text.shingle_kernels import shingle_texts

    is_ascii = bool(
        pc.call_function("all", [pc.call_function("string_is_ascii", [texts])]).as_py() in (True, None)
    )
    texts = texts if is_ascii else _lowered(texts)
    kinds = np.zeros(1, np.uint8) if is_ascii else _kinds()
    runs = forms.form_of(texts, "text")
    assert isinstance(runs, forms.Runs)
    blocks = [
        shingle_texts(runs.data, runs.offsets[begin : end + 1], unit == "word", ngram, _folded(unit), kinds)
        for begin, end in pairwise(_cuts(runs.offsets))
    ]
    if not blocks:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    return np.concatenate([block[0] for block in blocks]), np.concatenate([block[1] for block in blocks])


def _lowered(texts: pa.Array) -> pa.Array:
    import polars as pl

    series: Any = pl.Series(texts)
    return series.str.to_lowercase().to_arrow().cast(pa.large_string())


def _cuts(offsets: NDArray[np.int64]) -> list[int]:
    """Cut rows into blocks of about as many bytes."""
    rows = len(offsets) - 1
    ends = np.arange(offsets[0] + _BLOCK_BYTES, offsets[-1], _BLOCK_BYTES)
    cuts = np.searchsorted(offsets, ends)
    return np.unique(np.concatenate([[0], cuts, [rows]])).tolist()


@cache
def _folded(unit: Unit) -> NDArray[np.int16]:
    from headrace.dedup.text.shingle_kernels import BREAK

    characters = [chr(point) for point in range(128)]
    parts = re.compile(r"\W" if unit == "word" else r"\s")
    folded = [BREAK if parts.match(each) else ord(each.lower()) for each in characters]
    return np.array(folded, np.int16)


@cache
def _kinds() -> NDArray[np.uint8]:
    """Tell words and white space among all code points, as this Python's version of Unicode has them."""
    from headrace.dedup.text.shingle_kernels import IS_SPACE, IS_WORD

    every = np.arange(_POINTS, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    kinds = np.zeros(_POINTS, np.uint8)
    for kind, pattern in ((IS_WORD, r"\w+"), (IS_SPACE, r"\s+")):
        for found in re.finditer(pattern, every):
            kinds[found.start() : found.end()] = kind
    return kinds
