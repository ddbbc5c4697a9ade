"""Builders of one cache that are killed at any moment: what they leave is whole, and used."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_programs import BUILDERS, build, start, write_shards

from headrace.stores.folder.checking import list_tables

NOT_KEPT = ("lock", "leases", "headrace-cache.lock", "headrace-contents.json")  # who uses what, and when


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data"))


def kill_builders(data: Path, caches: Path, seed: int, rounds: int) -> int:
    """Build a cache in each of so many rounds, and return how many builders were killed."""
    program = start("killed", data, caches, seed, rounds)
    output, errors = program.communicate(timeout=1200)
    assert program.returncode == 0, errors
    return int(output)


def kept(cache: Path) -> dict[str, bytes]:
    """Every file of a cache that holds what was computed, by its path."""
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in sorted(cache.rglob("*"))
        if path.is_file() and not any(part in NOT_KEPT for part in path.relative_to(cache).parts)
    }


def place_notes(cache: Path) -> dict[Path, bytes]:
    """Put files of a user into a cache, its tables included."""
    folders = [path for path in cache.rglob("*") if path.is_dir() and path.name not in NOT_KEPT]
    notes = {folder / name: name.encode() for folder in [cache, *folders] for name in ("notes.txt", "x.npy")}
    for path, content in notes.items():
        path.write_bytes(content)
    return notes


def check_rounds(data: Path, caches: Path, rounds: int) -> None:
    """Finish every cache, and hold it against the one that nobody was killed for."""
    clean = kept(caches / "clean")
    entries = 24
    for number in range(rounds):
        cache = caches / str(number)
        notes = place_notes(cache)
        present = sum(table.present for table in list_tables(str(cache)))
        counts = build(data, cache)

        assert counts["cache_misses"] == entries - present
        assert counts["cache_corrupt"] == 0
        assert {path: path.read_bytes() for path in notes} == notes
        for path in notes:
            path.unlink()
        found = kept(cache)
        assert found.keys() == clean.keys()
        assert [name for name in found if found[name] != clean[name]] == []


def test_killed_builders_leave_entries_that_are_whole(data: Path, tmp_path: Path) -> None:
    """After kills at random moments the finished cache equals a clean one; only what lacked is computed."""
    kills = kill_builders(data, tmp_path, seed=1, rounds=3)

    assert 0 < kills <= 3 * BUILDERS
    check_rounds(data, tmp_path, 3)


@pytest.mark.slow
def test_a_hundred_killed_builders(data: Path, tmp_path: Path) -> None:
    """The same holds after a hundred kills and more."""
    kills, number = 0, 0
    while kills < 100:
        caches = tmp_path / str(number)
        kills += kill_builders(data, caches, seed=100 + number, rounds=10)
        check_rounds(data, caches, 10)
        number += 1
