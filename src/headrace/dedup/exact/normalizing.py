"""Texts made alike before they are compared; the data itself stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headrace.errors import OptionError
from headrace.hashing.forms import is_text
from headrace.prepare.base import to_frame
from headrace.prepare.steps.text import Casefold, Strip

if TYPE_CHECKING:
    import polars as pl

Normalize = str | Sequence[str] | None

_FORMS = ("nfc", "nfkc")
_WORDS = (*_FORMS, "casefold", "whitespace", "strip")  # in the order in which they are applied


def parse_normalize(normalize: object) -> tuple[str, ...]:
    """Check what is to be done to texts, and put it in the order in which it is done.

    Raises:
        OptionError: It is no word or sequence of words that are known, or names two forms of Unicode.
    """
    words = [] if normalize is None else [normalize] if isinstance(normalize, str) else normalize
    if not isinstance(words, Sequence) or not all(word in _WORDS for word in words):
        known = ", ".join(f'"{word}"' for word in _WORDS)
        raise OptionError(f"`normalize` takes one word or several of {known}, got {normalize!r}")
    if set(_FORMS) <= set(words):
        raise OptionError('`normalize` takes one form of Unicode, "nfc" or "nfkc", got both')
    return tuple(word for word in _WORDS if word in words)


def normalized(batch: pa.RecordBatch, words: tuple[str, ...]) -> pa.RecordBatch:
    """Normalise the text columns of a batch, and dictionaries of text; the others stay as they are."""
    if not words:
        return batch
    columns = [_normalized(column, words) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _normalized(column: pa.Array, words: tuple[str, ...]) -> pa.Array:
    if pa.types.is_dictionary(column.type) and is_text(column.type.value_type):
        return pa.DictionaryArray.from_arrays(column.indices, _normalized(column.dictionary, words))
    if not is_text(column.type):
        return column
    series = to_frame(pa.RecordBatch.from_arrays([column], names=["text"]))["text"]
    for step in _steps(words):
        series = _apply(series, step)
    return series.to_arrow()


def _steps(words: tuple[str, ...]) -> list[str]:
    # Folding can take a text out of its form: "ǰ" is one character, and folded it is two.
    forms = [word for word in words if word in _FORMS] if "casefold" in words else []
    place = words.index("casefold") + 1 if forms else 0
    return [*words[:place], *forms, *words[place:]]


def _apply(series: pl.Series, step: str) -> pl.Series:
    if step in _FORMS:
        form: Any = step.upper()
        is_ascii = series.str.len_bytes() == series.str.len_chars()
        return series if is_ascii.all() else series.str.normalize(form)
    if step == "casefold":
        return Casefold().clean(series)
    if step == "whitespace":
        series = series.str.replace_all(r"\s+", " ")
    return Strip().clean(series)
