"""Steps that turn categories into a column each, dense or sparse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from headrace.batch import Sparse, to_sparse
from headrace.errors import OptionError, PrepareError, SchemaError
from headrace.prepare.statistics import Counts, Statistic
from headrace.prepare.step import Found, PrepareStep
from headrace.prepare.steps.categories import (
    Cutoff,
    OnUnseen,
    Places,
    check_unseen,
    count_events,
    is_category,
    refuse_unseen,
)
from headrace.prepare.steps.lookup import Lookup, make_lookups
from headrace.prepare.steps.members import MemberCounts, is_list_of_categories, members_of

if TYPE_CHECKING:
    import polars as pl

_MOST_DENSE = (
    1 << 14
)  # columns of one column, where no limit is given: more is a column of numbers or of names

Indicator = Literal["uint8", "float32"]
"""What the columns of categories are delivered as."""


@dataclass(frozen=True, slots=True)
class Indicators:
    """The columns that one column of categories becomes.

    Attributes:
        column: The one column.
        names: The columns.
        of_place: Which of them a place in the vocabulary of v values has, -1 for none; then that of unseen
            values, and that of missing ones; int64 of shape [v + 2].
    """

    column: str
    names: tuple[str, ...]
    of_place: Places

    @staticmethod
    def of(column: str, categories: pl.Series, special: Sequence[str], is_first_dropped: bool) -> Indicators:
        """Name the columns: categories in order, then what is special: "null", "infrequent"."""
        size = len(categories)
        has_missing, is_cut = "null" in special, "infrequent" in special
        values = [f'"{text}"' if text in special else text for text in map(str, categories.to_list())]
        of_place = np.arange(size + 2)
        of_place[size:] = size + has_missing if is_cut else -1, size if has_missing else -1
        if is_first_dropped and size:
            values = values[1:]
            of_place = np.where(of_place >= 0, of_place - 1, -1)
        return Indicators(column, tuple(f"{column}={value}" for value in [*values, *special]), of_place)

    def dense(self, rows: Places, places: Places, height: int, dtype: str) -> dict[str, pl.Series]:
        """Mark the place of each row, by column; a row may come several times."""
        import polars as pl

        marks = np.zeros((len(self.names), height), dtype)
        columns = self.of_place[places]
        is_there = columns >= 0
        marks[columns[is_there], rows[is_there]] = 1
        return {name: pl.Series(name, mark) for name, mark in zip(self.names, marks, strict=True)}

    def sparse(self, rows: Places, places: Places, height: int, dtype: str) -> pl.Series:
        """Mark the place of each row; a row may come several times."""
        import polars as pl

        width = max(len(self.names), 1)
        columns = self.of_place[places]
        is_there = columns >= 0
        marked = np.unique(rows[is_there] * width + columns[is_there])
        offsets = np.zeros(height + 1, np.int64)
        np.cumsum(np.bincount(marked // width, minlength=height), out=offsets[1:])
        indices = (marked % width).astype(np.int32)
        array = Sparse(np.ones(len(marked), dtype), indices, offsets, width).to_arrow()
        return pl.Series(self.column, pl.from_arrow(array))

    def invert(self, marks: NDArray[Any], categories: pl.Series) -> pl.Series:
        """Return the category that is marked in each row, null where none is; marks are of shape [n, k]."""
        import polars as pl

        size = len(categories)
        back = np.full(len(self.names) + 1, -1)  # the last one for rows without a mark
        back[self.of_place[:size]] = np.arange(size)
        column = (
            np.where(marks.any(axis=1), marks.argmax(axis=1), -1) if marks.size else np.full(len(marks), -1)
        )
        places = pl.Series(back[column])
        return categories.gather(places.set(places < 0, None)).alias(self.column)


@dataclass(frozen=True)
class CategoryColumns(PrepareStep):
    """What one-hot and multi-hot encoding have in common.

    Attributes:
        min_frequency: Categories need so many samples to get a column, or this share of them if it is a
            float below 1.
        max_size: At most so many get one: the most frequent, of equally frequent ones the smaller.
        sparse: Whether one column of sparse rows comes out, under the name of the one that came in.
        dtype: Of the columns: "uint8" or "float32".
        on_unseen: "raise" refuses what is not in the vocabulary.
    """

    min_frequency: int | float = 1
    max_size: int | None = None
    sparse: bool = False
    dtype: Indicator = "uint8"
    on_unseen: OnUnseen = "encode"

    def __post_init__(self) -> None:
        """Check the settings."""
        Cutoff(self.min_frequency, self.max_size)
        check_unseen(self.on_unseen)
        if self.dtype not in ("uint8", "float32"):
            raise OptionError(f'`dtype` must be "uint8" or "float32", got {self.dtype!r}')

    def counts_of(self, column: str) -> Counts | MemberCounts:
        """Ask how many samples have each category."""
        raise NotImplementedError

    def members_of(self, series: pl.Series) -> tuple[Places, pl.Series]:
        """Return categories, and the row of each."""
        raise NotImplementedError

    @property
    def is_first_dropped(self) -> bool:
        """Whether the first category has no column."""
        return False

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask how often each category occurs."""
        return [self.counts_of(name) for name in self.names]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep the vocabularies."""
        cutoff = Cutoff(self.min_frequency, self.max_size)
        counts = {name: found[self.counts_of(name)] for name in self.names}
        kept = {name: cutoff.keep(state) for name, state in counts.items()}
        learned = {
            "categories_": {name: values for name, (values, _) in kept.items()},
            "has_missing_": {name: state.nulls > 0 for name, state in counts.items()},
            "is_cut_": {name: is_cut for name, (_, is_cut) in kept.items()},
        }
        self.with_learned(learned)._check_outputs(tuple(schema))
        return learned

    def unfitted_schema(self, schema: pl.Schema) -> None:
        """Only a fit can tell the columns."""
        return

    def outputs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Put the columns of categories in the place of the one that they come from."""
        return tuple(made for name in names for made in self._names_of(name))

    def narrowed(self, wanted: frozenset[str]) -> tuple[Self | None, frozenset[str]]:
        """Leave out columns that nobody wants."""
        made = {each for name in self.names for each in self._names_of(name)}
        kept = [name for name in self.names if not wanted.isdisjoint(self._names_of(name))]
        step = self.with_learned({"columns_": kept, "wanted_": sorted(wanted & made)}) if kept else None
        return step, (wanted - made) | set(kept)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Mark the categories."""
        import polars as pl

        made: list[pl.Series] = []
        for series in frame.iter_columns():
            name = series.name
            if name not in self.names:
                made.append(series)
                continue
            rows, members = self.members_of(series)
            places = self._lookups[name].find(members)
            if self.on_unseen == "raise":
                refuse_unseen(members, places, len(self._lookups[name]))
            indicators = self._indicators[name]
            if self.sparse:
                made.append(indicators.sparse(rows, places, frame.height, self.dtype))
            else:
                marks = indicators.dense(rows, places, frame.height, self.dtype)
                made.extend(marks[each] for each in self._names_of(name))
        return pl.DataFrame(made) if made else frame.select([])

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count missing and unseen categories."""
        return {
            name: count_events(
                self._lookups[name].find(self.members_of(frame[name])[1]),
                len(self._lookups[name]),
                is_cut=self.is_cut_[name],
            )
            for name in self.names
        }

    @cached_property
    def _lookups(self) -> dict[str, Lookup]:
        return make_lookups(self.categories_)

    @cached_property
    def _indicators(self) -> dict[str, Indicators]:
        made: dict[str, Indicators] = {}
        for name, kept in self.categories_.items():
            there = {"null": self.has_missing_[name], "infrequent": self.is_cut_[name]}
            special = [each for each, is_there in there.items() if is_there]
            made[name] = Indicators.of(name, kept, special, self.is_first_dropped)
        return made

    def _names_of(self, name: str) -> tuple[str, ...]:
        if name not in self.names or self.sparse:
            return (name,)
        wanted = self.learned.get("wanted_")
        return tuple(each for each in self._indicators[name].names if wanted is None or each in wanted)

    def _check_outputs(self, names: tuple[str, ...]) -> None:
        for name, kept in self.categories_.items():
            if not self.sparse and self.max_size is None and len(kept) > _MOST_DENSE:
                raise PrepareError(
                    f"column `{name}` has {len(kept)} categories, too many for a column each; use "
                    "`max_size=`, `min_frequency=`, `sparse=True` or an `OrdinalEncoder`, or other columns"
                )
        outputs = self.outputs(names)
        if len(set(outputs)) < len(outputs):
            twice = next(name for place, name in enumerate(outputs) if name in outputs[:place])
            raise PrepareError(
                f"{type(self).__name__} would make two columns `{twice}`; rename the columns, or replace the "
                "values that end in the same name"
            )


