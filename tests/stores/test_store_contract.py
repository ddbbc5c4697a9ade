"""The contract of `StoreTests`; LMDB and Redis have theirs beside what is special to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from headrace.stores.base import Store
from headrace.stores.folder.store import FolderStore
from headrace.stores.memory import MemoryStore
from headrace.testing import StoreTests


def flip(path: Path) -> None:
    """Change a bit in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 4]))


def cut(path: Path) -> None:
    """Leave the first half of a file."""
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def spoil_files(folder: Path, spoil: Callable[[Path], None]) -> None:
    """Spoil every file of a folder that holds anything."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size:
            spoil(path)


class TestMemory(StoreTests):
    is_shared = False

    @pytest.fixture
    def make(self) -> Callable[[int | None], Store]:
        return MemoryStore


class TestFolder(StoreTests):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[int | None], Store]:
        return lambda limit: FolderStore(str(tmp_path / "cache"), limit)

    @pytest.fixture
    def damages(self, tmp_path: Path) -> Sequence[Callable[[], None]]:
        return [partial(spoil_files, tmp_path / "cache", spoil) for spoil in (flip, cut, empty)]
