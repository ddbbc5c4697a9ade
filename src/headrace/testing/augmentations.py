"""The contract of an augmentation."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.augment.base import Augmentation, Mixing, Spec
from headrace.augment.chain import Bound, Chain, Planned
from headrace.augment.fused.compile import find_stages
from headrace.augment.stage import Stage, reference_stages, run_stages
from headrace.batch import Ragged, take_rows
from headrace.dataset import Dataset
from headrace.draws.draws import Draws, Samples
from headrace.errors import UnknownColumnError
from headrace.fingerprint import digest
from headrace.planning.world import World
from headrace.testing.contents import ID, contents

Columns = Mapping[str, Any]

_SEED = 3


class AugmentTests:
    """What every augmentation promises; override the fixtures `augmentation` and `columns`.

    Columns go through the augmentation by itself and, as far as loaders can deliver them from arrays, through
    loaders.

    Attributes:
        is_random: Whether what it does depends on draws; a resize, for one, does not.
        is_array_api: Whether its reference is written by the array API alone.
        in_loaders: Whether the columns can come out of a data set of arrays.

    Example:
        >>> import headrace as hr
        >>> class TestFlip(AugmentTests):
        ...     @pytest.fixture
        ...     def augmentation(self) -> Augmentation:
        ...         return hr.augment.HorizontalFlip("image")
        ...
        ...     @pytest.fixture
        ...     def columns(self) -> dict[str, NDArray[np.uint8]]:
        ...         return {"image": np.random.default_rng(0).integers(0, 256, (20, 5, 4, 3), np.uint8)}
    """

    is_random = True
    is_array_api = True
    in_loaders = True

    @pytest.fixture
    def augmentation(self) -> Augmentation:
        """The augmentation, of which most samples should be changed."""
        raise NotImplementedError("override the fixture `augmentation`")

    @pytest.fixture
    def columns(self) -> Columns:
        """At least 20 samples: name to array of shape [n, ...] or `Ragged`, all that it needs and no more."""
        raise NotImplementedError("override the fixture `columns`")

    # By itself

    def test_it_says_what_it_makes(self, augmentation: Augmentation, columns: Columns) -> None:
        """Dtypes and shapes are those of `output`, and what it is given is not written to."""
        before = _rows(columns)
        bound = _bind(augmentation, columns)
        made = _run(bound, reference_stages(bound), columns)

        assert {name: Spec.of(column) for name, column in made.items()} == dict(bound.states[-1])
        assert all(len(column) == _count(columns) for column in made.values())
        assert _rows(columns) == before

    def test_parameters_are_what_it_says(self, augmentation: Augmentation, columns: Columns) -> None:
        """`draw` and `neutral` give the fields and nothing else, each of 4 bytes."""
        bound = _bind(augmentation, columns)
        fields = augmentation.fields(bound.states[0])
        names = {field[0] for field in fields}
        words = np.random.default_rng(1).integers(
            0, 1 << 32, (7, augmentation.words(bound.states[0])), np.uint32
        )

        assert {field[1] for field in fields} <= {"i4", "u4", "f4"}
        assert augmentation.draw(words, bound.states[0]).keys() == names
        assert augmentation.neutral(bound.states[0]).keys() == names

    def test_samples_do_not_depend_on_their_batch(self, augmentation: Augmentation, columns: Columns) -> None:
        """Alone, in parts and in any order, a sample is changed in the same way."""
        bound = _bind(augmentation, columns)
        count = _count(columns)
        whole = _rows(_run(bound, reference_stages(bound), columns))
        shuffled = np.random.default_rng(2).permutation(count)
        for size in (1, 7, count):
            for begin in range(0, count, size):
                rows = shuffled[begin : begin + size]
                part = _run(bound, reference_stages(bound), columns, rows)
                assert _rows(part) == [whole[row] for row in rows]

    def test_compiled_stages_are_the_reference(self, augmentation: Augmentation, columns: Columns) -> None:
        """What loaders run gives the reference's bits; of class C, nearly."""
        bound = _bind(augmentation, columns)
        wanted = _run(bound, reference_stages(bound), columns)
        found = _run(bound, find_stages(bound), columns)

        assert wanted.keys() == found.keys()
        if augmentation.parity == "C":
            for name, column in wanted.items():
                np.testing.assert_allclose(_values(found[name]), _values(column), rtol=1e-5, atol=1e-6)
        else:
            assert _rows(found) == _rows(wanted)

    def test_the_reference_needs_nothing_but_the_array_api(
        self, augmentation: Augmentation, columns: Columns
    ) -> None:
        """Under a library without any more than that, it gives the same bits."""
        if not self.is_array_api or any(isinstance(column, Ragged) for column in columns.values()):
            return
        import array_api_strict as xp

        bound = _bind(augmentation, columns)
        strict = _run(bound, reference_stages(bound, xp), columns, xp=xp)

        assert _rows(strict) == _rows(_run(bound, reference_stages(bound), columns))

    def test_epochs_seeds_names_and_copies_draw_apart(
        self, augmentation: Augmentation, columns: Columns
    ) -> None:
        """Each of them changes some samples otherwise; the same ones again change nothing."""
        bound = _bind(augmentation, columns)
        renamed = _bind(replace(augmentation, name="another name"), columns)
        ids = np.arange(_count(columns))
        runs = [
            _rows(_run(one, reference_stages(one), columns, draws=draws, samples=samples))
            for one, draws, samples in (
                (bound, Draws(_SEED, 0), Samples(ids)),
                (bound, Draws(_SEED, 1), Samples(ids)),
                (bound, Draws(_SEED + 1, 0), Samples(ids)),
                (renamed, Draws(_SEED, 0), Samples(ids)),
                (bound, Draws(_SEED, 0), Samples(ids, np.ones_like(ids))),
            )
        ]

        assert _rows(_run(bound, reference_stages(bound), columns)) == runs[0]
        assert all((run == other) != self.is_random for run in runs for other in runs if run is not other)

    def test_without_a_chance_it_changes_nothing_at_random(
        self, augmentation: Augmentation, columns: Columns
    ) -> None:
        """With `p=0` every epoch is the same, compiled or not."""
        try:
            never = _bind(replace(augmentation, p=0.0), columns)
        except ValueError:
            return  # some are for all samples
        first, second = (
            _run(never, reference_stages(never), columns, draws=Draws(_SEED, epoch)) for epoch in (0, 1)
        )

        assert _rows(first) == _rows(second)
        assert _rows(_run(never, find_stages(never), columns)) == _rows(first)
        planned = never.plan(Draws(_SEED), Samples(np.arange(_count(columns))))
        assert not planned.records[never.chain.paths[0]]["applied"].any()

    def test_one_draw_for_a_batch(self, augmentation: Augmentation, columns: Columns) -> None:
        """With `same_on_batch` all samples get the same parameters, and another batch gets others."""
        try:
            shared = replace(augmentation, same_on_batch=True)
        except ValueError:
            return  # some refuse it
        bound = _bind(shared, columns)
        ids = np.arange(_count(columns))
        plans = [bound.plan(Draws(_SEED), Samples(ids, None, batch)) for batch in range(0, 4096, 64)]

        assert all(len({record.tobytes() for record in plan.records}) == 1 for plan in plans)
        if self.is_random and not augmentation.draws_elements:
            assert len({plan.records.tobytes() for plan in plans}) > 1

    def test_no_samples_are_no_error(self, augmentation: Augmentation, columns: Columns) -> None:
        """An empty batch has columns of the right dtype and shape."""
        bound = _bind(augmentation, columns)
        for stages in (reference_stages(bound), find_stages(bound)):
            made = _run(bound, stages, columns, np.zeros(0, np.int64))
            assert {name: Spec.of(column) for name, column in made.items()} == dict(bound.states[-1])

    def test_it_can_be_sent_and_identified(self, augmentation: Augmentation, columns: Columns) -> None:
        """A pickled copy changes samples alike and has the same digest; one of another name has not."""
        copy = pickle.loads(pickle.dumps(augmentation))
        bound, again = _bind(augmentation, columns), _bind(copy, columns)

        assert digest(copy) == digest(augmentation)
        assert digest(replace(augmentation, name="another name")) != digest(augmentation)
        assert _rows(_run(bound, reference_stages(bound), columns)) == _rows(
            _run(again, reference_stages(again), columns)
        )

    def test_an_unknown_column_is_refused(self, augmentation: Augmentation, columns: Columns) -> None:
        """The error names the column."""
        missing = augmentation.changed[0]
        with pytest.raises(UnknownColumnError, match=f"`{missing}`"):
            _bind(augmentation, {name: column for name, column in columns.items() if name != missing})

    # In loaders

    @pytest.mark.parametrize("settings", [{"batch_size": 1}, {"batch_size": 9, "threads": 2}], ids=str)
    def test_loaders_deliver_the_same_samples(
        self, augmentation: Augmentation, columns: Columns, settings: dict[str, Any]
    ) -> None:
        """Any batch size, threads and world size: the same bytes for the same ids."""
        if not self.in_loaders:
            return
        dataset = _dataset(augmentation, columns)
        wanted = _by_id(dataset.loader(5, **_LOADING))

        assert _by_id(dataset.loader(**(_LOADING | settings))) == wanted
        ranks = [dataset.loader(4, world=World(rank, 2), **_LOADING) for rank in range(2)]
        assert _by_id(*ranks) == wanted

    def test_loaders_resume(self, augmentation: Augmentation, columns: Columns) -> None:
        """From the middle on, batches are those of a whole epoch, and so are those of `batch(step)`."""
        if not self.in_loaders:
            return
        dataset = _dataset(augmentation, columns)
        loader = dataset.loader(6, **_LOADING)
        whole, states = [], []
        for batch in loader:
            whole.append(batch)
            states.append(loader.state_dict())
        again = dataset.loader(6, **_LOADING)
        again.load_state_dict(states[1])

        assert contents(again) == contents(whole[2:])
        again.set_epoch(0)
        assert contents([again.batch(step) for step in range(len(whole))]) == contents(whole)


