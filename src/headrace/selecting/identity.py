"""Who a sample is: its id, the values of some columns, or all of its contents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import OptionError
from headrace.execution.executors import Executor
from headrace.hashing.columns import hash_columns, hash_ids
from headrace.selecting.base import Selectable
from headrace.selecting.reading import check_columns, scan, stretches

Ids = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Content:
    """Samples are the same if all of these columns are: nulls are equal to each other.

    Give it as `by=`, so that equal samples never end up in two parts.

    Attributes:
        columns: Which columns; all that the data set has by default.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"text": ["a", "b", "a", "c"] * 10})
        >>> ds.split(train=0.5, test=0.5).report(by=hr.Content()).shared_groups
        3
        >>> ds.split(train=0.5, test=0.5, by=hr.Content()).report().shared_groups
        0
    """

    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.columns is not None:
            object.__setattr__(self, "columns", _names("Content", self.columns))


@runtime_checkable
class Grouping(Protocol):
    """Groups that are known already, so that nothing is read; printed, it says what makes a group.

    Give it as `by=`, as `hr.Duplicates` is.
    """

    def check(self, dataset: Selectable) -> None:
        """Refuse a data set with samples whose groups are not known.

        Raises:
            StateError: It has some.
        """
        ...

    def hashes(self, ids: Ids) -> Hashes:
        """Return a hash for each id that only samples of one group share, uint64 of the same shape.

        Samples that stand alone have that of `hash_ids`.
        """
        ...


By = str | Sequence[str] | Content | Grouping | None
"""What makes samples belong together: a column, several, their contents, known groups, or nothing."""


def check_by(dataset: Selectable, by: By) -> tuple[str, ...] | Content | Grouping | None:
    """Return the columns or groups that samples are held together by, or refuse what cannot be one.

    Raises:
        OptionError: It names no column, or one twice.
        UnknownColumnError: A column is not there.
        StateError: The groups of some samples are not known.
    """
    if by is None:
        return None
    if isinstance(by, Content):
        check_columns(dataset, by.columns or ())
        return by
    if isinstance(by, Grouping) and not isinstance(by, type):
        by.check(dataset)
        return by
    names = _names("by", by)
    check_columns(dataset, names)
    return names


def identify(dataset: Selectable, by: By, executor: Executor | None = None) -> Iterator[tuple[Ids, Hashes]]:
    """Yield ids, rising, and a hash for each that only samples of one group share.

    Without `by` it is a hash of the id, and nothing is read. A sample with a null in one of the
    columns of `by` belongs to no group and stands alone, by its id; with `Content`, null is a
    value like any other.
    """
    checked = check_by(dataset, by)
    if checked is None:
        yield from ((ids, hash_ids(ids)) for ids in stretches(dataset))
        return
    if isinstance(checked, Grouping):
        yield from ((ids, checked.hashes(ids)) for ids in stretches(dataset))
        return
    is_content = isinstance(checked, Content)
    names = checked.columns or dataset.recipe.names or dataset.schema.names if is_content else checked
    for ids, (hashes, has_null) in scan(dataset, names, _hash_rows, executor):
        if not is_content:
            hashes[has_null] = hash_ids(ids[has_null])
        yield ids, hashes


def _hash_rows(batch: pa.RecordBatch) -> tuple[Hashes, NDArray[np.bool_]]:
    return hash_columns(batch.columns, batch.schema.names)


def _names(option: str, columns: Any) -> tuple[str, ...]:
    try:
        names = (columns,) if isinstance(columns, str) else tuple(columns)
    except TypeError as error:
        hint = ", or groups such as `hr.Duplicates(report)`" if option == "by" else ""
        raise OptionError(
            f"`{option}` takes a column or a list of columns{hint}, got {type(columns).__name__}"
        ) from error
    if not names or len(set(names)) != len(names):
        raise OptionError(f"`{option}` takes one column or more, each once, got {columns!r}")
    return names
