"""What a source may know of its values without reading them, so that row groups can be passed over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.manifest import RowGroup


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is known of one column in each row group.

    Attributes:
        low: No value but NaN lies below it; of the column's type and of shape [row groups], null
            where nothing is known.
        high: No value but NaN lies above it; the same.
        nulls: How many values are null, int64 of shape [row groups]; -1 where that is not known.
    """

    low: pa.Array
    high: pa.Array
    nulls: NDArray[np.int64]


@runtime_checkable
class SupportsStatistics(Protocol):
    """A source that knows bounds of its values."""

    def statistics(self, column: str) -> Statistics:
        """Return what is known of one column, in the order of the manifest's row groups."""
        ...


@runtime_checkable
class SupportsLookup(Protocol):
    """A source that can tell, without decoding it, that a row group lacks some values."""

    def lacks(self, row_group: RowGroup, column: str, values: pa.Array) -> bool:
        """Tell whether none of some values, which are of the column's type, lies in a row group.

        False where that is not known for certain.
        """
        ...
