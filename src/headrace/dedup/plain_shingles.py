"""Texts to sets of shingles by Polars."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.hashing.columns import hash_column

Unit = Literal["word", "char"]
Hashes = NDArray[np.uint64]
Lengths = NDArray[np.int64]


def is_text(kind: pa.DataType) -> bool:
    """Tell whether values of a type are texts, also where a dictionary holds them."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def plain_text(column: pa.Array) -> pa.Array:
    """Return texts without nulls as large strings, whatever holds them."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.drop_null().cast(pa.large_string())


def shingles_of(texts: pa.Array, unit: Unit, ngram: int) -> tuple[Hashes, Lengths]:
    """Hash the shingles of each text, each once; a text of fewer tokens has none."""
    import polars as pl

    lowered: Any = pl.Series("text", texts).str.to_lowercase()
    pattern = r"\w+" if unit == "word" else r"(?s)."
    if unit == "char":
        lowered = lowered.str.replace_all(r"\s+", " ").str.strip_chars()
    tokens = lowered.str.extract_all(pattern)
    frame = pl.DataFrame({"row": np.arange(len(texts)), "token": tokens})
    joined = (
        frame.explode("token")
        .drop_nulls("token")
        .select(
            "row",
            pl.concat_str([pl.col("token").shift(-behind) for behind in range(ngram)], separator="\n").alias(
                "shingle"
            ),
            (pl.col("row").shift(1 - ngram) == pl.col("row")).alias("is_whole"),
        )
        .filter("is_whole")
        .unique(["row", "shingle"], maintain_order=True)
    )
    lengths = np.bincount(joined["row"].to_numpy(), minlength=len(texts))
    return hash_column(joined["shingle"].to_arrow()), lengths
