"""What an index is: a way from values of columns to sample ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import ClosedError, OptionError, UnknownColumnError
from headrace.execution.recipe import Recipe
from headrace.index.storing import VERSION, Arrays, Header, Parts
from headrace.manifest import Manifest, RowGroup
from headrace.planning.selection import Selection
from headrace.prepare.columns import Select

Ids = NDArray[np.int64]


class Index(Protocol):
    """A way from values of columns to the ids of the samples that hold them.

    Made by `ds.index(...)`. Answers are sample ids of the data set that it was asked of, each at most
    once, and go into `ds.rows(ids)`. Nulls are never found. Thread-safe, also after a fork;
    picklable. What a kind cannot answer raises `OptionError`.
    """

    def lookup(self, values: Any) -> Ids:
        """Return the samples that hold one of some values, in rising order, int64 of shape [n]."""
        ...

    def range(self, low: Any = None, high: Any = None) -> Ids:
        """Return the samples from `low` to `high`, both included, None being open; in rising order."""
        ...

    def nearest(self, points: Any, k: int = 1) -> tuple[Ids, NDArray[np.float64]]:
        """Return the k samples nearest to each point, and their distances; both of shape [points, k]."""
        ...

    def within(self, points: Any, radius: float) -> list[Ids]:
        """Return the samples at most so far from each point, one rising array for each."""
        ...

    def close(self) -> None:
        """Let go of files and memory; may be called again."""
        ...


@dataclass(frozen=True)
class Subject:
    """What an index is built of: columns of all samples, whichever of them take part later.

    Attributes:
        columns: Their names.
        recipe: What yields these columns alone, before `pack`.
    """

    columns: tuple[str, ...]
    recipe: Recipe

    @staticmethod
    def of(recipe: Recipe, columns: tuple[str, ...]) -> Subject:
        """Choose columns of a recipe.

        Raises:
            UnknownColumnError: A column is not there.
        """
        names = recipe.schema.names
        missing = [name for name in columns if name not in names]
        if missing:
            raise UnknownColumnError.from_names(missing, names, "the data set")
        return Subject(columns, replace(recipe, pack=None, steps=(*recipe.steps, Select(columns))))

    @property
    def manifest(self) -> Manifest:
        """The shards and row groups."""
        return self.recipe.source.manifest

    @cached_property
    def fields(self) -> tuple[pa.Field, ...]:
        """The columns with their types."""
        return tuple(self.recipe.schema.field(name) for name in self.columns)

    def header(self, kind: str, library: str) -> Header:
        """Identify an index of a kind.

        Raises:
            FingerprintError: A function of the recipe cannot be identified by value.
        """
        return {
            "version": VERSION,
            "kind": kind,
            "columns": list(self.columns),
            "types": [str(field.type) for field in self.fields],
            "manifest": self.manifest.fingerprint,
            "recipe": self.recipe.fingerprint,
            "library": library,
        }


class StoredIndex:
    """An index whose arrays lie in memory or in a folder: what all kinds share.

    Attributes:
        kind: What `ds.index(..., kind=)` calls it.
    """

    kind: ClassVar[str]

    def __init__(self, subject: Subject, selection: Selection, parts: Parts) -> None:
        """Keep what was opened."""
        self.fields = subject.fields
        self._selection = selection
        self._parts: Parts | None = parts

    @classmethod
    def check(cls, subject: Subject) -> None:
        """Refuse columns that this kind is not for.

        Raises:
            OptionError: There are too many.
            SchemaError: One is of a type that cannot be indexed.
        """
        if len(subject.columns) != 1:
            raise OptionError(
                f'an index of kind="{cls.kind}" is over one column, got {list(subject.columns)}; join '
                'columns by `with_columns`, or use kind="kdtree" for numbers'
            )

    @classmethod
    def library(cls, in_folder: bool) -> str:
        """Name the library and version on which the stored form depends; empty if on none.

        Args:
            in_folder: Whether the index is stored.

        Raises:
            MissingDependencyError: A library that the kind needs is not installed.
        """
        return ""

    @classmethod
    def scan(cls, subject: Subject) -> Callable[[RowGroup], Any]:
        """Return what reads one row group, thread-safe and picklable."""
        raise NotImplementedError

    @classmethod
    def assemble(cls, subject: Subject, pieces: Iterable[Any], folder: str | None) -> Arrays:
        """Join what was read of all row groups; files that are no arrays go into the folder."""
        raise NotImplementedError

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it is over."""
        return tuple(field.name for field in self.fields)

    @property
    def folder(self) -> str | None:
        """Where it lies, or None for an index in memory."""
        return self.parts.folder

    @property
    def parts(self) -> Parts:
        """Its arrays.

        Raises:
            ClosedError: The index was closed.
        """
        if self._parts is None:
            raise ClosedError("the index is closed; make another one with `ds.index(...)`")
        return self._parts

    def lookup(self, values: Any) -> Ids:
        """Return the samples that hold one of some values."""
        raise self._refusal("lookup")

    def range(self, low: Any = None, high: Any = None) -> Ids:
        """Return the samples from `low` to `high`."""
        raise self._refusal("range")

    def nearest(self, points: Any, k: int = 1) -> tuple[Ids, NDArray[np.float64]]:
        """Return the samples nearest to points."""
        raise self._refusal("nearest")

    def within(self, points: Any, radius: float) -> list[Ids]:
        """Return the samples at most so far from points."""
        raise self._refusal("within")

    def close(self) -> None:
        """Let go of files and memory; may be called again, and while other threads look up."""
        self._parts = None
        for name in self._derived:
            self.__dict__.pop(name, None)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what can be made anew."""
        return {name: value for name, value in self.__dict__.items() if name not in self._derived}

    def __repr__(self) -> str:
        state = "closed" if self._parts is None else self._parts.folder or "in memory"
        return f"{type(self).__name__}({', '.join(self.columns)}; {state})"

    @property
    def _derived(self) -> set[str]:
        return {
            name
            for kind in type(self).__mro__
            for name, member in vars(kind).items()
            if isinstance(member, cached_property)
        }

    def _taking_part(self, ids: Ids) -> Ids:
        """Keep the ids that take part in the data set."""
        if self._selection.members is None and self._selection.listed is None:
            return ids
        return ids[self._selection.contains(ids)]

    def _refusal(self, question: str) -> OptionError:
        better = "btree" if question == "range" else "kdtree"
        return OptionError(
            f'an index of kind="{self.kind}" over {list(self.columns)} does not answer `{question}`; make '
            f'one of kind="{better}"'
        )
