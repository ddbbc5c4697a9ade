"""Quantiles within little memory: KLL sketches of the package datasketches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import MissingDependencyError, StateError
from headrace.prepare.statistics.states import Payload

if TYPE_CHECKING:
    from headrace.prepare.statistics.values import ValuesState

_SAMPLE = 20_000  # values that stand for all of them


@dataclass(frozen=True, slots=True)
class SketchState:
    """A sample of a column's finite values, from which quantiles are told within a known error.

    The library draws random bits that cannot be seeded: two fits of the same data differ, within the error.

    Attributes:
        data: The sketch of the values as float64, as the library writes it.
    """

    data: bytes

    @property
    def count(self) -> int:
        """How many values there were."""
        return self._sketch().n

    @property
    def nbytes(self) -> int:
        """What the sketch takes in memory."""
        return len(self.data)

    @property
    def rank_error(self) -> float:
        """How far the rank of a quantile may be off, as a share of the count, in 99 of 100 cases."""
        sketch = self._sketch()
        return sketch.normalized_rank_error(False) if sketch.is_estimation_mode() else 0.0

    def quantiles(self, levels: Sequence[float], method: str = "inverted_cdf") -> list[float]:
        """Return values of about the wanted ranks; whatever the method, none between two values.

        Args:
            levels: Between 0 and 1.
            method: What `ValuesState.quantiles` takes.
        """
        sketch = self._sketch()
        if not sketch.n:
            return [math.nan] * len(levels)
        return sketch.get_quantiles([float(level) for level in levels], inclusive=True)

    def median_deviation(self, center: float) -> float:
        """Return about the median of the distances from a value: its rank may be off by twice the error."""
        sample = np.array(self.quantiles(((np.arange(_SAMPLE) + 0.5) / _SAMPLE).tolist()))
        return float(np.median(np.abs(sample - center)))

    def reduced(self) -> SketchState:
        """Return the sketch itself."""
        return self

    def merge(self, other: SketchState | ValuesState) -> SketchState:
        """Return a sketch of both parts' values."""
        sketch = self._sketch()
        if isinstance(other, SketchState):
            sketch.merge(other._sketch())
        else:
            _add(sketch, other.parts)
        return SketchState(sketch.serialize())

    def pack(self) -> Payload:
        """Return the sketch's bytes."""
        return {}, {"sketch": pa.array([self.data], pa.binary())}

    def _sketch(self) -> Any:
        """Read the sketch.

        Raises:
            StateError: The bytes are none.
        """
        try:
            return _library().kll_doubles_sketch.deserialize(self.data)
        except (RuntimeError, ValueError, IndexError, MemoryError) as error:
            raise StateError(f"the bytes of a quantile sketch are damaged: {error}; fit again") from error


def sketch_values(parts: Sequence[NDArray[Any]], k: int) -> SketchState:
    """Sketch finite values.

    Raises:
        MissingDependencyError: The library is not installed.
    """
    sketch = _library().kll_doubles_sketch(k)
    _add(sketch, parts)
    return SketchState(sketch.serialize())


def _add(sketch: Any, parts: Sequence[NDArray[Any]]) -> None:
    for part in parts:
        for begin in range(0, len(part), 1 << 20):  # float64 of a part of them at a time
            sketch.update(part[begin : begin + (1 << 20)].astype(np.float64))


def _library() -> Any:
    try:
        import datasketches
    except ImportError as error:
        raise MissingDependencyError.from_extra(
            "datasketches", "sketch", "telling quantiles of more values than fit in `memory_limit`"
        ) from error
    return datasketches
