"""FunctionStep: a user's own function as a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from headrace.errors import OptionError, SchemaError
from headrace.prepare.columns import Map
from headrace.prepare.step import PrepareStep

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class FunctionStep(PrepareStep):
    """Send columns through a function of a Polars frame.

    The function gets the treated columns (by default all) and returns a frame of as many rows: columns that
    it returns take the place of those of their name or come last, treated columns that it does not return
    are left out, and the others stay. It must look at one row at a time, take a frame without rows, be
    deterministic and thread-safe. Its types are kept.

    A saved pipeline holds the function's `name` and `digest`, never the function.

    Attributes:
        function: Takes and returns a Polars frame. version: Stands for the function in the digest, where it
            cannot be identified by its code and the values that it closes over. Change it whenever the
            function's behaviour changes.
        digest: Identifies the function: equal for equal code and values, whatever the file.

    Raises:
        FingerprintError: The function cannot be identified and no `version` was given.

    Example:
        >>> import headrace as hr, polars as pl
        >>> def add_area(frame: pl.DataFrame) -> pl.DataFrame:
        ...     return frame.with_columns(area=pl.col("width") * pl.col("height"))
        >>> ds = hr.from_arrays({"width": [2, 3], "height": [4, 5]})
        >>> hr.Pipeline([hr.FunctionStep(add_area)]).fit(ds).transform({"width": 3, "height": 5})
        {'width': 3, 'height': 5, 'area': 15}
    """

    function: Callable[[pl.DataFrame], pl.DataFrame] = field(metadata={"fingerprint": "now"})
    version: str | None = None
    digest: str = field(default="", init=False)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise OptionError(f"FunctionStep takes a function of a Polars frame, got {self.function!r}")
        object.__setattr__(self, "digest", Map(self.function, self.version).identity)

    @property
    def name(self) -> str:
        """The function's module and name, by which a saved pipeline asks for it."""
        named = self.function if hasattr(self.function, "__qualname__") else type(self.function)
        return f"{named.__module__}.{named.__qualname__}"

    def saved_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Name the function instead of storing it."""
        return {**settings, "function": self.name}

    @classmethod
    def from_settings(cls, settings: dict[str, Any], functions: Mapping[str, Any]) -> Self:
        """Take the function of the saved name.

        Raises:
            OptionError: It was not given, or is not the one that was saved.
        """
        given = dict(settings)
        name, digest = given.pop("function"), given.pop("digest")
        if name not in functions:
            raise OptionError(f"the pipeline calls `{name}`; give it by functions={{{name!r}: ...}}")
        step = cls(functions[name], **given)
        if step.digest != digest:
            raise OptionError(
                f"the function `{name}` is not the one that was saved; give that one, or fit anew"
            )
        return step

    def treats(self, dtype: pl.DataType) -> bool:
        """The function may look at anything."""
        return True

    def bound(self, schema: pl.Schema) -> Self:
        """Find what the function returns, by a frame without rows.

        Raises:
            PrepareError: It failed, or returned no frame.
            SchemaError: It returns a column of the name of one that it was not given.
        """
        step = super().bound(schema)
        made = step._call(schema.to_frame()).columns
        taken = [name for name in made if name in schema and name not in step.names]
        if taken:
            raise SchemaError(
                f"FunctionStep: `{self.name}` returns column `{taken[0]}`, which it was not given"
            )
        return step.with_learned({"made_": made})

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Send no samples through the function."""
        return self.apply(schema.to_frame()).schema

    @property
    def rewrites(self) -> tuple[str, ...]:
        """Any treated column may be changed."""
        return tuple(name for name in self.names if name in self.made_)

    def outputs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Columns keep their places, and new ones come last."""
        left = [name for name in names if name in self.made_ or name not in self.names]
        return tuple(dict.fromkeys((*left, *self.made_)))

    def narrowed(self, wanted: frozenset[str]) -> tuple[Self | None, frozenset[str]]:
        """Leave the function out if nothing of it is wanted; it needs all columns that it treats."""
        if wanted.isdisjoint(self.made_):
            return None, wanted
        return self, (wanted - set(self.made_)) | set(self.names)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Call the function and check what it returns.

        Raises:
            PrepareError: It returns no frame, or one of other rows or columns.
        """
        result = self._call(frame)
        if sorted(result.columns) != sorted(self.made_):
            raise SchemaError(
                f"FunctionStep: `{self.name}` must return the columns {self.made_}, as it did for no rows, "
                f"got {result.columns}"
            )
        names = self.outputs(tuple(frame.columns))
        return (
            frame.drop([name for name in self.names if name not in self.made_])
            .with_columns(result)
            .select(names)
        )

    def _call(self, frame: pl.DataFrame) -> pl.DataFrame:
        return Map(self.function, self.version, self.digest).apply(frame.select(self.names))