_LOADING: dict[str, Any] = {"shuffle": True, "seed": _SEED, "threads": 0, "output": "numpy", "with_ids": True}


def _bind(augmentation: Augmentation, columns: Columns) -> Bound:
    return Chain((augmentation,)).bind({name: Spec.of(column) for name, column in columns.items()})


def _run(  # noqa: PLR0913  what may differ from run to run
    bound: Bound,
    stages: tuple[Stage, ...],
    columns: Columns,
    rows: NDArray[np.int64] | None = None,
    *,
    draws: Draws | None = None,
    samples: Samples | None = None,
    xp: Any = np,
) -> dict[str, Any]:
    """Change some samples; in a mix, the partner of each is the one after it."""
    count = _count(columns)
    rows = np.arange(count) if rows is None else rows
    draws, samples = draws or Draws(_SEED), samples or Samples(rows)
    others: tuple[Columns, Planned] | None = None
    if any(isinstance(op, Mixing) for op in bound.chain.ops):
        next_rows = (rows + 1) % count
        others = _taken(columns, next_rows, xp), bound.plan_partners(draws, Samples(next_rows))
    planned = bound.plan(draws, samples)
    made = run_stages(bound, stages, _taken(columns, rows, xp), planned, _allocate, others)
    return {
        name: column if isinstance(column, Ragged) else np.asarray(column) for name, column in made.items()
    }


