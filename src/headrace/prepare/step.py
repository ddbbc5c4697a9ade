"""What the steps of a pipeline have in common: settings, the columns they treat, and what they learned."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from headrace.errors import OptionError, SchemaError, StateError, UnknownColumnError
from headrace.prepare.numbers.operations import Operation
from headrace.prepare.numbers.programs import run_programs
from headrace.prepare.statistics import Statistic

if TYPE_CHECKING:
    import polars as pl

Columns = Any
"""Which columns: a name, a list of names, a regular expression ("^...$" or compiled), a Polars type or a
list of types, a Polars selector; None for every column that the step can treat."""

Found = Mapping[Statistic, Any]
"""The merged state of each statistic that was asked for."""

SAMPLE_ID = "__sample_id"
"""A column that no data set has: the samples' ids, int64, for what reads or needs it."""


@dataclass(frozen=True)
class PrepareStep:
    """A deterministic step with settings, which may learn from data.

    Steps are values: a fit returns other steps that have learned, and changes none. What was
    learned has names that end in `_`, by column: `step.mean_["age"]`.

    Attributes:
        columns: Which columns the step treats.
        learned: What `fit` found, by name; plain JSON values, Polars series and frames, NumPy arrays.
    """

    columns: Columns = field(default=None, kw_only=True)
    learned: Mapping[str, Any] = field(default_factory=dict[str, Any], init=False, repr=False)

    # What a step says about itself

    def treats(self, dtype: pl.DataType) -> bool:
        """Tell whether a column of this type is treated where the user names none."""
        raise NotImplementedError

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Say what a fit must find out about the columns that come in; nothing for steps without a fit."""
        return ()

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Turn what was found into what is learned; names end in `_`.

        Raises:
            HeadraceError: The data cannot be fitted; the message names the column.
        """
        return {}

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema | None:
        """Foretell names and types that come out, before the fit; None if only a fit can tell."""
        return schema

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation] | None:
        """Write what is done to a column as operations on each number; None if it is more than that."""
        return None

    def inverse_operations(self, column: str) -> Sequence[Operation] | None:
        """Write what takes the column back; None if nothing can."""
        return None

    @property
    def needs_ids(self) -> bool:
        """Whether it is applied to frames with the column `SAMPLE_ID`, which a recipe adds and takes off."""
        return False

    @property
    def makes_floats(self) -> bool:
        """Whether floats that come out are new numbers, which take the pipeline's dtype."""
        return False

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that `apply` looks at: those that are treated, where a step does not name more."""
        return self.names

    @property
    def rewrites(self) -> tuple[str, ...]:
        """The columns that keep their name and change their values."""
        return self.names

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the step applied; thread-safe. Needs what was learned."""
        programs: dict[str, list[Operation]] = {}
        for name in self.names:
            operations = self.operations(name, frame.schema[name])
            if operations is None:
                raise NotImplementedError(f"{type(self).__name__} has neither operations nor an `apply`")
            programs[name] = list(operations)
        return run_programs(frame, programs)

    def outputs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Name the columns that come out of a fitted step, in order."""
        return names

    def narrowed(self, wanted: frozenset[str]) -> tuple[Self | None, frozenset[str]]:
        """Leave out what nobody wants of a fitted step.

        Returns:
            A step that yields at least the wanted columns, None if none is needed, and the columns that must
            come in.
        """
        kept = [name for name in self.names if name in wanted]
        return (self.with_learned({"columns_": kept}) if kept else None), wanted

    def inverse(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """Take a frame back to what it was before the step, as far as it can be told; None if it cannot."""
        programs: dict[str, list[Operation]] = {}
        for name in self.names:
            operations = self.inverse_operations(name)
            if operations is None:
                return None
            if name in frame.columns:
                programs[name] = list(operations)
        return run_programs(frame, programs)

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count what the step's policies meet in samples that come in: column to event to count."""
        return {}

    def saved_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the settings as they are saved; a function is named and not stored."""
        return settings

    @classmethod
    def from_settings(cls, settings: dict[str, Any], functions: Mapping[str, Any]) -> Self:
        """Make a step of saved settings, and of the user's functions by name."""
        return cls(**settings)

    def for_training(self) -> Self:
        """Return the fitted step as it is applied to the very samples that it was fitted to."""
        return self

    def for_others(self) -> Self:
        """Return the fitted step as it is applied to all other samples; undoes `for_training`."""
        return self

    # What follows from it

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that the step treats, once it was bound to a schema."""
        if "columns_" not in self.learned:
            raise StateError(f"{type(self).__name__} must be fitted before it is applied; call `fit` first")
        return tuple(self.learned["columns_"])

    def resolve(self, schema: pl.Schema) -> tuple[str, ...]:
        """Name the columns of a schema that the step treats.

        Raises:
            UnknownColumnError: A named column is not there.
            SchemaError: A named column has a type that the step cannot treat.
            OptionError: `columns` is nothing that names columns.
        """
        if self.columns is None:
            return tuple(name for name, dtype in schema.items() if self.treats(dtype))
        names = match_columns(self.columns, schema, type(self).__name__)
        for name in names:
            if not self.treats(schema[name]):
                raise SchemaError(
                    f"{type(self).__name__} cannot treat column `{name}` of type {schema[name]}"
                )
        return names

    def bound(self, schema: pl.Schema) -> Self:
        """Return the step for the columns of a schema."""
        return self.with_learned({"columns_": list(self.resolve(schema))})

    def with_learned(self, learned: Mapping[str, Any]) -> Self:
        """Return a step with these settings that has learned this, beside what it knows."""
        other = copy.copy(self)
        object.__setattr__(other, "learned", {**self.learned, **learned})
        return other

    def unlearned(self) -> Self:
        """Return a step with these settings that has learned nothing."""
        other = copy.copy(self)
        object.__setattr__(other, "learned", {})
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was computed from settings and what was learned, in copies and pickles alike."""
        return {it.name: self.__dict__[it.name] for it in fields(self)}

    def __getattr__(self, name: str) -> Any:
        """Look up what was learned."""
        learned: Mapping[str, Any] = self.__dict__.get("learned", {})
        if name in learned:
            return learned[name]
        hint = "; call `fit` first" if name.endswith("_") and not name.startswith("_") else ""
        raise AttributeError(f"{type(self).__name__} has no attribute `{name}`{hint}")


def match_columns(columns: Columns, schema: pl.Schema, what: str) -> tuple[str, ...]:
    """Name the columns of a schema that are meant, in the order of the schema, or as they were listed.

    Raises:
        UnknownColumnError: A named column is not there.
        OptionError: Nothing is meant, or not even a name.
    """
    import polars as pl
    import polars.selectors as cs

    if isinstance(columns, re.Pattern):
        return tuple(name for name in schema.names() if columns.search(name))
    if isinstance(columns, str) and not (columns.startswith("^") and columns.endswith("$")):
        columns = [columns]
    if isinstance(columns, (list, tuple)) and all(isinstance(it, str) for it in columns):
        missing = sorted({name for name in columns if name not in schema})
        if missing:
            raise UnknownColumnError.from_names(missing, schema.names(), f"{what}:")
        if len(set(columns)) != len(columns):
            raise OptionError(f"{what}: each column can be named once, got {columns}")
        return tuple(columns)
    try:
        chosen: Any = columns if isinstance(columns, pl.Expr) or cs.is_selector(columns) else pl.col(columns)
        return tuple(pl.DataFrame(schema=schema).select(chosen).columns)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise OptionError(
            f"{what}: `columns` must be names, a regular expression, types or a selector, "
            f"got {columns!r}: {error}"
        ) from error
