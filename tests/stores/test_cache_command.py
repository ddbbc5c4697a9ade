"""`headrace cache`: what a folder holds is listed, verified and cleared, and nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cached_data import packed, plain, write_shards

import headrace as hr
from headrace.cli import main

GROUPS = 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the prepared rows of two data sets."""
    data = write_shards(tmp_path / "shards")
    for make in (packed, plain):
        make(data).materialize(tmp_path / "cache", progress=False)
    return tmp_path / "cache"


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """Run a command, and hold it to its exit code and to silence on standard error."""
    capsys.readouterr()
    assert main(["cache", *map(str, arguments)]) == code
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, Any]:
    return json.loads(run(capsys, *arguments, "--json", code=code))


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["cache", *map(str, arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    return printed.err


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_listing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each table with its arrays, how much of it is there, its size and its last use; nothing changes."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    text, tables = run(capsys, "ls", folder), run_json(capsys, "ls", folder)["tables"]

    assert [table["columns"] for table in tables] == [
        ["dense", "numbers", "label"],
        ["x", "y", "label", "word", "tokens"],
    ]
    assert [(table["entries"], table["present"], table["rows"]) for table in tables] == [
        (GROUPS, GROUPS, 38)
    ] * 2
    assert "dense, numbers, label" in text
    assert "x, y, label and 2 more" in text
    assert "7 of 7" in text
    assert f"{folder}: 2 tables, " in " ".join(text.split())
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_verifying(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is damaged is told by the exit code, dropped, and prepared again by the next loader."""
    assert "14 row groups sound, nothing damaged" in " ".join(run(capsys, "verify", folder).split())
    flip(next(folder.rglob("*dense*.npy")))
    tables = run_json(capsys, "verify", folder, code=1)["tables"]
    assert sorted((table["sound"], table["damaged"]) for table in tables) == [(GROUPS - 1, 1), (GROUPS, 0)]
    assert "13 row groups sound, nothing damaged" in " ".join(run(capsys, "verify", folder).split())
    done = packed(folder.parent / "shards").materialize(folder, progress=False)
    assert (done.built, done.found) == (1, GROUPS - 1)

    flip(next(folder.rglob("*dense*.npy")))
    assert "13 row groups sound, 1 damaged and dropped" in " ".join(
        run(capsys, "verify", folder, code=1).split()
    )


def test_clearing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a loader has open stays, and so does whatever the store did not make."""
    table = next(path.parent for path in folder.rglob("table.json"))
    for place in (folder, table):
        (place / "notes.txt").write_text("mine")
    with packed(folder.parent / "shards").cache(folder).loader(6, output="numpy") as loader:
        list(loader)
        assert "in use" in run(capsys, "ls", folder)
        assert "1 left, as somebody has them open" in " ".join(run(capsys, "clear", folder).split())
        assert [left["columns"][0] for left in run_json(capsys, "clear", folder)["left"]] == ["dense"]
        list(loader)
        assert loader.stats()["cache_misses"] == 0
    assert run_json(capsys, "clear", folder)["freed"] > 0
    assert run_json(capsys, "ls", folder)["tables"] == []
    assert (folder / "notes.txt").read_text() == (table / "notes.txt").read_text() == "mine"
    assert list(folder.rglob("*.npy")) == []


def test_what_is_no_table_is_left_alone(folder: Path, tmp_path: Path) -> None:
    """A link and a file of a table's name are neither counted nor followed nor removed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "table.json").write_text("mine")
    link, file = folder / "tables" / ("0" * 32), folder / "tables" / ("1" * 32)
    link.symlink_to(elsewhere)
    file.write_text("mine")
    for action in ("ls", "verify", "clear"):
        assert main(["cache", action, str(folder)]) == 0
    assert link.is_symlink()
    assert file.read_text() == (elsewhere / "table.json").read_text() == "mine"


def test_what_is_no_cache_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other folders, files and stores are errors in one line, and nothing in them is touched."""
    shards = folder.parent / "shards"
    for action in ("ls", "verify", "clear"):
        for path in (shards, shards / "part-0.parquet", folder.parent / "nowhere"):
            assert str(path) in error_of(capsys, action, path)
        assert "folders" in error_of(capsys, action, "redis://localhost:6379/0")
    assert "ACTION" in error_of(capsys)
    assert len(list(shards.iterdir())) == 4
    folder.chmod(0o777)
    for action in ("ls", "verify", "clear"):
        assert "chmod" in error_of(capsys, action, folder)
    assert hr.open(shards).head(1).height == 1