def _allocate(formats: Any) -> dict[str, NDArray[Any]]:
    """Memory that is full of something else, as memory that was used before is."""
    arrays = {name: np.empty(shape, dtype) for name, (shape, dtype) in formats.items()}
    for array in arrays.values():
        array.view(np.uint8).reshape(-1)[:] = 0xA5
    return arrays


def _taken(columns: Columns, rows: NDArray[np.int64], xp: Any) -> dict[str, Any]:
    taken = {name: take_rows(column, rows) for name, column in columns.items()}
    return {
        name: column if isinstance(column, Ragged) else xp.asarray(column) for name, column in taken.items()
    }


def _count(columns: Columns) -> int:
    return len(next(iter(columns.values())))


def _values(column: Any) -> NDArray[Any]:
    return column.values if isinstance(column, Ragged) else column


def _rows(columns: Columns) -> list[tuple[bytes, ...]]:
    """The bytes of each sample."""
    names = sorted(columns)
    samples = zip(*(columns[name] for name in names), strict=True)
    return [tuple(np.ascontiguousarray(value).tobytes() for value in sample) for sample in samples]


def _dataset(augmentation: Augmentation, columns: Columns) -> Dataset:
    from headrace.inputs import from_arrays

    arrays = {
        name: [sample.tolist() for sample in column] if isinstance(column, Ragged) else column
        for name, column in columns.items()
    }
    return from_arrays(arrays).augment(augmentation)


def _by_id(*loaders: Any) -> dict[int, tuple[bytes, ...]]:
    found: dict[int, tuple[bytes, ...]] = {}
    for loader in loaders:
        for batch in loader:
            ids = batch.pop(ID)
            found |= dict(zip(ids.tolist(), _rows(batch), strict=True))
    return found
