"""`loader(host="process")`: the same batches, state and errors, and nothing left of the process."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import headrace as hr
from headrace.execution.host import process
from headrace.testing import Fail, FaultySource, LoaderTests, Resources
from headrace.testing.contents import contents, ids_of
from headrace.testing.resources import wait_for_nothing_left
from headrace.testing.strategies import LaidSource

MEGABYTE = 1 << 20
SOURCES = (Path(hr.__file__).parents[1], Path(__file__).parent)


@pytest.fixture(autouse=True, scope="module")
def quick_start() -> Iterator[None]:
    """Start processes in a moment: from a server that has imported everything and used nothing."""
    multiprocessing.set_forkserver_preload(["warmed_up"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([*map(str, SOURCES), os.environ.get("PYTHONPATH", "")]))
        multiprocessing.forkserver.ensure_running()
        patch.setattr(process, "START_METHOD", "forkserver")
        yield


def samples(count: int = 40) -> hr.Dataset:
    number = np.arange(count)
    return hr.from_arrays(
        {
            "x": number * 1.5,
            "image": (np.arange(count * 6) % 251).astype(np.uint8).reshape(count, 2, 3),
            "text": [f"row {row}" for row in number],
            "list": [list(range(row % 4)) for row in number],
        }
    )


class TestProcessHost(LoaderTests):
    """The contract of loaders, with every loader's work in a process of its own."""

    @pytest.fixture(params=[True], ids=str)
    def shuffle(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    @pytest.fixture
    def dataset(self) -> hr.Dataset:
        return samples()

    def make(self, dataset: hr.Dataset, shuffle: Any, **options: Any) -> hr.Loader:
        return super().make(dataset, shuffle, **{"host": "process"} | options)
