"""How often each value of a column occurs, exact; on disk where there are too many of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from headrace.prepare.statistics.counting import add_tables, choose, count_values, sort_by_value
from headrace.prepare.statistics.spill import Run, partition_of, write_run
from headrace.prepare.statistics.states import Payload

if TYPE_CHECKING:
    import polars as pl

_FEW = 1 << 12  # counts that are not worth adding up yet
_SMALL = 1 << 20  # bytes that are not worth a file


@dataclass(frozen=True)
class CountsState:
    """How often each value of a column occurs.

    Attributes:
        parts: Tables `value` and `count`, in which a value may come again; at least one.
        nulls: Samples that are null or NaN.
        runs: Further tables, on disk.
    """

    parts: tuple[pl.DataFrame, ...]
    nulls: int
    runs: tuple[Run, ...] = ()

    @cached_property
    def table(self) -> pl.DataFrame:
        """All values (of the column's type, categories as strings) and their counts (Int64), sorted by value.

        Columns `value` and `count`; null and NaN have no line. They all have to fit in memory.
        """
        import polars as pl

        return sort_by_value(pl.concat(self._merged()))

    def frequent(self, min_count: int | None = None, max_size: int | None = None) -> pl.DataFrame:
        """Return the frequent values and their counts, the most frequent first; equally frequent ones sorted.

        Of what was kept on disk, a sixty-fourth at a time is in memory, beside what is returned.

        Args:
            min_count: How often a value must occur.
            max_size: How many values to return at the most.
        """
        import polars as pl

        best = [choose(table, min_count, max_size) for table in self._merged()]
        return choose(pl.concat(best), None, max_size)

    def _merged(self) -> Iterator[pl.DataFrame]:
        """Yield tables that have no value in common."""
        merged = add_tables(self.parts)
        if not self.runs:
            yield merged
            return
        for number, part in enumerate(partition_of(merged)):
            yield add_tables([part, *(run.read(number, merged.schema) for run in self.runs)])

    @property
    def nbytes(self) -> int:
        """What the counts take in memory."""
        return sum(int(part.estimated_size()) for part in self.parts)

    def reduced(self) -> CountsState:
        """Return the same counts, kept in a temporary folder."""
        if self.nbytes < _SMALL:
            return self
        merged = add_tables(self.parts)
        return CountsState((merged.clear(),), self.nulls, (*self.runs, write_run(merged)))

    def merge(self, other: CountsState) -> CountsState:
        """Return the counts of both parts; adds them up whenever they have doubled."""
        parts = (*self.parts, *(part for part in other.parts if part.height))
        if sum(part.height for part in parts[1:]) > max(parts[0].height, _FEW):
            parts = (add_tables(parts),)
        return CountsState(parts, self.nulls + other.nulls, (*self.runs, *other.runs))

    def pack(self) -> Payload:
        """Return values and counts as arrays."""
        return {"nulls": self.nulls}, {
            name: self.table[name].rechunk().to_arrow() for name in ("value", "count")
        }


@dataclass(frozen=True, slots=True)
class Counts:
    """Asks how often each value of a column occurs: strings, categories, whole numbers, dates, truth values.

    Example:
        >>> import polars as pl
        >>> state = Counts("x").of(pl.DataFrame({"x": ["b", "a", None, "b"]}))
        >>> state.table.rows(), state.nulls
        ([('a', 1), ('b', 2)], 1)
    """

    column: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def of(self, frame: pl.DataFrame) -> CountsState:
        """Count the column's values."""
        table = count_values(frame[self.column])
        return CountsState((table,), frame.height - int(table["count"].sum()))

    def unpack(self, payload: Payload) -> CountsState:
        """Read a state."""
        import polars as pl

        meta, arrays = payload
        columns = [pl.Series(name, pl.from_arrow(array)) for name, array in arrays.items()]
        return CountsState((pl.DataFrame(columns),), meta["nulls"])
