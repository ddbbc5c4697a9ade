"""A chain of augmentations, bound to what the columns hold, and planned for the samples of a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Augmentation, Mixing, Spec
from headrace.draws.draws import Draws, Samples, Words, draw_words
from headrace.draws.philox import MASK
from headrace.errors import OptionError, UnknownColumnError

Specs = Mapping[str, Spec]


@dataclass(frozen=True)
class Chain:
    """Augmentations one after the other. Immutable, thread-safe, picklable.

    Attributes:
        ops: The augmentations.
    """

    ops: tuple[Augmentation, ...]

    def __post_init__(self) -> None:
        for op in self.ops:
            if not isinstance(op, Augmentation):  # pyright: ignore[reportUnnecessaryIsInstance]  users may err
                raise OptionError(f"an augmentation of `hr.augment` is needed, got {op!r}")
        twice = [path for path, count in Counter(self.paths).items() if count > 1]
        if twice:
            raise OptionError(f"the names of augmentations must differ, got `{twice[0]}` twice")
        partners = {op.partner for op in self.ops if isinstance(op, Mixing)}
        if len(partners) > 1:
            raise OptionError("all mixing augmentations must take the same `partner`, got both kinds")

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """What each augmentation's draws are keyed by."""
        seen: Counter[str] = Counter()
        paths: list[str] = []
        for op in self.ops:
            kind = type(op).__name__
            paths.append(op.name or f"{kind}#{seen[kind]}")
            seen[kind] += 1
        return tuple(paths)

    @property
    def partner(self) -> Literal["order", "id"] | None:
        """Which partners the mixing augmentations take; None if there are none."""
        return next((op.partner for op in self.ops if isinstance(op, Mixing)), None)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that some augmentation changes, in the order of their first use."""
        return tuple(dict.fromkeys(column for op in self.ops for column in op.changed))

    def bind(self, specs: Specs) -> Bound:
        """Bind the chain to what the columns hold.

        Raises:
            UnknownColumnError: A column is not there.
            SchemaError: A column does not hold what an augmentation needs.
        """
        states: list[dict[str, Spec]] = [dict(specs)]
        for op in self.ops:
            now = states[-1]
            missing = [column for column in op.changed if column not in now]
            if missing:
                raise UnknownColumnError.from_names(missing, now, f"what {op.title} is given")
            states.append({**now, **op.output(now)})
        return Bound(self, tuple(states))


@dataclass(frozen=True, eq=False)
class Planned:
    """All that was drawn for the samples of one batch.

    Attributes:
        records: The parameters, structured, of shape [n]: path of each augmentation to `applied` and its
            fields, all of 4 bytes.
        identity: See `Draws.identity`.
        element_keys: Key of the element draws of each augmentation and column, uint32 of shape [2].
    """

    records: NDArray[np.void]
    identity: Words
    element_keys: Mapping[tuple[int, str], Words]

    def params(self, path: str) -> dict[str, NDArray[Any]]:
        """The parameters of one augmentation, field to array of shape [n, ...], views of the records."""
        own = self.records[path]
        return {name: own[name] for name in own.dtype.names or ()}

    @property
    def packed(self) -> NDArray[np.int32]:
        """The records as whole numbers, int32 of shape [n, fields], the same memory."""
        return self.records.view(np.int32).reshape(len(self.records), self.records.dtype.itemsize // 4)


@dataclass(frozen=True, eq=False)
class Bound:
    """A chain that knows what its columns hold. Thread-safe.

    Attributes:
        chain: The augmentations.
        states: What the columns hold before each augmentation, and after the last one.
    """

    chain: Chain
    states: tuple[Specs, ...]
    _keys: dict[tuple[int, int], tuple[list[Words], dict[tuple[int, str], Words]]] = field(
        default_factory=dict
    )

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the records."""
        fields = [
            (path, [("applied", "i4"), *op.fields(specs)])
            for path, op, specs in zip(self.chain.paths, self.chain.ops, self.states, strict=False)
        ]
        return np.dtype(fields)

    def places(self, number: int) -> dict[str, int]:
        """Where in a packed record the parameters of an augmentation are; see `Planned.packed`."""
        record, begin = (self.dtype.fields or {})[self.chain.paths[number]][:2]  # pyright: ignore[reportArgumentType]
        return {name: (begin + place) // 4 for name, (_, place, *_) in (record.fields or {}).items()}

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How many words each augmentation needs, its gate counted."""
        return tuple(1 + op.words(specs) for op, specs in zip(self.chain.ops, self.states, strict=False))

    def keys(self, draws: Draws) -> tuple[list[Words], dict[tuple[int, str], Words]]:
        """The keys of all parameters and of all element draws; found once, as epochs share them."""
        mark = draws.seed, draws.epoch >> 24
        if mark not in self._keys:
            chain = self.chain
            parameters = [draws.key(path) for path in chain.paths]
            elements = {
                (number, column): draws.key(path, f"elements of {column}")
                for number, (path, op) in enumerate(zip(chain.paths, chain.ops, strict=True))
                if op.draws_elements
                for column in op.changed
            }
            self._keys[mark] = parameters, elements
        return self._keys[mark]

    def plan(self, draws: Draws, samples: Samples) -> Planned:
        """Draw the parameters of all augmentations for these samples: a pure function of its arguments."""
        keys, element_keys = self.keys(draws)
        identity = draws.identity(samples)
        records = np.zeros(len(samples), self.dtype)
        for is_shared in {op.same_on_batch for op in self.chain.ops}:
            numbers = [n for n, op in enumerate(self.chain.ops) if op.same_on_batch == is_shared]
            who = draws.identity(samples.as_one()) if is_shared else identity
            words = draw_words([keys[n] for n in numbers], [self.counts[n] for n in numbers], who)
            for number, own in zip(numbers, words, strict=True):
                self._draw(number, own, samples.alone, records)
        return Planned(records, identity, element_keys)

    def plan_partners(self, draws: Draws, samples: Samples) -> Planned:
        """Draw the same for samples that others are mixed with, and that are mixed with none themselves."""
        return self.plan(draws, replace(samples, alone=np.ones(len(samples), np.bool_)))

    def _draw(
        self, number: int, words: Words, alone: NDArray[np.bool_] | None, records: NDArray[np.void]
    ) -> None:
        op, specs, own = self.chain.ops[number], self.states[number], records[self.chain.paths[number]]
        drawn = op.draw(words[:, 1:], specs)
        for name, values in drawn.items():
            own[name] = values
        own["applied"] = 1
        is_off = words[:, 0].astype(np.uint64) >= np.uint64(int(op.p * (MASK + 1)))
        if alone is not None and isinstance(op, Mixing):
            is_off |= alone
        if not is_off.any():
            return
        own["applied"][is_off] = 0
        for name, value in op.neutral(specs).items():
            own[name][is_off] = value
