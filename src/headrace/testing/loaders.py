"""The contract of a data set's loaders."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from typing import Any

import pytest

from headrace.dataset import Dataset
from headrace.errors import ClosedError, StateError
from headrace.loader import Loader
from headrace.planning.order import BlockShuffle
from headrace.planning.world import World
from headrace.testing.contents import ID, Content, content, contents, flat, ids_of
from headrace.testing.resources import Resources, wait_for_nothing_left

_MOST_STATE_BYTES = 1024
_MEGABYTE = 1 << 20


class LoaderTests:
    """What every loader promises; override the fixture `dataset`.

    The oracle is the sequence of batches of one process without threads and interruptions,
    compared in order. Every test runs for each shuffle.

    Attributes:
        batch_size: Should leave a remainder.
        seed: Of the order.

    Example:
        >>> import headrace as hr
        >>> class TestArrays(LoaderTests):
        ...     @pytest.fixture
        ...     def dataset(self) -> Dataset:
        ...         return hr.from_arrays({"x": list(range(40))})
    """

    batch_size = 6
    seed = 5

    @pytest.fixture
    def dataset(self) -> Dataset:
        """A data set of about 20 to 100 samples that NumPy output can deliver."""
        raise NotImplementedError("override the fixture `dataset`")

    @pytest.fixture(params=[False, True, "global", BlockShuffle(lanes=3, window=4)], ids=str)
    def shuffle(self, request: pytest.FixtureRequest) -> Any:
        """The shuffle under test."""
        return request.param

    def source_order(self, dataset: Dataset) -> list[int]:
        """The ids that a loader without shuffle delivers; a mix has another order than its ids."""
        return dataset.sample_ids.tolist()

    def make(self, dataset: Dataset, shuffle: Any, **options: Any) -> Loader:
        """Make a loader that works in the calling thread, unless told otherwise."""
        options = {"batch_size": self.batch_size, "seed": self.seed, "threads": 0} | options
        return dataset.loader(shuffle=shuffle, output="numpy", with_ids=True, **options)

    # Which samples, in which order

    def test_every_sample_comes_exactly_once(self, dataset: Dataset, shuffle: Any) -> None:
        """The samples of an epoch are those selected, each as often as it was selected."""
        assert Counter(ids_of(self.make(dataset, shuffle))) == Counter(dataset.sample_ids.tolist())

    def test_values_belong_to_their_ids(self, dataset: Dataset, shuffle: Any) -> None:
        """Each batch holds the values that `take` gives for its ids."""
        for batch in self.make(dataset, shuffle):
            taken = dataset.take(batch[ID])
            whole = next(iter(self.make(dataset.rows(batch[ID]), False, batch_size=len(batch[ID]))))

            assert taken.ids.tolist() == batch[ID].tolist()
            assert content(whole) == content(batch)

    def test_order_is_repeatable(self, dataset: Dataset, shuffle: Any) -> None:
        """A second loader with the same settings gives equal batches; without shuffle, in order."""
        expected = contents(self.make(dataset, shuffle))

        assert contents(self.make(dataset, shuffle)) == expected
        if shuffle is False:
            assert ids_of(self.make(dataset, shuffle)) == self.source_order(dataset)

    def test_seed_and_epoch_change_a_shuffled_order(self, dataset: Dataset, shuffle: Any) -> None:
        """Another seed or epoch shuffles otherwise; source order knows neither."""
        loader = self.make(dataset, shuffle)
        orders = [ids_of(loader), ids_of(loader), ids_of(self.make(dataset, shuffle, seed=self.seed + 1))]

        assert len({tuple(order) for order in orders}) == (1 if shuffle is False else len(orders))
        assert all(Counter(order) == Counter(orders[0]) for order in orders)

    @pytest.mark.parametrize("tail", ["keep", "drop", "pad"])
    @pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
    def test_global_batches_are_equal_at_every_world_size(
        self, dataset: Dataset, shuffle: Any, size: int, tail: str
    ) -> None:
        """At equal global batch size, the ranks' batches end to end are those of one rank."""
        alone = self.make(dataset, shuffle, global_batch_size=11, tail=tail)
        ranks = [
            contents(self.make(dataset, shuffle, global_batch_size=11, tail=tail, world=World(rank, size)))
            for rank in range(size)
        ]

        assert len({len(batches) for batches in ranks}) == 1
        ids = [[id for batch in step for id in batch[ID]] for step in zip(*ranks, strict=True)]
        expected = [batch[ID] for batch in contents(alone)]
        if tail == "keep" and len(dataset) % 11 in range(1, size):
            # Fewer samples than ranks are left: they join the step before, and are sorted with it.
            assert Counter(ids[-1]) == Counter(expected[-2] + expected[-1])
            ids[-1:] = expected[-2:]
        assert ids == expected

    @pytest.mark.parametrize("tail", ["keep", "drop", "pad"])
    def test_length_is_right(self, dataset: Dataset, shuffle: Any, tail: str) -> None:
        """`len` is the number of batches in every tail, at every batch size and world size."""
        for batch_size in (1, 4, self.batch_size, len(dataset), len(dataset) + 1):
            for size in (1, 3):
                loader = self.make(
                    dataset, shuffle, tail=tail, batch_size=batch_size, world=World(size - 1, size)
                )
                assert len(list(loader)) == len(loader)
                assert len(list(loader)) == len(loader)  # the second epoch

    @pytest.mark.parametrize("threads", [1, 4])
    def test_threads_and_depth_change_nothing(self, dataset: Dataset, shuffle: Any, threads: int) -> None:
        """Batches are equal with any number of threads and any prefetch."""
        expected = contents(self.make(dataset, shuffle))

        for ahead in (0, 1, 5):
            assert contents(self.make(dataset, shuffle, threads=threads, ahead=ahead)) == expected

    def test_batch_is_the_batch_of_the_iteration(self, dataset: Dataset, shuffle: Any) -> None:
        """`batch(step)` equals what iteration delivers at that step, and moves nothing."""
        loader = self.make(dataset, shuffle)
        expected = contents(self.make(dataset, shuffle))
        iterator = iter(loader)
        next(iterator)

        assert [content(loader.batch(step)) for step in range(len(loader))] == expected
        assert contents(iterator) == expected[1:]

    # Resume

    def test_state_of_every_step_resumes_exactly(self, dataset: Dataset, shuffle: Any) -> None:
        """Saved after each step and loaded into a fresh loader, what follows is what was missing."""
        expected = contents(self.make(dataset, shuffle))
        for done, state in enumerate(self._states(dataset, shuffle)):
            loader = self.make(dataset, shuffle)
            loader.load_state_dict(state)
            second_epoch = done == len(expected)

            assert contents(loader) == (self._epoch(dataset, shuffle, 1) if second_epoch else expected[done:])

    @pytest.mark.parametrize(
        "changed",
        [{"batch_size": 4}, {"batch_size": 1}, {"threads": 2}, {"threads": 4, "ahead": 0}, {"ahead": 7}],
        ids=str,
    )
    def test_state_resumes_with_other_settings(
        self, dataset: Dataset, shuffle: Any, changed: dict[str, Any]
    ) -> None:
        """Another batch size, thread count or prefetch delivers what is missing, in order.

        Batch size 1 delivers by position. A batch holds the next positions, in its own order.
        """
        by_position = ids_of(self.make(dataset, shuffle, batch_size=1))
        expected = contents(self.make(dataset, shuffle))
        for done, state in enumerate(self._states(dataset, shuffle)[:-1]):
            loader = self.make(dataset, shuffle, **changed)
            loader.load_state_dict(json.loads(json.dumps(state)))
            got = contents(loader)
            begin = min(done * self.batch_size, len(by_position))

            for batch in got:
                end = begin + len(batch[ID])
                assert Counter(batch[ID]) == Counter(by_position[begin:end])
                begin = end
            assert begin == len(by_position)
            if "batch_size" not in changed:
                assert got == expected[done:]

    @pytest.mark.parametrize("size", [2, 3, 5])
    def test_state_resumes_at_another_world_size(self, dataset: Dataset, shuffle: Any, size: int) -> None:
        """Saved by one rank and loaded by many, the steps' global batches go on as planned."""
        global_size = 12
        alone = self.make(dataset, shuffle, global_batch_size=global_size, tail="pad")
        steps = [batch[ID].tolist() for batch in alone]
        alone.set_epoch(0)
        iterator = iter(alone)
        for done in range(1, len(steps)):
            next(iterator)
            state = alone.state_dict()
            ranks: list[list[list[int]]] = []
            for rank in range(size):
                loader = self.make(
                    dataset, shuffle, global_batch_size=global_size, tail="pad", world=World(rank, size)
                )
                loader.load_state_dict(state)
                ranks.append([batch[ID].tolist() for batch in loader])
                assert loader.epoch == 1

            assert [flat(step) for step in zip(*ranks, strict=True)] == steps[done:]

    def test_state_is_small_plain_and_equal_on_all_ranks(self, dataset: Dataset, shuffle: Any) -> None:
        """A state is under 1 KB of JSON, which gives it back unchanged, and no rank has its own."""
        ranks = [self.make(dataset, shuffle, world=World(rank, 2)) for rank in range(2)]
        iterators = [iter(loader) for loader in ranks]
        for _ in range(2):
            for iterator in iterators:
                next(iterator)
            first, second = (loader.state_dict() for loader in ranks)

            assert first == second
            assert json.loads(json.dumps(first)) == first
            assert len(json.dumps(first)) < _MOST_STATE_BYTES
            assert {type(value) for value in first.values()} <= {int, str}

    def test_state_before_the_first_batch_is_the_beginning(self, dataset: Dataset, shuffle: Any) -> None:
        """A state saved before iteration, or before its first batch, resumes to the whole epoch."""
        expected = contents(self.make(dataset, shuffle))
        saver = self.make(dataset, shuffle)
        before = saver.state_dict()
        _ = iter(saver)

        for state in (before, saver.state_dict()):
            loader = self.make(dataset, shuffle)
            loader.load_state_dict(state)
            assert contents(loader) == expected

    def test_a_loaded_state_is_saved_unchanged(self, dataset: Dataset, shuffle: Any) -> None:
        """Loading and saving at once gives the same state."""
        for state in self._states(dataset, shuffle):
            loader = self.make(dataset, shuffle)
            loader.load_state_dict(state)

            assert loader.state_dict() == state

    def test_loading_over_a_half_consumed_iterator(self, dataset: Dataset, shuffle: Any) -> None:
        """A state loaded in mid-epoch holds for the next iteration, whatever the old iterator does."""
        expected = contents(self.make(dataset, shuffle))
        states = self._states(dataset, shuffle)
        loader = self.make(dataset, shuffle)
        old = iter(loader)
        next(old)
        loader.load_state_dict(states[2])
        next(old)

        assert loader.state_dict() == states[2]
        assert contents(loader) == expected[2:]
        assert loader.epoch == 1
        loader.set_epoch(4)
        list(old)
        assert loader.epoch == 4

    def test_state_after_the_last_batch_begins_the_next_epoch(self, dataset: Dataset, shuffle: Any) -> None:
        """Whether saved at the last batch or after the loop, the next epoch follows in full."""
        second = self._epoch(dataset, shuffle, 1)
        saver = self.make(dataset, shuffle)
        iterator = iter(saver)
        for _ in range(len(saver)):
            next(iterator)
        at_last = saver.state_dict()
        assert list(iterator) == []

        for state in (at_last, saver.state_dict()):
            loader = self.make(dataset, shuffle)
            loader.load_state_dict(state)
            assert loader.epoch == 1
            assert contents(loader) == second

    def test_two_epochs_saved_and_two_more_are_four(self, dataset: Dataset, shuffle: Any) -> None:
        """An interruption between epochs, or in one, leaves no trace."""
        whole = self.make(dataset, shuffle)
        expected = [contents(whole) for _ in range(4)]
        first = self.make(dataset, shuffle)
        got = [contents(first) for _ in range(2)]
        second = self.make(dataset, shuffle)
        second.load_state_dict(first.state_dict())
        got += [contents(second) for _ in range(2)]

        assert got == expected

    def test_resuming_twice_in_an_epoch(self, dataset: Dataset, shuffle: Any) -> None:
        """Parts delivered between saves and loads add up to the epoch."""
        got: list[Content] = []
        state = self.make(dataset, shuffle).state_dict()
        while len(got) < len(self.make(dataset, shuffle)):
            loader = self.make(dataset, shuffle)
            loader.load_state_dict(state)
            got += contents(islice(loader, 2))
            state = loader.state_dict()

        assert got == contents(self.make(dataset, shuffle))

    def test_a_state_of_something_else_is_refused(self, dataset: Dataset, shuffle: Any) -> None:
        """Another seed, shuffle or selection is named in the error."""
        state = self.make(dataset, shuffle).state_dict()
        other_shuffle = shuffle is False
        strangers = {
            "seed": self.make(dataset, shuffle, seed=self.seed + 1),
            "shuffle": self.make(dataset, other_shuffle),
            "selection": self.make(dataset.rows(dataset.sample_ids[:20]), shuffle),
        }
        for part, stranger in strangers.items():
            with pytest.raises(StateError, match=f"`{part}`"):
                stranger.load_state_dict(state)

    # Epochs

    def test_break_does_not_advance(self, dataset: Dataset, shuffle: Any) -> None:
        """After `break` the same epoch begins again."""
        loader = self.make(dataset, shuffle)
        for _ in loader:
            break

        assert loader.epoch == 0
        assert contents(loader) == self._epoch(dataset, shuffle, 0)
        assert loader.epoch == 1

    def test_set_epoch(self, dataset: Dataset, shuffle: Any) -> None:
        """Another epoch starts at its beginning; the current one keeps a loaded state."""
        states = self._states(dataset, shuffle)
        loader = self.make(dataset, shuffle)
        loader.set_epoch(3)
        assert contents(loader) == self._epoch(dataset, shuffle, 3)

        loader.load_state_dict(states[2])
        loader.set_epoch(0)
        assert contents(loader) == self._epoch(dataset, shuffle, 0)[2:]

        loader.load_state_dict(states[2])
        loader.set_epoch(1)
        assert contents(loader) == self._epoch(dataset, shuffle, 1)

    # The end

    def test_close_is_complete_and_may_be_repeated(self, dataset: Dataset, shuffle: Any) -> None:
        """Closing stops all threads; whatever is used afterwards raises."""
        state = self.make(dataset, shuffle).state_dict()
        before = Resources.now()
        loader = self.make(dataset, shuffle, threads=2)
        iterator = iter(loader)
        next(iterator)
        loader.close()
        loader.close()

        assert wait_for_nothing_left(before) == []
        for use in (
            lambda: next(iterator),
            lambda: iter(loader),
            lambda: loader.batch(0),
            lambda: loader.load_state_dict(state),
        ):
            with pytest.raises(ClosedError):
                use()

    def test_a_context_closes(self, dataset: Dataset, shuffle: Any) -> None:
        """`with` closes the loader at the end of its block."""
        before = Resources.now()
        with self.make(dataset, shuffle, threads=2) as loader:
            next(iterator := iter(loader))

        assert wait_for_nothing_left(before) == []
        with pytest.raises(ClosedError):
            next(iterator)

    def test_dropped_iterators_leave_nothing(self, dataset: Dataset, shuffle: Any) -> None:
        """`break` after one batch, many times over: threads, children and descriptors stay flat."""
        loader = self.make(dataset, shuffle, threads=2)
        for _ in range(10):  # so that pools of connections are as large as the threads make them
            for _ in loader:
                break
        before = Resources.now()
        for _ in range(10):
            for _ in loader:
                break

        assert wait_for_nothing_left(before) == []
        assert Resources.now().resident - before.resident < 64 * _MEGABYTE

    # What the tests compare with

    def _epoch(self, dataset: Dataset, shuffle: Any, epoch: int) -> list[Content]:
        loader = self.make(dataset, shuffle)
        loader.set_epoch(epoch)
        return contents(loader)

    def _states(self, dataset: Dataset, shuffle: Any) -> list[dict[str, Any]]:
        """The states before the first batch and after each."""
        loader = self.make(dataset, shuffle)
        return [loader.state_dict(), *(loader.state_dict() for _ in loader)]
