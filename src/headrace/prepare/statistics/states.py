"""What statistics have in common: states that are computed by row group, merged, and kept as data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import pyarrow as pa

if TYPE_CHECKING:
    import polars as pl

Payload = tuple[dict[str, Any], dict[str, pa.Array]]
"""A state as data: plain JSON values, and Arrow arrays by name."""

S = TypeVar("S", bound="State")
States = dict["Statistic", Any]


class State(Protocol):
    """What is known so far; immutable."""

    def merge(self: S, other: S) -> S:
        """Return what is known of both parts, self's samples coming first."""
        ...

    def pack(self) -> Payload:
        """Return the state as data, which `Statistic.unpack` reads."""
        ...


@runtime_checkable
class Reducible(Protocol):
    """A state that grows with the data, and can go on with little memory."""

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        ...

    def reduced(self) -> Any:
        """Return a state of little memory in its place: on disk, or less exact, which it then says."""
        ...


class Statistic(Protocol):
    """Something asked of columns; a frozen dataclass, hashable, fingerprinted, picklable."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that are looked at."""
        ...

    def of(self, frame: pl.DataFrame) -> Any:
        """Return the state of some samples, of none too; thread-safe."""
        ...

    def unpack(self, payload: Payload) -> Any:
        """Read a state that `State.pack` wrote."""
        ...


def merge_states(results: Iterable[States], limit: int | None = None) -> States:
    """Merge the states of parts, in order.

    Args:
        results: The states of each part, by what was asked.
        limit: Bytes that all states together may take; beyond, the largest are reduced. A state that is
            reduced stays so, whatever is merged with it.
    """
    merged: States = {}
    grown = 0  # at least what all states take
    for states in results:
        grown += sum(_sizes(states).values())
        merged = {key: merged[key].merge(state) if key in merged else state for key, state in states.items()}
        if limit is not None and grown > limit:
            merged = _reduced(merged, limit)
            grown = sum(_sizes(merged).values())
    return merged


def _reduced(states: States, limit: int) -> States:
    sizes = _sizes(states)
    excess = sum(sizes.values()) - limit
    reduced = dict(states)
    for key in sorted(sizes, key=lambda key: -sizes[key]):
        if excess <= 0:
            break
        reduced[key] = states[key].reduced()
        excess -= sizes[key] - reduced[key].nbytes
    return reduced


def _sizes(states: States) -> dict[Statistic, int]:
    return {key: state.nbytes for key, state in states.items() if isinstance(state, Reducible)}
