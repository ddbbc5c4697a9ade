"""The classes of a column: which values it holds, how often, and the class of each sample."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import OptionError
from headrace.execution.executors import Executor
from headrace.hashing.columns import hash_column
from headrace.selecting.base import Selectable
from headrace.selecting.reading import scan

Ids = NDArray[np.int64]
Hashes = NDArray[np.uint64]

MOST_CLASSES = 1 << 16


@dataclass(frozen=True, eq=False)
class Classes:
    """The values of a column over the samples that take part, each sample counted once.

    Attributes:
        column: Its name.
        texts: Each class as text, in the order in which they first come; None is null.
        hashes: The hash of each class, uint64 of shape [classes].
        codes: The class of each sample in the order of ids, int32 of shape [samples].
    """

    column: str
    texts: tuple[str | None, ...]
    hashes: Hashes
    codes: NDArray[np.int32]

    @property
    def counts(self) -> Ids:
        """How many samples each class has, int64 of shape [classes]."""
        return np.bincount(self.codes, minlength=len(self.texts)).astype(np.int64)


def read_classes(dataset: Selectable, column: str, executor: Executor | None = None) -> Classes:
    """Read the column that tells the classes; null is a class, and so is NaN.

    Raises:
        OptionError: It is no column's name, or the column holds too many values to be classes.
        UnknownColumnError: There is no such column.
    """
    if not isinstance(column, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise OptionError(
            f"classes are told by one column, got {column!r}; to combine several, add a column that does"
        )
    numbers: dict[int, int] = {}
    texts: list[str | None] = []
    codes: list[NDArray[np.int32]] = []
    for _, (hashes, names, places) in scan(dataset, [column], partial(_find_classes, column), executor):
        for value, name in zip(hashes.tolist(), names, strict=True):
            if value not in numbers:
                numbers[value] = len(numbers)
                texts.append(name)
        if len(numbers) > MOST_CLASSES:
            raise _too_many(column)
        codes.append(np.array([numbers[value] for value in hashes.tolist()], np.int32)[places])
    every = np.concatenate(codes) if codes else np.zeros(0, np.int32)
    return Classes(column, tuple(texts), np.fromiter(numbers, np.uint64, len(numbers)), every)


def _find_classes(column: str, batch: pa.RecordBatch) -> tuple[Hashes, list[str | None], Ids]:
    """Return the classes of one row group in the order in which they come, and the place of each row's."""
    values = batch.column(0)
    hashes, first, places = np.unique(hash_column(values, column), return_index=True, return_inverse=True)
    if len(hashes) > MOST_CLASSES:
        raise _too_many(column)
    order = np.argsort(first)
    texts = [_text(value) for value in values.take(pa.array(first[order]))]
    return hashes[order], texts, np.argsort(order)[places]


def _text(value: pa.Scalar) -> str | None:
    if not value.is_valid:
        return None
    return str(value.cast(pa.string())) if pa.types.is_temporal(value.type) else str(value.as_py())


def _too_many(column: str) -> OptionError:
    return OptionError(
        f"classes are told by at most {MOST_CLASSES:,} values, but column `{column}` holds more; "
        "group them into fewer, as by `with_columns(pl.col(...).cut(...))`"
    )
