"""Ways to drop equal texts and keep the first of them.

A case takes texts as an Arrow array and puts them into its library's own form. It returns a function that
finds what stays, in whatever form the library has, and one that turns this into row numbers. Only the first
is measured.

Libraries are imported by the case that needs them, so that no case pays for the imports of another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

Find = tuple[Callable[[], Any], Callable[[Any], np.ndarray]]

ERROR_RATE = 0.01
LITTLE_MEMORY = "16MB"  # a third of what the keys of two million texts take


def headrace(texts: pa.Array) -> Find:
    """128-bit keys, partitioned in memory."""
    return _headrace(texts)


def headrace_verify(texts: pa.Array) -> Find:
    """The same, and texts of equal key compared."""
    import headrace as hr

    return _headrace(texts, method=hr.Exact(verify=True))


def headrace_spilled(texts: pa.Array) -> Find:
    """The same in little memory: keys go to a temporary file."""
    return _headrace(texts, memory_limit=LITTLE_MEMORY)


def headrace_bloom(texts: pa.Array) -> Find:
    """A Bloom filter tells candidates, which are decided exactly."""
    import headrace as hr

    return _headrace(texts, method=hr.Bloom(ERROR_RATE))


def _headrace(texts: pa.Array, **settings: Any) -> Find:
    import headrace as hr

    ds = hr.from_arrow(pa.table({"text": texts}))
    return (
        lambda: hr.find_duplicates(ds, on="text", progress=False, **settings).selection,
        lambda selection: selection.ids,
    )


def polars(texts: pa.Array) -> Find:
    """`unique` with the first kept and the order kept."""
    import polars as pl

    frame = pl.DataFrame({"text": pl.from_arrow(texts), "row": np.arange(len(texts))})
    return (
        lambda: frame.unique("text", keep="first", maintain_order=True),
        lambda kept: kept["row"].to_numpy(),
    )


def python_set(texts: pa.Array) -> Find:
    """A set of the texts."""
    listed = texts.to_pylist()

    def find() -> bytearray:
        seen: set[str] = set()
        kept = bytearray(len(listed))
        for row, text in enumerate(listed):
            if text not in seen:
                seen.add(text)
                kept[row] = 1
        return kept

    return find, _rows


def xxhash(texts: pa.Array) -> Find:
    """A set of 128-bit digests."""
    from xxhash import xxh3_128_digest

    listed = texts.to_pylist()

    def find() -> bytearray:
        seen: set[bytes] = set()
        kept = bytearray(len(listed))
        for row, text in enumerate(listed):
            digest = xxh3_128_digest(text.encode())
            if digest not in seen:
                seen.add(digest)
                kept[row] = 1
        return kept

    return find, _rows


def rbloom(texts: pa.Array) -> Find:
    """One pass with a Bloom filter, whose every hit is dropped; with Python's own hash, as is its default."""
    from rbloom import Bloom

    listed = texts.to_pylist()

    def find() -> bytearray:
        seen = Bloom(len(listed), ERROR_RATE)
        kept = bytearray(len(listed))
        for row, text in enumerate(listed):
            if text not in seen:
                seen.add(text)
                kept[row] = 1
        return kept

    return find, _rows


def _rows(kept: bytearray) -> np.ndarray:
    return np.flatnonzero(np.frombuffer(kept, np.uint8))


CASES: dict[str, Callable[[pa.Array], Find]] = {
    "headrace": headrace,
    "headrace_verify": headrace_verify,
    "headrace_spilled": headrace_spilled,
    "headrace_bloom": headrace_bloom,
    "polars": polars,
    "python_set": python_set,
    "xxhash": xxhash,
    "rbloom": rbloom,
}
