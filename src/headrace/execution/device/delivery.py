"""Delivery on a device: batches become slabs, slabs arrays there, and those what the consumer asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from headrace.augment.chain import Bound, Chain, Planned
from headrace.augment.stage import Columns, Stage, run_stages
from headrace.batch import Batch, Ragged, Sparse
from headrace.execution.deliver import extras, plain
from headrace.execution.device.base import Device, Outputs
from headrace.execution.device.departure import DepartingAugmenter, Outstanding, PlannedBatch
from headrace.execution.device.slabs import ALIGNMENT, Key, Slab, SlabMemory
from headrace.execution.device.transfer import Cargo, Formats, Transfer, Views
from headrace.execution.workshop import Workshop

Array = NDArray[Any]

_RECORDS, _IDENTITY = ("", "records"), ("", "identity")
_DRAWN = ("records", "identity")  # roles of what belongs to no column
_IDENTITY_BYTES = 20
_RECORD_BYTES = 64  # of one augmentation; more takes a second piece of memory


@dataclass(frozen=True, eq=False, slots=True)
class Backend:
    """Everything that depends on the kind of a device and on the library that gets its arrays.

    Attributes:
        device: The device.
        outputs: Who owns what is delivered.
        stages: How a chain is performed there.
        planned: What was drawn, from the dtype of the records, those as int32 of shape [n, fields], the
            identity and the keys of the elements.
        empty: Makes an array on the device, from shape and dtype.
        wrap: Makes what is delivered of one column: an array, or a `Ragged` or `Sparse` of arrays.
    """

    device: Device
    outputs: Outputs
    stages: Callable[[Bound], tuple[Stage, ...]]
    planned: Callable[[np.dtype[Any], Any, Any, Mapping[Any, Any]], Any]
    empty: Callable[[tuple[int, ...], DTypeLike], Any]
    wrap: Callable[[Any], Any]


@dataclass(frozen=True, eq=False, slots=True)
class _Rest:
    """What stays on the host of a batch, and what to know when its arrays are back."""

    columns: Mapping[str, Any]
    kinds: Mapping[str, Any]
    rows: int


@dataclass(frozen=True, eq=False)
class DeviceDelivery:
    """Delivers batches on a device.

    Attributes:
        backend: The device, and whose arrays are delivered.
        chain: What will be outstanding on the batches.
        ahead: How many batches are sent before the consumer asks for them.
        reuse: See `Transfer`.
        with_ids: Whether each batch carries its samples' ids.
    """

    backend: Backend
    chain: Chain | None
    ahead: int
    reuse: bool = False
    with_ids: bool = False
    memory: SlabMemory = field(init=False)
    _performers: dict[int, _Performer] = field(default_factory=dict[int, "_Performer"], init=False)

    def __post_init__(self) -> None:
        ops = () if self.chain is None else self.chain.ops
        # Room behind the columns for records, identity, ids and the mask of padding.
        memory = SlabMemory(
            self.backend.device, _RECORD_BYTES * len(ops) + _IDENTITY_BYTES + 9, 4 * ALIGNMENT
        )
        object.__setattr__(self, "memory", memory)

    def __call__(
        self, batches: Iterator[Batch], epoch: int, steps: range
    ) -> Generator[tuple[dict[str, Any], int]]:
        """Yield each batch as it is delivered, and how many samples it has.

        Raises:
            DeviceMemoryError: The device has too little memory; the message names the batch.
        """
        cargoes = (
            self._cargo(batch, f"epoch {epoch}, step {step}")
            for step, batch in zip(steps, batches, strict=True)
        )
        transfer = Transfer(self.backend.device, self.backend.outputs, self.ahead, self.reuse)
        with closing(transfer.deliver(cargoes)) as delivered:
            for arrays, rest in delivered:
                yield self._wrapped(arrays, rest), rest.rows

    def one(self, batch: Batch, epoch: int, step: int) -> dict[str, Any]:
        """Deliver one batch by itself."""
        with closing(self(iter([batch]), epoch, range(step, step + 1))) as delivered:
            return next(delivered)[0]

    def equip(self, workshop: Workshop) -> Workshop:
        """Let batches be made in slabs, with their augmentations outstanding."""
        return replace(workshop, memory=self.memory, augmenter=self.augmenter())

    def augmenter(self) -> DepartingAugmenter | None:
        """Return what leaves augmentations outstanding."""
        return self._augmenter

    @cached_property
    def _augmenter(self) -> DepartingAugmenter | None:
        # One for all epochs, as what it binds is compiled for the device once.
        return None if self.chain is None else DepartingAugmenter(self.chain, self.memory)

    def _cargo(self, batch: Batch, where: str) -> Cargo:
        todo = batch.outstanding if isinstance(batch, PlannedBatch) else None
        columns = {name: plain(column) for name, column in batch.columns.items()}
        new = {} if todo is None else {name: None for name in todo.bound.states[-1] if name not in columns}
        columns = {**columns, **new, **extras(batch, self.with_ids)}
        arrays: dict[Key, Array] = {}
        kinds: dict[str, Any] = {}
        for name, column in columns.items():
            if (own := _arrays_of(column)) is not None:
                kinds[name] = column.width if isinstance(column, Sparse) else type(column)
                arrays |= {(name, role): array for role, array in own.items()}
        rest = _Rest(columns, kinds | dict.fromkeys(new, np.ndarray), len(batch))
        if todo is None:
            slab = self.memory.slab(arrays)
            return Cargo((slab,), where, _Unchanged(_formats(slab)), rest)
        slabs = [self.memory.slab({**arrays, **_drawn(todo.planned)})]
        if todo.partners is not None:
            others, planned = todo.partners
            wanted = {(name, ""): others[name] for name in todo.bound.chain.columns if name in others}
            slabs.append(self.memory.slab({**wanted, **_drawn(planned)}))
        return Cargo(tuple(slabs), where, self._change(todo, slabs[0]), rest)

    def _change(self, todo: Outstanding, slab: Slab) -> _Augmented:
        bound, rows = todo.bound, len(todo.planned.identity)
        if id(bound) not in self._performers:
            self._performers[id(bound)] = _Performer.of(self.backend, bound, todo.first)
        formats = {key: form for key, form in _formats(slab).items() if key[0] or key[1] not in _DRAWN}
        before = bound.states[todo.first]
        formats |= {
            (name, ""): ((rows, *spec.shape), spec.dtype)
            for name, spec in bound.states[-1].items()
            if before.get(name) != spec
        }
        return _Augmented(formats, self.backend, todo, self._performers[id(bound)])

    def _wrapped(self, arrays: Mapping[Key, Any], rest: _Rest) -> dict[str, Any]:
        """Put columns together, in their order."""
        found: dict[str, Any] = {}
        for name in rest.columns:
            kind = rest.kinds.get(name)
            if kind is None:
                found[name] = rest.columns[name]
            elif kind is np.ndarray:
                found[name] = self.backend.wrap(arrays[name, ""])
            elif kind is Ragged:
                found[name] = self.backend.wrap(
                    Ragged.trusted(arrays[name, "values"], arrays[name, "offsets"])
                )
            else:
                values, indices, offsets = (arrays[name, role] for role in ("values", "indices", "offsets"))
                found[name] = self.backend.wrap(Sparse.trusted(values, indices, offsets, kind))
        return found


@dataclass(frozen=True, eq=False, slots=True)
class _Unchanged:
    """Hands on what was sent."""

    outputs: Formats

    def __call__(self, inputs: Sequence[Views], outputs: Views) -> None:
        for key, output in outputs.items():
            output[...] = inputs[0][key]


@dataclass(frozen=True, eq=False, slots=True)
class _Performer:
    """What performs the outstanding part of a chain.

    Attributes:
        bound: The chain, kept so that its identity stays its own.
        stages: The stages that are left.
        last: For each of them, the columns that it is the last to change.
    """

    bound: Bound
    stages: tuple[Stage, ...]
    last: tuple[frozenset[str], ...]

    @staticmethod
    def of(backend: Backend, bound: Bound, first: int) -> _Performer:
        """Find the stages from one augmentation on."""
        stages = tuple(stage for stage in backend.stages(bound) if stage.numbers[0] >= first)
        # What is left to the host is a stage by itself, or the end of one.
        assert [number for stage in stages for number in stage.numbers] == [
            *range(first, len(bound.chain.ops))
        ]
        changed = [
            {name for each in stage.numbers for name in bound.chain.ops[each].output(bound.states[each])}
            for stage in stages
        ]
        later = [set[str]().union(*changed[number + 1 :]) for number in range(len(stages))]
        last = tuple(frozenset(own - after) for own, after in zip(changed, later, strict=True))
        return _Performer(bound, stages, last)


@dataclass(frozen=True, eq=False, slots=True)
class _Augmented:
    """Performs what is outstanding."""

    outputs: Formats
    backend: Backend
    todo: Outstanding
    performer: _Performer

    def __call__(self, inputs: Sequence[Views], outputs: Views) -> None:
        bound = self.todo.bound
        columns, planned = self._found(inputs[0], self.todo.planned)
        partners = None
        if self.todo.partners is not None:
            partners = self._found(inputs[1], self.todo.partners[1])
        stages = tuple(
            _Placed(stage, last, planned, outputs)
            for stage, last in zip(self.performer.stages, self.performer.last, strict=True)
        )
        found = run_stages(bound, stages, columns, planned, self._allocate, partners)
        for key, output in outputs.items():
            name, role = key
            result = inputs[0][key] if role or name not in found else found[name]
            if result is not output:
                output[...] = result

    def _found(self, inputs: Views, planned: Planned) -> tuple[Columns, Any]:
        columns = {name: array for (name, role), array in inputs.items() if name and not role}
        drawn = self.backend.planned(
            self.todo.bound.dtype, inputs[_RECORDS], inputs[_IDENTITY], planned.element_keys
        )
        return columns, drawn

    def _allocate(self, wanted: Mapping[str, tuple[tuple[int, ...], DTypeLike]]) -> dict[str, Any]:
        return {name: self.backend.empty(*form) for name, form in wanted.items()}


@dataclass(frozen=True, eq=False, slots=True)
class _Placed:
    """A stage that writes a column right into the output if nothing changes it afterwards."""

    stage: Stage
    last: frozenset[str]
    planned: Any
    outputs: Views

    @property
    def numbers(self) -> range:
        """Which augmentations of the chain."""
        return self.stage.numbers

    @property
    def picks(self) -> frozenset[str]:
        """None: all rows are on the device."""
        return frozenset()

    def run(self, columns: Columns, partners: Columns | None, planned: Any, allocate: Any) -> Columns:
        """Return the columns that change."""

        def place(wanted: Mapping[str, tuple[tuple[int, ...], DTypeLike]]) -> dict[str, Any]:
            here = self.last if planned is self.planned else frozenset[str]()
            fresh = allocate(
                {name: form for name, form in wanted.items() if not self._fits(name, form, here)}
            )
            return {name: fresh[name] if name in fresh else self.outputs[name, ""] for name in wanted}

        return self.stage.run(columns, partners, planned, place)

    def _fits(self, name: str, form: tuple[tuple[int, ...], DTypeLike], here: frozenset[str]) -> bool:
        if name not in here:
            return False
        output = self.outputs[name, ""]
        return tuple(output.shape) == tuple(form[0]) and np.dtype(output.dtype) == np.dtype(form[1])


def host_planned(
    dtype: np.dtype[Any], records: NDArray[np.int32], identity: Array, keys: Mapping[Any, Any]
) -> Planned:
    """Return what was drawn, from its arrays on a `HostDevice`."""
    return Planned(records.view(dtype).reshape(len(records)), identity, keys)


def _arrays_of(column: Any) -> dict[str, Array] | None:
    """Return the arrays of a column that travel; None if it stays on the host."""
    if isinstance(column, Ragged):
        own = {"values": column.values, "offsets": column.offsets}
    elif isinstance(column, Sparse):
        rows = column.canonical()
        own = {"values": rows.values, "indices": rows.indices.astype(np.int64), "offsets": rows.offsets}
    elif isinstance(column, np.ndarray):
        own = {"": column.view(np.int64) if column.dtype.kind in "mM" else column}
    else:
        return None
    return own if all(array.dtype.kind in "biufc" for array in own.values()) else None


def _drawn(planned: Planned) -> dict[Key, Array]:
    return {_RECORDS: planned.packed, _IDENTITY: planned.identity}


def _formats(slab: Slab) -> dict[Key, tuple[tuple[int, ...], np.dtype[Any]]]:
    return {key: (part.shape, part.dtype) for key, part in slab.parts.items()}
