"""Errors that cross a process border keep their class and say where they happened."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader
from torch_data import loader, numbers, refuse, workers

import headrace as hr
from headrace import errors
from headrace.errors import HeadraceError, PrepareError, SourceError

SOURCE = Path(__file__).parents[2] / "src"
CLASSES = sorted(
    (it for it in vars(errors).values() if isinstance(it, type) and issubclass(it, HeadraceError)),
    key=lambda it: it.__name__,
)

INTERRUPTED = """
import sys, headrace as hr, numpy as np
from torch.utils.data import DataLoader
if __name__ == "__main__":
    source = hr.from_arrays({"x": np.zeros((1000, 1000))}).loader(10, shuffle=True)
    batches = DataLoader(source.to_torch(), batch_size=None, num_workers=2, multiprocessing_context="fork")
    for epoch in range(10**6):
        for step, _ in enumerate(batches):
            if epoch == 0 and step == 3:
                print("ready", flush=True)
"""


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_survives_pickling_and_one_string(kind: type[HeadraceError]) -> None:
    """Rebuilt from its text alone, or by pickle, an error keeps its class and its text."""
    text = "part-3.parquet, row group 2, column `x`: 'quoted', with 100 %"
    error = kind(text)

    assert str(error) == text
    assert str(kind(str(error))) == text
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == text


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_survives_the_way_of_data_loader(kind: type[HeadraceError]) -> None:
    """torch carries a worker's error as class and traceback; the class is raised with all of the text."""
    try:
        raise kind("part-3.parquet, row group 2")
    except HeadraceError:
        wrapper = ExceptionWrapper(where="in a worker")
    with pytest.raises(kind, match=r"part-3\.parquet, row group 2") as caught:
        pickle.loads(pickle.dumps(wrapper)).reraise()

    assert type(caught.value) is kind


@pytest.mark.parametrize("count", [0, 2])
def test_an_error_in_a_worker_says_where(tmp_path: Path, count: int) -> None:
    """Function, file and row group are in the text, with and without workers."""
    pq.write_table(pa.table({"x": range(10)}), tmp_path / "part-7.parquet", row_group_size=5)
    source = loader(hr.open(tmp_path).map(refuse), shuffle=False)
    with pytest.raises(PrepareError) as caught:
        list(workers(source, count))

    for part in ("refuse", "torch_data.py", "part-7.parquet", "row group 0", "no division today"):
        assert part in str(caught.value)


@pytest.mark.parametrize("count", [0, 2])
def test_an_error_of_a_source_keeps_its_class(tmp_path: Path, count: int) -> None:
    """A shard that is gone is a `SourceError`, and an `OSError`, from workers too."""
    path = tmp_path / "part-7.parquet"
    pq.write_table(pa.table({"x": range(10)}), path, row_group_size=5)
    source = loader(hr.open(path))
    path.unlink()
    with pytest.raises(SourceError, match=r"part-7\.parquet") as caught:
        list(workers(source, count))

    assert isinstance(caught.value, OSError)


def test_an_error_in_a_map_style_worker_says_where() -> None:
    """Random access from workers fails with the function's name as well."""
    samples = DataLoader(
        numbers().map(refuse).to_torch_map(), batch_size=5, num_workers=1, multiprocessing_context="fork"
    )
    with pytest.raises(PrepareError, match=r"row group 0: map by `refuse`"):
        list(samples)


def test_ctrl_c_ends_workers_too() -> None:
    """Ctrl-C while workers load ends all processes within 5 seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        begin = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)

    assert time.monotonic() - begin < 5
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no member of the group is left
