"""How many distinct values a column holds, about, within 64 kB."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import StateError
from headrace.prepare.statistics.counting import countable
from headrace.prepare.statistics.states import Payload

if TYPE_CHECKING:
    import polars as pl

_BITS = 16
_REGISTERS = 1 << _BITS
_RANKS = 64 - _BITS


@dataclass(frozen=True, slots=True, eq=False)
class DistinctState:
    """A HyperLogLog of a column's values (Flajolet et al., 2007), and its estimate (Ertl, 2017).

    Attributes:
        registers: For each of 65,536 classes of hashes the longest run of leading zeros plus one, uint8.
        nulls: Samples that are null or NaN.
    """

    registers: NDArray[np.uint8]
    nulls: int

    @property
    def relative_error(self) -> float:
        """The estimate's standard error, as a share of it."""
        return 1.04 / math.sqrt(_REGISTERS)

    @property
    def estimate(self) -> float:
        """How many distinct values there are, about; without those that are missing."""
        numbers = np.bincount(self.registers, minlength=_RANKS + 2).tolist()
        total = _REGISTERS * _tau(1 - numbers[_RANKS + 1] / _REGISTERS)
        for rank in range(_RANKS, 0, -1):
            total = 0.5 * (total + numbers[rank])
        total += _REGISTERS * _sigma(numbers[0] / _REGISTERS)
        return _REGISTERS / (2 * math.log(2)) * (_REGISTERS / total) if math.isfinite(total) else 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """Within which the number lies in 95 of 100 cases."""
        reach = 1.96 * self.relative_error
        return self.estimate / (1 + reach), self.estimate / (1 - reach)

    def merge(self, other: DistinctState) -> DistinctState:
        """Return the state of both parts: the same bits for any row groups and any order of them."""
        return DistinctState(np.maximum(self.registers, other.registers), self.nulls + other.nulls)

    def pack(self) -> Payload:
        """Return the registers as an array."""
        return {"nulls": self.nulls, "hashing": _hashing()}, {"registers": pa.array(self.registers)}


@dataclass(frozen=True, slots=True)
class Distinct:
    """Asks how many distinct values a column holds; the standard error is 0.4 %.

    Example:
        >>> import polars as pl
        >>> state = Distinct("x").of(pl.DataFrame({"x": ["a", "b", "a", None]}))
        >>> round(state.estimate), state.nulls
        (2, 1)
    """

    column: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def of(self, frame: pl.DataFrame) -> DistinctState:
        """Hash the column's values."""
        import polars as pl

        values = countable(frame[self.column])
        if isinstance(values.dtype, (pl.Categorical, pl.Enum)):
            values = values.cast(pl.String)
        registers = np.zeros(_REGISTERS, np.uint8)
        hashes = _mixed(values.unique().hash().to_numpy())
        # The lower 48 bits are exact as a float, whose exponent tells the highest one that is set.
        rest = (hashes << np.uint64(_BITS)) >> np.uint64(_BITS)
        ranks = _RANKS + 1 - np.frexp(rest.astype(np.float64))[1]
        np.maximum.at(registers, (hashes >> np.uint64(64 - _BITS)).astype(np.intp), ranks.astype(np.uint8))
        return DistinctState(registers, frame.height - len(values))

    def unpack(self, payload: Payload) -> DistinctState:
        """Read a state.

        Raises:
            StateError: Another version of Polars made it, which may hash otherwise.
        """
        meta, arrays = payload
        if meta["hashing"] != _hashing():
            raise StateError(
                f"distinct values were hashed by {meta['hashing']}, but this is {_hashing()}, whose hashes "
                "may differ; count them again"
            )
        return DistinctState(arrays["registers"].to_numpy(), meta["nulls"])


def _hashing() -> str:
    import polars as pl

    return f"Polars {pl.__version__}"


def _mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread the bits of hashes (the finalizer of MurmurHash3)."""
    mixed = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return mixed ^ (mixed >> np.uint64(33))


def _sigma(share: float) -> float:
    if share == 1:
        return math.inf
    total, power, weight = share, share, 1.0
    while power > 0:
        power *= power
        before, total = total, total + power * weight
        weight *= 2
        if total == before:
            break
    return total


def _tau(share: float) -> float:
    if share in (0, 1):
        return 0.0
    total, power, weight = 1 - share, share, 1.0
    while True:
        power = math.sqrt(power)
        weight *= 0.5
        before, total = total, total - (1 - power) ** 2 * weight
        if total == before:
            return total / 3
