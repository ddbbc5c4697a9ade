"""The contract of an executor."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from headrace.errors import OptionError
from headrace.execution.executors import Executor, Serial
from headrace.testing.resources import Resources, wait_for_nothing_left

_ITEMS = 20


class ExecutorTests:
    """What every executor promises; override the fixture `executor`.

    Attributes:
        needs_pickle: Whether functions and items must be picklable.

    Example:
        >>> import headrace as hr
        >>> class TestThreads(ExecutorTests):
        ...     @pytest.fixture
        ...     def executor(self) -> hr.Threads:
        ...         return hr.Threads(2)
    """

    needs_pickle = False

    @pytest.fixture
    def executor(self) -> Executor:
        """The executor under test."""
        raise NotImplementedError("override the fixture `executor`")

    def test_results_come_in_the_order_of_the_items(self, executor: Executor) -> None:
        """Random sleeps in the function do not change the order, which is that of `Serial`."""
        expected = list(Serial().map(double_slowly, range(_ITEMS)))

        assert list(executor.map(double_slowly, range(_ITEMS), ahead=8)) == expected

    @pytest.mark.parametrize("ahead", [0, 1, 100, None])
    def test_every_depth_gives_the_same(self, executor: Executor, ahead: int | None) -> None:
        """How far it runs ahead has no influence on the results."""
        assert list(executor.map(double, range(5), ahead=ahead)) == [0, 2, 4, 6, 8]

    def test_no_items_give_no_results(self, executor: Executor) -> None:
        """An empty run ends at once."""
        assert list(executor.map(double, [])) == []

    def test_an_error_comes_at_its_place(self, executor: Executor) -> None:
        """What comes before the item that fails is delivered; then the error is raised, once."""
        results = executor.map(refuse_three, range(10), ahead=6)

        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ZeroDivisionError, match="item 3") as caught:
            next(results)
        assert isinstance(caught.value.__cause__, KeyError)

    def test_items_that_cannot_be_made_fail_at_their_place(self, executor: Executor) -> None:
        """An error of the items' own iterator comes after the results of the items before it."""
        results = executor.map(double, broken_items(), ahead=4)
        got = [next(results), next(results)]

        assert got == [0, 2]
        with pytest.raises(ValueError, match="no third item"):
            next(results)

    @pytest.mark.parametrize("ahead", [0, 1, 3])
    def test_items_are_taken_as_there_is_room(self, executor: Executor, ahead: int) -> None:
        """At most `ahead` items are taken beyond the one in demand, however slow the consumer is."""
        taken: list[int] = []
        results = executor.map(double, counted(range(_ITEMS), taken), ahead=ahead)

        excess = []
        for number, _ in enumerate(results):
            time.sleep(0.002)
            excess.append(len(taken) - (number + 1))

        assert max(excess) <= ahead
        assert len(taken) == _ITEMS

    def test_nothing_runs_before_it_is_asked_for(self, executor: Executor) -> None:
        """A run that nobody iterates over takes no item."""
        taken: list[int] = []
        results = executor.map(double, counted(range(3), taken))

        assert taken == []
        assert list(results) == [0, 2, 4]

    def test_dropping_the_results_stops_the_workers(self, executor: Executor) -> None:
        """After a run is abandoned no thread, process or descriptor is left."""
        self.finish(lambda: next(executor.map(double, range(_ITEMS))))
        before = Resources.now()

        for _ in range(3):
            results = executor.map(double_slowly, range(_ITEMS), ahead=8)
            next(iter(results))
            del results

        executor.close()
        assert wait_for_nothing_left(before) == []

    def test_an_error_stops_the_workers(self, executor: Executor) -> None:
        """After an error no thread, process or descriptor is left."""
        self.finish(lambda: next(executor.map(double, range(_ITEMS))))
        before = Resources.now()

        with pytest.raises(ZeroDivisionError):
            list(executor.map(refuse_three, range(10), ahead=4))

        executor.close()
        assert wait_for_nothing_left(before) == []

    def test_close_may_be_called_again(self, executor: Executor) -> None:
        """Closing twice does nothing more."""
        list(executor.map(double, range(3)))
        executor.close()
        executor.close()

    def test_an_unpicklable_function_is_named(self, executor: Executor) -> None:
        """A function that cannot go to another process is refused by name; elsewhere it runs."""

        def closure(item: int) -> int:
            return item + offset

        offset = 1
        if not self.needs_pickle:
            assert list(executor.map(closure, range(3))) == [1, 2, 3]
            return
        with pytest.raises(OptionError, match="closure"):
            list(executor.map(closure, range(3)))

    @staticmethod
    def finish(first_use: Callable[[], Any]) -> None:
        """Run once what starts helpers that stay, such as Python's own tracker of spawned processes."""
        first_use()


def double(item: int) -> int:
    """Return twice the item."""
    return item * 2


def double_slowly(item: int) -> int:
    """Return twice the item, after up to 20 ms that the item fixes."""
    time.sleep(random.Random(item).uniform(0, 0.02))
    return item * 2


def refuse_three(item: int) -> int:
    """Return the item, or raise for the third one."""
    if item == 3:
        raise ZeroDivisionError(f"item {item}") from KeyError("the cause")
    return item


def broken_items() -> Iterator[int]:
    """Yield two items, then raise."""
    yield 0
    yield 1
    raise ValueError("no third item")


def counted(items: Iterable[int], taken: list[int]) -> Iterator[int]:
    """Yield items and write down which were taken."""
    for item in items:
        taken.append(item)
        yield item