@dataclass(frozen=True)
class OneHotEncoder(CategoryColumns):
    """Turn a column of categories into a column of 0 and 1 for each category.

    The columns `c=value` take the place of column `c`, in sorted order; behind them `c=null` if the fit has
    seen missing values (null, NaN), and `c=infrequent` if categories were left out, which then stands for
    unseen ones too. Otherwise unseen categories, and missing values that the fit has not seen, are 0 in all
    columns. A text "null" or "infrequent" is put in quotes where its column would be taken for the special
    one. What can be a category, and how `columns` are chosen, is as in `OrdinalEncoder`.

    Learned: `categories_`, a sorted series by column, `has_missing_` and `is_cut_`. The inverse gives null
    for missing, infrequent and unseen values.

    Attributes:
        min_frequency: Categories need so many samples to get a column, or this share of them if it is a
            float below 1.
        max_size: At most so many get one: the most frequent, of equally frequent ones the smaller.
        sparse: Whether one column of sparse rows comes out, under the name `c`: a `Sparse` in a batch.
        dtype: Of the columns: "uint8" or "float32".
        on_unseen: "raise" refuses what is not in the vocabulary.
        drop: "first" leaves out the first category, which is then 0 in all columns, as unseen ones are.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"c": ["b", "a", "b"]})
        >>> pipe = hr.Pipeline([hr.OneHotEncoder()]).fit(ds)
        >>> pipe.transform({"c": "b"})
        {'c=a': 0, 'c=b': 1}
    """

    drop: Literal["first"] | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        if self.drop not in (None, "first"):
            raise OptionError(f'`drop` must be "first" or None, got {self.drop!r}')

    def treats(self, dtype: pl.DataType) -> bool:
        """Whatever can be a category."""
        return is_category(dtype)

    def counts_of(self, column: str) -> Counts:
        """Ask how often each value occurs."""
        return Counts(column)

    def members_of(self, series: pl.Series) -> tuple[Places, pl.Series]:
        """Every row has one."""
        return np.arange(len(series)), series

    @property
    def is_first_dropped(self) -> bool:
        """Whether the first category has no column."""
        return self.drop == "first"

    def inverse(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Put categories in the place of their columns."""
        import polars as pl

        made: list[pl.Series] = []
        for series in frame.iter_columns():
            column = self._origins.get(series.name)
            if column is None:
                made.append(series)
            elif series.name == self._names_of(column)[0]:
                made.append(self._inverted(column, frame))
        return pl.DataFrame(made) if made else frame.select([])

    @cached_property
    def _origins(self) -> dict[str, str]:
        return {made: name for name in self.names for made in self._names_of(name)}

    def _inverted(self, column: str, frame: pl.DataFrame) -> pl.Series:
        indicators, names = self._indicators[column], self._names_of(column)
        missing = [name for name in indicators.names if not self.sparse and name not in frame.columns]
        if missing:
            raise SchemaError(f"column `{column}` cannot be told without `{missing[0]}`")
        if self.sparse:
            marks = to_sparse(frame[column].rechunk().to_arrow()).to_dense()
        else:
            marks = np.column_stack([frame[name].to_numpy() for name in names])
        return indicators.invert(marks != 0, self.categories_[column])


@dataclass(frozen=True)
class MultiHot(CategoryColumns):
    """Turn a column of lists of categories into a column of 0 and 1 for each category.

    A category that a list holds twice counts once; an empty list is 0 in all columns. Columns and their
    names are as those of `OneHotEncoder`; `c=null` marks lists that are null or hold a missing value. There
    is no way back.

    Learned: `categories_`, a sorted series by column, `has_missing_` and `is_cut_`.

    Attributes:
        min_frequency: Categories need so many samples to get a column, or this share of them if it is a
            float below 1.
        max_size: At most so many get one: the most frequent, of equally frequent ones the smaller.
        sparse: Whether one column of sparse rows comes out, under the name `c`: a `Sparse` in a batch.
        dtype: Of the columns: "uint8" or "float32".
        on_unseen: "raise" refuses what is not in the vocabulary.

    Example:
        >>> import headrace as hr
        >>> import polars as pl
        >>> ds = hr.from_polars(pl.DataFrame({"c": [["b", "a"], ["b"], []]}))
        >>> pipe = hr.Pipeline([hr.MultiHot()]).fit(ds)
        >>> pipe.transform({"c": ["b", "z"]})
        {'c=a': 0, 'c=b': 1}
    """

    def treats(self, dtype: pl.DataType) -> bool:
        """Lists of what can be a category."""
        return is_list_of_categories(dtype)

    def counts_of(self, column: str) -> MemberCounts:
        """Ask how many samples have each category."""
        return MemberCounts(column)

    def members_of(self, series: pl.Series) -> tuple[Places, pl.Series]:
        """Take the lists apart."""
        return members_of(series)

    def inverse(self, frame: pl.DataFrame) -> None:
        """The order of a list is gone."""
        return
