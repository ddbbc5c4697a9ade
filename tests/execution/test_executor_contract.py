"""The contract of `ExecutorTests` over every executor, and what only some of them can do."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

import headrace as hr
from headrace.errors import OptionError, WorkerError
from headrace.testing import ExecutorTests, Resources
from headrace.testing.executors import double
from headrace.testing.resources import wait_for_nothing_left


class TestSerial(ExecutorTests):
    @pytest.fixture
    def executor(self) -> hr.Serial:
        return hr.Serial()


class TestThreads(ExecutorTests):
    @pytest.fixture
    def executor(self) -> hr.Threads:
        return hr.Threads(4)

    def test_threads_work_at_the_same_time(self) -> None:
        """Four items that wait for each other get done by four threads."""
        barrier = threading.Barrier(4)

        assert len(list(hr.Threads(4).map(lambda _: barrier.wait(10), range(4)))) == 4

    def test_hanging_threads_do_not_hold_up_the_end(self) -> None:
        """Closing waits two seconds for all hanging threads together, not for each."""
        event = threading.Event()
        results = hr.Threads(4).map(lambda item: item if item == 0 else event.wait(60), range(8))
        assert next(results) == 0
        begin = time.monotonic()
        results.close()  # pyright: ignore[reportAttributeAccessIssue]  a generator
        seconds = time.monotonic() - begin
        event.set()

        assert seconds < 4


class TestProcesses(ExecutorTests):
    needs_pickle = True

    @pytest.fixture
    def executor(self) -> hr.Processes:
        return hr.Processes(2)

    def test_a_killed_process_is_an_error(self) -> None:
        """A process killed by the kernel raises `WorkerError` with its signal, and leaves nothing."""
        list(hr.Processes(1).map(double, [1]))
        before = Resources.now()
        with pytest.raises(WorkerError, match="code -9"):
            list(hr.Processes(2).map(kill_at_two, range(6)))

        assert wait_for_nothing_left(before) == []

    def test_an_exiting_process_is_an_error(self) -> None:
        """A function that ends its process is an error which tells the code."""
        with pytest.raises(WorkerError, match="code 123"):
            list(hr.Processes(1).map(os._exit, [123]))

    def test_results_that_cannot_be_pickled_are_named(self) -> None:
        """A result that cannot come back is an error, not a hang."""
        with pytest.raises(WorkerError, match="pickle"):
            list(hr.Processes(1).map(make_lock, [0]))

    def test_items_that_cannot_be_pickled_are_named(self) -> None:
        """An item that cannot go there is an error that shows it."""
        with pytest.raises(OptionError, match="lock"):
            list(hr.Processes(1).map(double, [threading.Lock()]))

    def test_busy_processes_end_with_the_run(self) -> None:
        """Processes that sleep for a minute are ended when the results are dropped."""
        list(hr.Processes(1).map(double, [1]))
        before, begin = Resources.now(), time.monotonic()
        results = hr.Processes(2).map(sleep_after_the_first, range(4))
        assert next(results) == 0
        del results

        assert wait_for_nothing_left(before) == []
        assert time.monotonic() - begin < 10

    def test_work_happens_in_other_processes(self) -> None:
        """Items run in processes that are not this one."""
        numbers = set(hr.Processes(2).map(process_number, range(6)))

        assert os.getpid() not in numbers
        assert 1 <= len(numbers) <= 2


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "2"])
@pytest.mark.parametrize("kind", [hr.Threads, hr.Processes])
def test_a_count_that_cannot_be_right_is_refused(kind: type, count: object) -> None:
    """A number of workers is a whole number of at least 1."""
    with pytest.raises(OptionError, match="at least 1 worker"):
        kind(count)


@pytest.mark.parametrize("ahead", [-1, 1.5, True])
def test_a_depth_that_cannot_be_right_is_refused(ahead: object) -> None:
    """`ahead` is a whole number of at least 0."""
    with pytest.raises(OptionError, match="`ahead`"):
        list(hr.Threads(1).map(double, [1], ahead=ahead))  # pyright: ignore[reportArgumentType]


def kill_at_two(item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def make_lock(_: int) -> object:
    return threading.Lock()


def sleep_after_the_first(item: int) -> int:
    if item:
        time.sleep(60)
    return item


def process_number(_: int) -> int:
    return os.getpid()
