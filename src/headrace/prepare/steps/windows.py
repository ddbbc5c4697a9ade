"""Steps that look at earlier samples of the same group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError, PrepareError, SchemaError, UnknownColumnError, check_whole
from headrace.prepare.statistics import Payload, Statistic
from headrace.prepare.step import Found
from headrace.prepare.steps.adding import AddingStep, Made
from headrace.prepare.steps.clean import check_choice
from headrace.prepare.steps.matching import kind_of_type

if TYPE_CHECKING:
    import polars as pl

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GroupsState:
    """The groups of each row group.

    Attributes:
        parts: For each row group, one row for each of its groups.
    """

    parts: tuple[pl.DataFrame, ...]

    def merge(self, other: GroupsState) -> GroupsState:
        """Return the groups of both parts."""
        return GroupsState((*self.parts, *other.parts))

    def pack(self) -> Payload:
        """Return the groups, one row group behind the other."""
        import polars as pl

        table = pl.concat(self.parts)
        return {}, {name: table[name].rechunk().to_arrow() for name in table.columns}

    def divided(self) -> dict[str, Any] | None:
        """Name a group that lies in several row groups; None if there is none."""
        import polars as pl

        table = pl.concat(self.parts)
        found = table.filter(table.is_duplicated())
        return found.row(0, named=True) if found.height else None


@dataclass(frozen=True, slots=True)
class Groups:
    """Asks which groups each row group holds: the values of some columns together, nulls left out."""

    columns: tuple[str, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    def of(self, frame: pl.DataFrame) -> GroupsState:
        """Keep each group once."""
        return GroupsState((frame.select(self.columns).drop_nulls().unique(maintain_order=True),))

    def unpack(self, payload: Payload) -> GroupsState:
        """Read a state."""
        import polars as pl

        return GroupsState(
            (pl.DataFrame({name: pl.from_arrow(array) for name, array in payload[1].items()}),)
        )


@dataclass(frozen=True)
class GroupStep(AddingStep):
    """A step that looks at the earlier samples of a sample's group.

    A step sees one row group at a time. So each group must lie within one: the fit makes sure of it for the
    samples that it sees, and raises otherwise. Data that is prepared later must be laid out alike, which a
    single row group cannot tell; and who serves single rows must give the rows before them too, as one
    frame.

    All rows of a row group are looked at, also those that a selection leaves out.

    Attributes:
        by: The column, or the list of columns, whose values make a group; a sample without one gets null.
            order: The column by which samples of a group are ordered, without nulls; None for the order of
            the data, which also decides between equal ones.
    """

    by: str | Sequence[str] | None = field(default=None, kw_only=True)
    order: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.by_columns:
            raise OptionError(
                f"{type(self).__name__} needs `by`, the columns that make a group: row groups are prepared "
                "one by one, and only a group that lies within one can be looked at as a whole"
            )

    @property
    def by_columns(self) -> tuple[str, ...]:
        """The columns that make a group."""
        return (self.by,) if isinstance(self.by, str) else tuple(self.by or ())

    @property
    def _others(self) -> tuple[str, ...]:
        return self.by_columns if self.order is None else tuple(dict.fromkeys((*self.by_columns, self.order)))

    def resolve(self, schema: pl.Schema) -> tuple[str, ...]:
        """Name the treated columns; groups and order are not treated unless they are named."""
        missing = [name for name in self._others if name not in schema]
        if missing:
            raise UnknownColumnError.from_names(missing, schema.names(), f"{type(self).__name__}:")
        for name in self.by_columns:
            if kind_of_type(schema[name]) is None or schema[name].is_float():
                raise SchemaError(
                    f"{type(self).__name__}: `by` cannot be column `{name}` of type {schema[name]}"
                )
        names = super().resolve(schema)
        return (
            names if self.columns is not None else tuple(name for name in names if name not in self._others)
        )

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask where the groups lie."""
        return [Groups(self.by_columns)]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Make sure that no group is divided."""
        divided = found[Groups(self.by_columns)].divided()
        if divided is not None:
            raise PrepareError(
                f"{type(self).__name__}: a group must lie within one row group, but {divided} lies in "
                f"several; sort the data by {list(self.by_columns)}, and write whole groups to a row group"
            )
        return {}

    def makes(self, schema: pl.Schema) -> Made:
        """One column for each treated one."""
        return [(f"{name}_{self._suffix}", (name, *self._others)) for name in self.names]

    @property
    def _suffix(self) -> str:
        raise NotImplementedError

    def ordered(self, frame: pl.DataFrame) -> tuple[Rows, Rows]:
        """Order samples by group.

        Returns:
            The rows, group by group and in order within each, and how many of its group come before each of
            them; -1 where the group is not known.

        Raises:
            PrepareError: The order of a sample is not known.
        """
        import polars as pl

        keys = {f"by_{place}": frame[name] for place, name in enumerate(self.by_columns)}
        if self.order is not None:
            if frame[self.order].null_count():
                raise PrepareError(
                    f"{type(self).__name__}: column `{self.order}` orders samples, but holds nulls"
                )
            keys["order"] = frame[self.order]
        table = pl.DataFrame(keys).with_row_index("row").sort([*keys, "row"])
        groups = [pl.col(key) for key in keys if key != "order"]
        begins = table.select(
            pl.any_horizontal([key.ne_missing(key.shift(1)) for key in groups]).alias("begins")
        )
        unknown = table.select(pl.any_horizontal([key.is_null() for key in groups]).alias("unknown"))
        numbers = np.arange(frame.height)
        is_first = begins["begins"].to_numpy() | (numbers == 0)
        places = numbers - np.maximum.accumulate(np.where(is_first, numbers, 0))
        return table["row"].to_numpy().astype(np.int64), np.where(unknown["unknown"].to_numpy(), -1, places)


@dataclass(frozen=True)
class Lag(GroupStep):
    """Add the value that the group's sample n places before had, as `<name>_lag_<n>`.

    The first n samples of a group get null. Values keep their type.

    Row groups are prepared one by one. So each group must lie within one row group, which the fit makes
    sure of for the samples that it sees. Data that is prepared later must be laid out alike; who serves
    single rows gives the rows before them too, as one frame. A fit looks at the samples of its part alone,
    but data is prepared with all rows of a row group: parts should keep groups whole, as `split(by=...)`
    with the same columns does.

    Events: "no_earlier", by new column: samples that have too few before them, or no group.

    Attributes:
        n: How many places back, at least 1. by: The column, or the list of columns, whose values make a
            group. order: The column by which samples of a group are ordered, without nulls; None for the
            order of the data.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"store": [1, 1, 2], "sold": [5, 7, 9]})
        >>> pipe = hr.Pipeline([hr.Lag(by="store")]).fit(ds)
        >>> pipe.transform(ds).to_polars()["sold_lag_1"].to_list()
        [None, 5, None]
    """

    n: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("n", self.n, least=1)

    def treats(self, dtype: pl.DataType) -> bool:
        """Values of any plain type."""
        return kind_of_type(dtype) is not None

    @property
    def _suffix(self) -> str:
        return f"lag_{self.n}"

    def compute(self, frame: pl.DataFrame) -> Sequence[pl.Series]:
        """Gather the earlier values."""
        import polars as pl

        origins = self._origins(frame)
        there = pl.Series(origins >= 0, dtype=pl.Boolean)
        made: list[pl.Series] = []
        for name in self.made_:
            series = frame[self.inputs_[name][0]]
            earlier = series.gather(pl.Series(np.maximum(origins, 0), dtype=pl.UInt32))
            made.append(earlier.zip_with(there, pl.Series([None], dtype=series.dtype)).alias(name))
        return made

    def _origins(self, frame: pl.DataFrame) -> Rows:
        """Return the row that each row takes its value from; -1 for none."""
        rows, places = self.ordered(frame)
        origins = np.full(frame.height, -1, np.int64)
        late = np.flatnonzero(places >= self.n)
        origins[rows[late]] = rows[late - self.n]
        return origins

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count samples without an earlier one."""
        count = int((self._origins(frame) < 0).sum())
        return {name: {"no_earlier": count} for name in self.made_}


