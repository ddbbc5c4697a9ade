"""One cache used by several processes at once: nothing is computed twice, nobody is disturbed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_programs import RANKS, RUNS, dataset_of, digest_of, rank_loader, start, write_shards

import headrace as hr
from headrace.stores.base import Entry, Layout
from headrace.stores.folder.store import FolderStore

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data"), rows=60)


@pytest.fixture
def program() -> Generator[Start]:
    """Start a program; it is ended after the test."""
    programs: list[subprocess.Popen[str]] = []

    def begin(*arguments: object) -> subprocess.Popen[str]:
        programs.append(start(*arguments))
        return programs[-1]

    yield begin
    for each in programs:
        each.kill()
        each.communicate()


def test_ranks_prepare_each_row_group_once(data: Path, tmp_path: Path, program: Start) -> None:
    """Four ranks that begin together prepare each row group once in all, and deliver the same as uncached."""
    ranks = program("ranks", data, tmp_path)
    output, errors = ranks.communicate(timeout=120)
    assert ranks.returncode == 0, errors
    answers: list[list[Any]] = json.loads(output)

    uncached = dataset_of(data, None)
    for place, (shuffle, _) in enumerate(RUNS):
        for number, answer in enumerate(answers):
            with rank_loader(uncached, shuffle, hr.World(number, RANKS)) as loader:
                assert answer[place][0] == digest_of(loader, epochs=2)
        assert sum(answer[place][1] for answer in answers) == 24


@pytest.mark.filterwarnings("ignore:.*nothing is kept, as the limit")  # a table in use is not evicted
def test_readers_are_not_disturbed(data: Path, tmp_path: Path, program: Start) -> None:
    """While another process evicts and clears, every epoch delivers the same, and no error comes."""
    dataset, limit = dataset_of(data, None), 400_000
    with dataset.loader(32, shuffle=True, output="numpy") as loader:
        expected = digest_of(loader)
    other, runs = program("disturb", data, tmp_path, limit, 8), 0
    while other.poll() is None:
        cached, runs = dataset.cache(tmp_path, limit=limit if runs % 2 else None), runs + 1
        with cached.loader(32, shuffle=True, output="numpy") as loader:
            assert digest_of(loader) == expected
            loader.set_epoch(0)
            assert digest_of(loader) == expected
    _, errors = other.communicate()

    assert other.returncode == 0, errors
    assert runs > 1


def test_nobody_waits_for_what_cannot_be_kept(tmp_path: Path) -> None:
    """Entries beyond the limit are computed by everyone at once; those that are kept, by one."""
    layout = Layout([Entry(f"{number:032x}", 100) for number in range(8)])
    store = FolderStore(str(tmp_path), limit=3000)
    one, other = store.open(layout), store.open(layout)
    one.put(0, {"x": np.arange(100)})
    assert other.get(0) is not None
    with one.claim(7) as is_mine, other.claim(7) as is_mine_too:
        assert is_mine
        assert is_mine_too
        assert not other.is_claimed(7)
    with one.claim(1) as is_mine:
        assert is_mine
        assert other.is_claimed(1)
    one.close()
    other.close()
