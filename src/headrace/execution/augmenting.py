"""Room 4: a batch's samples are changed at random, by draws that are keyed by who they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headrace.augment.base import Spec
from headrace.augment.chain import Bound, Chain, Planned
from headrace.augment.fused.compile import find_stages
from headrace.augment.stage import Picked, Stage, run_stages
from headrace.batch import Batch, Ragged
from headrace.draws.draws import Draws, Samples
from headrace.errors import SchemaError, UnknownColumnError
from headrace.execution.deliver import plain
from headrace.execution.memory import BatchMemory
from headrace.prepare.pack import lay_out_column


@dataclass(frozen=True, eq=False, slots=True)
class Compiled:
    """A chain that is bound to the columns of some batches.

    Attributes:
        bound: The chain.
        stages: How it is performed.
    """

    bound: Bound
    stages: tuple[Stage, ...]


class Augmenter:
    """Performs a chain on batches. Thread-safe; what it returns depends on the arguments alone."""

    def __init__(self, chain: Chain, memory: BatchMemory | None = None) -> None:
        """Take a chain, and the memory that batches lie in."""
        self.chain = chain
        self._memory = memory or BatchMemory()
        self._compiled: dict[frozenset[tuple[str, Spec]], Compiled] = {}

    def compiled(self, columns: Mapping[str, Any]) -> Compiled:
        """Bind the chain to what these columns hold.

        Raises:
            UnknownColumnError: A column is not there.
            SchemaError: A column does not hold what an augmentation needs.
        """
        return self._bind({name: Spec.of(column) for name, column in columns.items() if _is_array(column)})

    def picks(self, specs: Mapping[str, Spec]) -> frozenset[str]:
        """Return the columns whose rows are read where they lie, so that nobody need copy them before.

        Args:
            specs: What the columns hold.

        Raises:
            HeadraceError: As `compiled` does.
        """
        compiled = self._bind(specs)
        found: dict[str, bool] = {}
        for stage in compiled.stages:
            for number in stage.numbers:
                for column in compiled.bound.chain.ops[number].changed:
                    found.setdefault(column, column in stage.picks)
        return frozenset(column for column, is_picked in found.items() if is_picked)

    def _bind(self, specs: Mapping[str, Spec]) -> Compiled:
        key = frozenset(specs.items())
        if key not in self._compiled:
            bound = self.chain.bind(specs)
            self._compiled[key] = Compiled(bound, find_stages(bound))
        return self._compiled[key]

    def __call__(
        self,
        batch: Batch,
        draws: Draws,
        samples: Samples,
        partners: tuple[Batch, Samples] | None = None,
        picked: Mapping[str, Any] | None = None,
    ) -> Batch:
        """Return a batch with its samples changed; the given one stays as it is.

        Args:
            batch: The samples.
            draws: The epoch's draws.
            samples: Who they are.
            partners: With mixing, the partner of each sample and who those are.
            picked: Columns that are not in the batch yet, some of them `Picked`.
        """
        columns = self._arrays({**batch.columns, **(picked or {})})
        compiled = self.compiled(columns)
        others = None
        if partners is not None:
            others = self._arrays(partners[0].columns), compiled.bound.plan_partners(draws, partners[1])
        planned = compiled.bound.plan(draws, samples)
        changed = run_stages(compiled.bound, compiled.stages, columns, planned, self._memory.allocate, others)
        return replace(batch, columns=changed)

    def planned(self, batch: Batch, draws: Draws, samples: Samples) -> Planned:
        """Return what is drawn for the samples of a batch."""
        return self.compiled(self._arrays(batch.columns)).bound.plan(draws, samples)

    def _arrays(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Turn the columns that are needed into arrays, where they are still in Arrow."""
        missing = [name for name in self.chain.ops[0].changed if name not in columns]
        if missing:
            raise UnknownColumnError.from_names(missing, columns, f"what {self.chain.ops[0].title} is given")
        found = dict(columns)
        for name in self.chain.columns:
            if name in found and not _is_array(found[name]):
                found[name] = plain(lay_out_column(found[name], name, "a batch"))
                if not _is_array(found[name]):
                    kind = columns[name].type
                    raise SchemaError(f"column `{name}` must hold numbers to be augmented, got {kind}")
        return found


def _is_array(column: Any) -> bool:
    return isinstance(column, (np.ndarray, Ragged, Picked))
