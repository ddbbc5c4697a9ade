"""The order in which a job writes, flushes and renames: what a power cut leaves can be continued."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from journal_jobs import FIRST, SECOND, run

from headrace.sources.written.manifest import NAME


class Disk:
    """Notes which files and names are on disk, and what is done before they are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
        self.out = out
        self.flushed: set[int] = set()
        self.waiting: set[str] = set()  # folders whose names may be lost
        self.complaints: list[str] = []
        self.seen: list[str] = []
        self.moved: set[str] = set()
        for name in ("fsync", "replace", "mkdir", "unlink", "rmdir"):
            monkeypatch.setattr(os, name, self.noting(name, getattr(os, name)))

    def noting(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **options: Any) -> Any:
            if options.get("dir_fd") is None:
                getattr(self, f"note_{name}")(*args)
            return operation(*args, **options)

        return noted

    def note_fsync(self, descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        self.waiting.discard(path)
        self.flushed.add(os.fstat(descriptor).st_ino)

    def note_replace(self, old: Path, new: Path) -> None:
        if Path(old).is_file() and os.stat(old).st_ino not in self.flushed:
            self.complaints.append(f"{new} gets its name before its bytes are on disk")
        if new in (self.out / NAME, self.out / "_unfinished" / "publish.json"):
            self.expect_all(f"{new} is put there")
        if Path(old).parent == self.out and Path(old).name not in self.moved:
            if not self.moved:
                self.expect_all("the first of the old shards is moved")
            self.moved.add(Path(old).name)
            self.waiting.add(str(self.out))
        self.waiting.add(str(Path(new).parent))

    def note_mkdir(self, path: Path, *_: object) -> None:
        self.waiting.add(str(Path(path).parent))

    def note_unlink(self, path: Path) -> None:
        if Path(path) == self.out / NAME:
            self.expect_all("the old manifest is removed")
            self.waiting.add(str(self.out))

    def note_rmdir(self, path: Path) -> None:
        self.waiting.discard(str(path))

    def expect_all(self, moment: str) -> None:
        self.seen.append(moment)
        if self.waiting:
            self.complaints.append(f"{moment} before the names in {sorted(self.waiting)} are on disk")


def test_nothing_is_relied_on_before_it_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes come before names, all names before the list and the manifest, the old manifest goes first."""
    out = tmp_path / "out"
    run(out, FIRST)
    with monkeypatch.context() as patch:
        disk = Disk(patch, out)
        disk.flushed = {path.stat().st_ino for path in out.rglob("*")}
        run(out, SECOND, update=True)

    assert disk.complaints == []
    assert disk.seen == [
        f"{out / '_unfinished' / 'publish.json'} is put there",
        "the old manifest is removed",
        "the first of the old shards is moved",
        f"{out / '_unfinished' / 'publish.json'} is put there",
        f"{out / NAME} is put there",
    ]
