"""What the verbs that choose samples see of a data set."""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.execution.recipe import Recipe
from headrace.manifest import Manifest
from headrace.planning.selection import Selection
from headrace.prepare.base import Step

Ids = NDArray[np.int64]


class Selectable(Protocol):
    """A recipe and the samples that take part."""

    @property
    def recipe(self) -> Recipe:
        """What is done to the samples."""
        ...

    @property
    def selection(self) -> Selection:
        """Which samples take part."""
        ...

    @property
    def manifest(self) -> Manifest:
        """The shards and row groups."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """The columns and their types, before `pack`."""
        ...

    def with_selection(self, selection: Selection) -> Self:
        """Return the same recipe over other samples."""
        ...

    def rows(self, ids: Ids) -> Self:
        """Return the same recipe over these samples, in this order; a mix ends here."""
        ...

    def prepare(self, *steps: Step) -> Self:
        """Return the same samples with more steps applied to them."""
        ...
