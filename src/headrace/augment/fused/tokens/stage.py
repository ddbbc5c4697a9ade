"""The stage of tokens: one augmentation of padded or ragged ids, compiled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Augmentation
from headrace.augment.chain import Bound, Planned
from headrace.augment.fused.rows import as_rows
from headrace.augment.fused.tokens.program import write_options
from headrace.augment.stage import Allocate, Columns
from headrace.augment.tokens.base import TokenAugmentation
from headrace.augment.tokens.change import TokenDropout, TokenReplace
from headrace.augment.tokens.mask import MaskTokens
from headrace.augment.tokens.window import RandomWindow
from headrace.batch import Ragged

_NAMES: dict[type[Augmentation], str] = {
    MaskTokens: "mask",
    TokenReplace: "replace",
    TokenDropout: "drop",
    RandomWindow: "window",
}


@dataclass(frozen=True, eq=False)
class TokenStage:
    """One augmentation of tokens, compiled. Thread-safe. Padded samples may be `Picked`.

    Attributes:
        bound: The chain.
        number: Which augmentation.
    """

    bound: Bound
    number: int

    @property
    def numbers(self) -> range:
        """Which augmentations of the chain."""
        return range(self.number, self.number + 1)

    @property
    def op(self) -> TokenAugmentation:
        """The augmentation."""
        return cast("TokenAugmentation", self.bound.chain.ops[self.number])

    @property
    def is_ragged(self) -> bool:
        """Whether samples differ in length."""
        return self.bound.states[self.number][self.op.ids].is_ragged

    @property
    def picks(self) -> frozenset[str]:
        """All of its padded columns."""
        return frozenset() if self.is_ragged else frozenset(self.op.columns)

    @cached_property
    def options(self) -> NDArray[np.int64]:
        """See `program`."""
        return write_options(self.bound, self.number, self.is_ragged)

    def run(
        self, columns: Columns, partners: Columns | None, planned: Planned, allocate: Allocate
    ) -> Columns:
        """Return the columns that change."""
        if not len(planned.identity):
            return _empty(self.bound, self.number, columns)
        if self.is_ragged:
            self._check_places(columns)
        run = _Run(self, columns, planned, allocate)
        return run.move() if _NAMES[type(self.op)] in ("drop", "window") else run.replace()

    def _check_places(self, columns: Columns) -> None:
        for column in self.op.columns:
            self.op.check_places(column, columns[column], columns[self.op.ids])


def find_token_stage(bound: Bound, first: int) -> TokenStage | None:
    """Return the stage that performs an augmentation of tokens; None if it is another one."""
    return TokenStage(bound, first) if type(bound.chain.ops[first]) in _NAMES else None


def _empty(bound: Bound, number: int, columns: Columns) -> dict[str, Any]:
    """Make columns without samples of what an augmentation puts out."""
    op, states = bound.chain.ops[number], bound.states[number + 1]
    found: dict[str, Any] = {}
    for column in (*op.changed, *(name for name in states if name not in bound.states[number])):
        values = np.empty((0, *states[column].shape), states[column].dtype)
        found[column] = Ragged(values, np.zeros(1, np.int64)) if states[column].is_ragged else values
    return found


class _Run:
    """One augmentation of the tokens of a batch."""

    def __init__(self, stage: TokenStage, columns: Columns, planned: Planned, allocate: Allocate) -> None:
        self._stage, self._op, self._columns, self._allocate = stage, stage.op, columns, allocate
        self._sources: dict[str, tuple[NDArray[Any], NDArray[np.int64]]] = {}
        for column in self._op.columns:
            self._sources[column] = _as_values(columns[column])
        self._values, begins = self._sources[self._op.ids]
        ids = columns[self._op.ids]
        n = len(begins)
        sizes = np.diff(ids.offsets) if isinstance(ids, Ragged) else np.full(n, ids.shape[1], np.int64)
        tokens = sizes if self._op.lengths is None else columns[self._op.lengths]
        self._where = np.stack([begins, sizes, tokens.astype(np.int64)])
        key = planned.element_keys.get((stage.number, self._op.ids), np.zeros(2, np.uint32))
        self._drawn = planned.packed, planned.identity, key

    def replace(self) -> dict[str, Any]:
        """Change tokens at their places."""
        from headrace.augment.fused.tokens.kernels import token_kernel  # numba loads with the first use

        name, ids = _NAMES[type(self._op)], self._op.ids
        shape: tuple[int, ...] = (int(self._where[1].sum()),)
        given = self._columns[ids]
        if not isinstance(given, Ragged):
            shape = given.shape
        formats: dict[str, Any] = {ids: (shape, self._values.dtype)}
        if isinstance(self._op, MaskTokens):
            formats[self._op.labels] = shape, np.int64
        found = self._allocate(formats)
        flat = [found[column].reshape(-1) for column in formats]
        token_kernel(name, self._values.dtype)(
            self._stage.options, self._drawn, self._values, self._where, *flat
        )
        if isinstance(given, Ragged):
            return {column: Ragged(values, given.offsets) for column, values in found.items()}
        return found

    def move(self) -> dict[str, Any]:
        """Find which places stay, and read all columns there."""
        from headrace.augment.fused.tokens.kernels import token_kernel

        op, sizes = self._op, self._where[1]
        n = len(sizes)
        width = op.size if isinstance(op, RandomWindow) else None
        room = np.full(n, width, np.int64) if width is not None else sizes
        places, counts = np.empty(int(room.sum()), np.int32), np.empty((2, n), np.int64)
        token_kernel(_NAMES[type(op)], self._values.dtype)(
            self._stage.options, self._drawn, self._values, self._where, places, counts
        )
        written = counts[0] if self._stage.is_ragged else room
        reading = np.stack([self._where[0], _before(room), counts[0], _before(written), written])
        is_replaced = isinstance(op, TokenDropout) and op.replacement is not None
        changed = (op.ids,) if is_replaced else op.columns
        found: dict[str, Any] = {}
        for column in changed:
            fill = op.replacement if isinstance(op, TokenDropout) and is_replaced else op.fill_of(column)
            found[column] = self._read(column, places, reading, fill or 0)
        if op.lengths is not None:
            found[op.lengths] = counts[1].astype(self._columns[op.lengths].dtype)
        return found

    def _read(
        self, column: str, places: NDArray[np.int32], reading: NDArray[np.int64], fill: int
    ) -> NDArray[Any] | Ragged:
        from headrace.augment.fused.tokens.kernels import gather_kernel

        values, begins = self._sources[column]
        written = reading[4]
        is_ragged = isinstance(self._columns[column], Ragged)
        shape = (int(written.sum()),) if is_ragged else (len(written), int(written[0]))
        out = self._allocate({column: (shape, values.dtype)})[column]
        plain = np.dtype(f"u{values.dtype.itemsize}")
        filling = np.array([fill]).astype(values.dtype).view(plain)[0]
        own = reading.copy()
        own[0] = begins
        gather_kernel(plain.itemsize)(values.view(plain), places, own, filling, out.reshape(-1).view(plain))
        return Ragged(out, np.append(_before(written), written.sum())) if is_ragged else out


def _as_values(column: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return all values in a row, and where each sample begins."""
    if isinstance(column, Ragged):
        return np.require(column.values, requirements=["C", "ALIGNED"]), column.offsets[:-1]
    rows, wanted = as_rows(column)
    return rows.reshape(-1), wanted * rows.shape[1]


def _before(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add up all sizes before each."""
    return np.cumsum(sizes) - sizes