@dataclass(frozen=True)
class Rolling(GroupStep):
    """Add a statistic of the last samples of the group, the sample itself included.

    The columns are named `<name>_rolling_<function>_<window>`.

    Missing values (null, NaN) are left out; where fewer than `min_samples` are known, the result is null.
    Values are summed from the oldest to the newest in float64, by themselves for each sample, so that no
    error is carried on. Infinities are summed and compared as the standard says.

    Groups must lie as for `Lag`.

    Events: "too_few", by new column: samples with fewer than `min_samples` known values, or no group.

    Attributes:
        window: How many samples, at least 1. function: "mean", "sum", "min" or "max". min_samples: How many
            known values are needed; None for as many as the window. by: The column, or the list of columns,
            whose values make a group. order: The column by which samples of a group are ordered, without
            nulls; None for the order of the data.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"store": [1, 1, 2], "sold": [5, 7, 9]})
        >>> pipe = hr.Pipeline([hr.Rolling(2, "sum", by="store", min_samples=1)]).fit(ds)
        >>> pipe.transform(ds).to_polars()["sold_rolling_sum_2"].to_list()
        [5.0, 12.0, 9.0]
    """

    window: int
    function: Literal["mean", "sum", "min", "max"] = "mean"
    min_samples: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("window", self.window, least=1)
        check_choice("function", self.function, ("mean", "sum", "min", "max"))
        if (
            self.min_samples is not None
            and check_whole("min_samples", self.min_samples, least=1) > self.window
        ):
            raise OptionError(
                f"`min_samples` must be at most the window {self.window}, got {self.min_samples}"
            )

    @property
    def makes_floats(self) -> bool:
        """Statistics are new numbers."""
        return True

    def treats(self, dtype: pl.DataType) -> bool:
        """Numbers are summed up."""
        return dtype.is_numeric()

    @property
    def _suffix(self) -> str:
        return f"rolling_{self.function}_{self.window}"

    def compute(self, frame: pl.DataFrame) -> Sequence[pl.Series]:
        """Go back through the window of all samples at once."""
        import polars as pl

        rows, places = self.ordered(frame)
        made: list[pl.Series] = []
        for name in self.made_:
            values = frame[self.inputs_[name][0]].cast(pl.Float64).to_numpy()[rows]
            result = np.empty(frame.height)
            result[rows] = self._roll(values, places)
            made.append(pl.Series(name, result, pl.Float64).fill_nan(None))
        return made

    def _roll(self, values: NDArray[np.float64], places: Rows) -> NDArray[np.float64]:
        is_sum = self.function in ("mean", "sum")
        start = {"min": np.inf, "max": -np.inf}.get(self.function, 0.0)
        total, count = np.full(len(values), start), np.zeros(len(values), np.int64)
        combine: Any = np.add if is_sum else np.minimum if self.function == "min" else np.maximum
        with np.errstate(all="ignore"):
            for back in reversed(range(min(self.window, len(values)))):
                now, then = slice(back, None), slice(None, len(values) - back)
                is_known = (places[now] >= back) & ~np.isnan(values[then])
                total[now] = combine(total[now], np.where(is_known, values[then], start))
                count[now] += is_known
            result = total / count if self.function == "mean" else total
        needed = self.window if self.min_samples is None else self.min_samples
        return np.where(count >= needed, result, np.nan)

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count samples with too few values."""
        return {series.name: {"too_few": series.null_count()} for series in self.compute(frame)}
