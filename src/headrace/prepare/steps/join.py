"""Join: columns of a small table, brought to each row by the values of key columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from headrace.errors import OptionError, UnknownColumnError
from headrace.prepare.base import Names, Step
from headrace.prepare.columns import WithColumns
from headrace.prepare.steps.keyed import KeyedTable
from headrace.prepare.steps.lookup import Places

if TYPE_CHECKING:
    import polars as pl

_NAME = "matches"


@dataclass(frozen=True, slots=True)
class Join:
    """Add columns of a table: of the row whose keys are equal, or null where there is none.

    Attributes:
        table: Where rows are found.
        on: The columns that are held against its key columns, in their order.
        columns: Which of its columns come along, and what each is called then.
    """

    table: KeyedTable
    on: Names
    columns: tuple[tuple[str, str], ...]

    @property
    def made(self) -> Names:
        """The columns added."""
        return tuple(name for _, name in self.columns)

    def output_names(self, names: Names) -> Names:
        """Return the old names, then the new ones.

        Raises:
            OptionError: A name is taken.
        """
        _check(self.on, names)
        taken = [name for name in self.made if name in names]
        if taken:
            raise OptionError(
                f"the data set has a column `{taken[0]}` already; give those of the table other names by "
                "`suffix=`, or say by `columns=` which come along"
            )
        return (*names, *self.made)

    def narrow(
        self, names: Names | None, wanted: frozenset[str] | None
    ) -> tuple[Step, frozenset[str] | None]:
        """Leave out columns that nobody wants; the keys are needed for any."""
        if wanted is None:
            return self, None
        kept = tuple(pair for pair in self.columns if pair[1] in wanted)
        if not kept:
            return WithColumns(()), wanted
        return replace(self, columns=kept), (wanted - frozenset(self.made)) | frozenset(self.on)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the columns added."""
        if not self.columns:
            return frame
        rows = _find(self.table, self.on, frame)
        found = self.table.frame.select([name for name, _ in self.columns])[rows]
        return frame.with_columns(found[name].alias(new) for name, new in self.columns)

    def __str__(self) -> str:
        return f"join on {_listed(self.on)}"


@dataclass(frozen=True, slots=True)
class HasMatch:
    """Tell which rows have keys that a table holds, and keep nothing else.

    Attributes:
        table: Where rows are found.
        on: The columns that are held against its key columns, in their order.
    """

    table: KeyedTable
    on: Names

    def output_names(self, names: Names) -> Names:
        """Return the one column's name."""
        _check(self.on, names)
        return (_NAME,)

    def narrow(
        self, names: Names | None, wanted: frozenset[str] | None
    ) -> tuple[Step, frozenset[str] | None]:
        """Only the keys are needed."""
        return self, frozenset(self.on)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the answers."""
        import polars as pl

        return pl.DataFrame({_NAME: _find(self.table, self.on, frame) < len(self.table)})

    def __str__(self) -> str:
        return f"join on {_listed(self.on)}"


def _find(table: KeyedTable, on: Names, frame: pl.DataFrame) -> Places:
    table.check(on, frame.schema)  # what a function returns may differ from row group to row group
    return table.find([frame[name] for name in on])


def _check(wanted: Names, names: Names) -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UnknownColumnError.from_names(missing, names, "the data set")


def _listed(names: Names) -> str:
    return ", ".join(f"`{name}`" for name in names)
