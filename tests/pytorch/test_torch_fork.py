"""Workers forked after Polars was used: Polars' threads are gone there, and headrace does not hang."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch.utils.data import DataLoader
from torch_data import ids, loader, numbers, refuse, triple, workers

import headrace as hr
from headrace.errors import PrepareError
from headrace.testing import Resources
from headrace.testing.resources import wait_for_nothing_left

SOURCE = Path(__file__).parents[2] / "src"

# A script whose function is its own, with and without a guard.
SCRIPT = """
import sys, headrace as hr, polars as pl, numpy as np
from torch.utils.data import DataLoader

def triple(frame):
    return frame.with_columns((pl.col("x") * 3).alias("triple"), (pl.col("x") + 1).alias("next"))

def main():
    dataset = hr.from_arrays({"x": np.arange(40)})
    dataset.map(triple).head()
    source = dataset.map(triple).loader(7)
    batches = DataLoader(source.to_torch(), batch_size=None, num_workers=2, multiprocessing_context="fork")
    print(sum(int(batch["triple"].sum()) for batch in batches))

"""


@pytest.fixture(autouse=True)
def polars_was_used() -> None:
    """Start Polars' threads in this process, as `head` or `to_polars` would."""
    frame = pl.DataFrame({"a": range(1000)})
    frame.select((pl.col("a") + 1).alias("b"), (pl.col("a") + 2).alias("c"))
    numbers().with_columns(y=pl.col("x") * 2, z=pl.col("x") + 1).head()


@pytest.mark.parametrize(
    "prepare",
    [
        lambda dataset: dataset.with_columns(triple=pl.col("x") * 3, next=pl.col("x") + 1),
        lambda dataset: dataset.map(triple),
        lambda dataset: dataset.map(triple).pack(both=["triple", "next"], x="x"),
    ],
    ids=["with_columns", "map", "pack"],
)
def test_batches_are_right_and_nothing_hangs(prepare: Callable[[hr.Dataset], hr.Dataset]) -> None:
    """Expressions and functions give in forked workers what they give here, in the same order."""
    dataset = prepare(numbers())
    expected = list(loader(dataset))
    begin = time.monotonic()
    got = list(workers(loader(dataset), 2))

    assert time.monotonic() - begin < 60
    assert ids(got) == ids(expected)
    for batch, same in zip(got, expected, strict=True):
        assert batch.keys() == same.keys()
        assert all(torch.equal(batch[name], same[name]) for name in batch)


def test_recipes_without_polars_never_touch_it() -> None:
    """Choosing and naming columns needs no Polars, so forked workers start at once."""
    dataset = hr.from_arrays({"a": range(50), "b": range(50)}).rename({"a": "x"}).drop(["b"])
    begin = time.monotonic()
    got = [batch["x"].tolist() for batch in workers(loader(dataset.rows([4, 3, 2, 1]), batch_size=2), 1)]

    assert time.monotonic() - begin < 1.5  # less than what it takes to find out that Polars is dead
    assert sorted(value for batch in got for value in batch) == [1, 2, 3, 4]


def test_random_access_works_too() -> None:
    """Map style samples from forked workers are those of this process."""
    samples = numbers(20).map(triple).to_torch_map()
    batches = DataLoader(samples, batch_size=5, num_workers=1, multiprocessing_context="fork")

    assert [value for batch in batches for value in batch["triple"].tolist()] == [id * 9 for id in range(20)]


def test_persistent_workers_keep_their_helper() -> None:
    """Later epochs need no new helper, and nothing is left when the workers end."""
    batches = workers(loader(numbers().map(triple)), 1, persistent_workers=True)
    before = Resources.now()
    first = ids(batches)
    begin = time.monotonic()
    second = ids(batches)

    assert time.monotonic() - begin < 1.5
    assert [first, second] == [ids(it) for it in two_epochs(loader(numbers().map(triple)))]
    del batches
    assert wait_for_nothing_left(before) == []


def test_an_error_in_the_helper_says_where() -> None:
    """A function that fails there is named with its row group, like anywhere else."""
    with pytest.raises(PrepareError) as caught:
        list(workers(loader(numbers().map(refuse)), 1))

    for part in ("memory, row group 0", "refuse", "no division today"):
        assert part in str(caught.value)


def test_what_cannot_be_pickled_is_one_clear_error() -> None:
    """A closure cannot go to the helper: the error says what to do instead."""
    factor = 3
    dataset = numbers().map(lambda frame: frame.with_columns(y=pl.col("x") * factor))
    with pytest.raises(PrepareError, match='multiprocessing_context="forkserver"'):
        list(workers(loader(dataset), 1))


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_started_afresh_workers_use_polars_themselves(context: str) -> None:
    """Workers that are no forks need no helper."""
    dataset = numbers(30).map(triple)

    assert ids(workers(loader(dataset), 1, context)) == ids(loader(dataset))


def test_looking_at_data_in_a_fork_is_an_error() -> None:
    """`head` in a forked process says that Polars cannot be used there."""
    samples = Looking()
    with pytest.raises(PrepareError, match="forked after Polars was used"):
        list(DataLoader(samples, num_workers=1, multiprocessing_context="fork"))


class Looking(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return numbers(10).head().height


@pytest.mark.parametrize(
    ("ending", "works"), [('if __name__ == "__main__":\n    main()\n', True), ("main()\n", False)]
)
def test_functions_of_a_script(tmp_path: Path, ending: str, works: bool) -> None:
    """A script's own functions are found by the helper; without a guard it stops with the reason."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + ending)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    if works:
        assert (done.returncode, done.stdout) == (0, f"{sum(range(40)) * 3}\n"), done.stderr
    else:
        assert done.returncode == 1
        assert "PrepareError" in done.stderr
        assert "cannot be rebuilt in another process" in done.stderr


def two_epochs(source: hr.Loader) -> list[list[dict[str, Any]]]:
    return [list(source), list(source)]
