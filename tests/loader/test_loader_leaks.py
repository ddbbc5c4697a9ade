"""Iterators that are dropped, loaders that are forgotten: nothing is left of them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from loader_data import laid
from loader_programs import run

import headrace as hr
from headrace.testing import Resources
from headrace.testing.resources import wait_for_nothing_left

MEGABYTE = 1 << 20
SIDE = 256

UNFINISHED = """
import numpy as np, headrace as hr
ds = hr.from_arrays({"x": np.zeros((400, 1000))})
loader = ds.loader(4, shuffle=True, threads=4, output="numpy", with_ids=True)
iterator = iter(loader)
next(iterator)
print("done")
"""


def large() -> hr.Dataset:
    """40 MB in 20 row groups."""
    number = np.arange(80, dtype=np.float32)
    return hr.from_arrays({"x": np.broadcast_to(number[:, None, None], (80, SIDE, SIDE * 2)).copy()})


def drop_by_break(loader: hr.Loader) -> None:
    for _ in loader:
        break


def drop_by_close(loader: hr.Loader) -> None:
    iterator = iter(loader)
    next(iterator)
    iterator.close()  # pyright: ignore[reportAttributeAccessIssue]  a loader's iterator


def drop_before_the_first_batch(loader: hr.Loader) -> None:
    iter(loader)


@pytest.mark.parametrize("drop", [drop_by_break, drop_by_close, drop_before_the_first_batch])
@pytest.mark.parametrize("threads", [0, 2])
def test_a_hundred_dropped_iterators_leave_nothing(drop: Callable[[hr.Loader], None], threads: int) -> None:
    """`break` after one batch, a hundred times: threads, children, descriptors and memory stay flat."""
    loader = large().loader(8, shuffle=True, threads=threads, output="numpy")
    for _ in range(10):
        drop(loader)
    growth: list[int] = []
    for _ in range(2):  # batches that happen to be prepared at once may be more in one hundred, not in each
        before = Resources.now()
        for _ in range(100):
            drop(loader)
        assert wait_for_nothing_left(before) == []
        growth.append(Resources.now().resident - before.resident)

    assert min(growth) < 60 * MEGABYTE


def test_a_thousand_iterators_take_bounded_memory() -> None:
    """A thousand loaders, each dropped after a few batches, with and without `close`."""
    dataset = hr.from_arrays({"x": np.zeros((64, 4096), np.float32)})

    def use(number: int) -> None:
        loader = dataset.loader(8, shuffle=True, threads=1, output="numpy", seed=number)
        for step, _ in enumerate(loader):
            if step == 4:
                break
        if number % 2:
            loader.close()

    for number in range(50):
        use(number)
    before = Resources.now()
    for number in range(1000):
        use(number)

    assert wait_for_nothing_left(before) == []
    assert Resources.now().resident - before.resident < 30 * MEGABYTE


def test_epochs_take_bounded_memory() -> None:
    """Many epochs, all batches dropped at once, keep no memory."""
    loader = large().loader(8, shuffle=True, threads=2, output="numpy")
    steps = [sum(1 for _ in loader) for _ in range(3)]
    before = Resources.now()
    steps += [sum(1 for _ in loader) for _ in range(15)]

    assert set(steps) == {10}
    assert wait_for_nothing_left(before) == []
    assert Resources.now().resident - before.resident < 60 * MEGABYTE


def test_kept_batches_are_never_written_again() -> None:
    """Batches that the consumer holds keep their values while later ones are prepared."""
    loader = large().loader(8, shuffle=True, threads=2, output="numpy", with_ids=True)
    kept = [*loader, *loader]

    for batch in kept:
        assert (batch["x"] == batch["sample_id"][:, None, None]).all()


def test_a_program_ends_with_an_iterator_at_work() -> None:
    """A program that ends in mid-epoch, its threads at work, ends well."""
    assert run(UNFINISHED) == "done\n"


def test_a_forgotten_loader_is_freed() -> None:
    """Neither its threads nor its iterators keep a loader alive."""
    loader = laid(5, 5, 5).loader(2, threads=2, output="numpy")
    iterator = iter(loader)
    next(iterator)
    reference = weakref.ref(loader)
    del loader, iterator
    gc.collect()

    assert reference() is None
