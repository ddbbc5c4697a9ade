"""Files of the folder store that are flipped, cut, replaced or forged: misses, never other rows."""

from __future__ import annotations

import base64
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from folder_tables import ROWS, arrays_of, columns_of, files_of, fill, layout_of, present, table_folder

from headrace.fingerprint import digest
from headrace.stores.folder.store import FolderStore

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    made = FolderStore(str(tmp_path / "cache"))
    fill(made)
    return made


def copy_of(store: FolderStore, folder: Path) -> FolderStore:
    """Copy a store's folder, so that each damage meets a sound one."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(store.path, folder)
    return FolderStore(str(folder))


def check_damaged(store: FolderStore, where: object) -> None:
    """Nothing wrong comes back; what is missing was counted, and can be put again."""
    table = store.open(layout_of())
    found = present(table)
    missing = [number for number in range(len(ROWS)) if number not in found]
    assert (table.counts.corrupt > 0) == bool(missing), where
    for number in missing:
        table.put(number, columns_of(number))
    if table.counts.rebuilt == 0:  # nobody knows which entries there were
        assert not missing or "entries.npy" in str(where), where
    assert present(table) == [0, 1, 2], where
    table.close()
    again = store.open(layout_of())
    assert present(again) == [0, 1, 2], where
    assert again.counts.corrupt == 0, where
    again.close()


def test_every_flipped_byte(store: FolderStore, tmp_path: Path) -> None:
    """A flip in any file is a miss that is rebuilt, or without effect where nothing depends on the byte."""
    for path in files_of(store):
        size = path.stat().st_size
        steps = 40 if path.name in ("entries.npy", "table.json") else 5
        harmless = 0
        for step, place in enumerate([*range(0, size, -(-size // steps)), size - 1]):
            copied = copy_of(store, tmp_path / "copied")
            target = Path(copied.path, path.relative_to(store.path))
            with target.open("r+b") as file:
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 1 << place % 8]))
            if step % 8 == 0:
                check_damaged(copied, (path, place))
                continue
            table = copied.open(layout_of())
            harmless += len(present(table)) == len(ROWS)
            table.close()
        assert harmless == 0 or path.name == "headrace-cache.json", (path, harmless)


def test_every_length(store: FolderStore, tmp_path: Path) -> None:
    """A file that was cut off or has grown is a miss that is rebuilt."""
    for path in files_of(store):
        size = path.stat().st_size
        for length in {0, 129, size // 2, size - 1, size + 4096}:
            if length in range(size) or length > size:
                copied = copy_of(store, tmp_path / "copied")
                os.truncate(Path(copied.path, path.relative_to(store.path)), length)
                check_damaged(copied, (path, length))


def test_files_that_are_gone(store: FolderStore, tmp_path: Path) -> None:
    """Whichever is removed, the rest is right."""
    for path in [*files_of(store), table_folder(store) / "lock", table_folder(store) / "1-text"]:
        copied = copy_of(store, tmp_path / "copied")
        target = Path(copied.path, path.relative_to(store.path))
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()
        table = copied.open(layout_of())
        found = present(table)
        assert (found == [0, 1, 2]) == (path.name in ("lock", "headrace-cache.json")), path
        if path.name == "1-text":
            with pytest.warns(UserWarning, match="cannot be written"):
                table.put(0, columns_of(0))
            table.close()
            continue
        for number in {0, 1, 2} - set(found):
            table.put(number, columns_of(number))
        assert present(table) == [0, 1, 2], path
        table.close()


REPLACEMENTS: dict[str, Callable[[Path, Path], Any]] = {
    "link": lambda path, secret: path.symlink_to(secret),
    "pipe": lambda path, secret: os.mkfifo(path),
    "folder": lambda path, secret: path.mkdir(),
}


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_files_that_are_no_files(store: FolderStore, tmp_path: Path, kind: str) -> None:
    """Links are not followed, pipes not waited for; what lies elsewhere is neither read nor changed."""
    for path in [*files_of(store), table_folder(store) / "lock"]:
        if path.name == "headrace-cache.json":
            continue
        copied = copy_of(store, tmp_path / "copied")
        target, secret = Path(copied.path, path.relative_to(store.path)), tmp_path / "secret"
        shutil.copy(target, secret)
        content = secret.read_bytes()
        target.unlink()
        REPLACEMENTS[kind](target, secret)
        table = copied.open(layout_of())
        assert len(present(table)) < len(ROWS), path
        table.close()
        assert secret.read_bytes() == content


def test_a_flip_while_the_table_is_open(store: FolderStore) -> None:
    """With `verify="always"` it is seen at once; with "first" an entry that was looked at is trusted."""
    (path,) = table_folder(store).glob("0-x.npy")
    tables = [FolderStore(store.path, verify=verify).open(layout_of()) for verify in ("always", "first")]
    for table in tables:
        assert present(table) == [0, 1, 2]
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 1)
        file.write(b"\xff")
    always, first = tables

    assert always.get(2) is None
    assert always.counts.corrupt == 1
    assert first.get(2) is None  # taken back for everybody
    first.put(2, columns_of(2))
    assert present(always) == present(first) == [0, 1, 2]
    always.close()
    first.close()


def test_loose_files_are_verified_each_time(store: FolderStore) -> None:
    """They are read each time; so a change that comes after the first look is seen as well."""
    table = store.open(layout_of())
    assert present(table) == [0, 1, 2]
    path = table_folder(store) / "1-text" / "1.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)

    assert present(table) == [0, 2]
    assert table.counts.corrupt == 1
    table.close()


CUT = """
import os, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from folder_tables import arrays_of, layout_of, present, table_folder
from headrace.stores.folder.store import FolderStore
store = FolderStore(sys.argv[3])
for name in ("0-x.npy", "1-y.npy", "entries.npy"):
    table = store.open(layout_of())
    assert table.whole() is not None
    os.truncate(table_folder(store) / name, 130)
    assert table.get(2) is None and table.whole() is None and not table.check(1), name
    for number in range(3):
        table.put(number, arrays_of(number))
    assert present(table, make=arrays_of) == [0, 1, 2], name
    assert name == "entries.npy" or table.counts.corrupt and table.counts.rebuilt
    table.close()
print("well")
"""


def test_files_that_are_cut_off_while_mapped(tmp_path: Path) -> None:
    """Memory whose file is gone would end the process: it is not touched, and the table is made anew."""
    store = FolderStore(str(tmp_path / "cache"))
    fill(store, make=arrays_of)
    arguments = [str(SOURCE), str(Path(__file__).parent), store.path]
    done = subprocess.run(
        [sys.executable, "-c", CUT, *arguments], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


def forge(store: FolderStore, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write another header, with a checksum that fits."""
    path = table_folder(store) / "table.json"
    content = json.loads(path.read_bytes())["content"]
    change(content)
    checksum = digest("table header", json.dumps(content, sort_keys=True))
    path.write_text(json.dumps({"checksum": checksum, "content": content}))


def _set(name: str, value: object) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["columns"][0].update({name: value})


FORGED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "objects": _set("dtype", "|O"),
    "objects by another name": _set("dtype", "object"),
    "records": _set("dtype", "f8,O"),
    "an expression": _set("dtype", "__import__('os').abort()"),
    "a huge shape": _set("shape", [2**40]),
    "a negative shape": _set("shape", [-2]),
    "no numbers": _set("shape", ["a"]),
    "another dtype": _set("dtype", "<f4"),
    "a wide dtype": _set("dtype", "|S9999999999999999999"),
    "no Arrow type": lambda content: content["columns"][1].update(schema="AAAA"),
    "another Arrow type": lambda content: content["columns"][1].update(
        schema=base64.b64encode(pa.schema([("", pa.int64())]).serialize()).decode()
    ),
    "no columns": lambda content: content.update(columns=[]),
    "twice the columns": lambda content: content.update(columns=content["columns"] * 2),
    "more entries": lambda content: content["entries"].append(["a", 5]),
    "more rows": lambda content: content["entries"][0].__setitem__(1, 2**62),
    "no rows": lambda content: content["entries"][0].__setitem__(1, 0),
    "fewer kept": lambda content: content.update(kept=0),
    "more kept": lambda content: content.update(kept=99),
    "a later version": lambda content: content.update(version=2),
    "deeply nested": lambda content: content.update(columns=json.loads("[" * 500 + "]" * 500)),
}


@pytest.mark.parametrize("forged", FORGED)
def test_headers_that_lie(store: FolderStore, forged: str) -> None:
    """A header that somebody made up, with a sound checksum, takes no memory and runs nothing."""
    forge(store, FORGED[forged])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table = store.open(layout_of())
    found = present(table)
    if forged == "another Arrow type":  # whose text comes back as no numbers
        with pytest.warns(UserWarning, match="not those of the others"):
            table.put(0, columns_of(0))
        assert found == []
        table.close()
        return
    for number in {0, 1, 2} - set(found):
        table.put(number, columns_of(number))
    table.close()
    table = store.open(layout_of())

    assert present(table) == [0, 1, 2]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
    table.close()


def test_garbage_that_is_never_verified(store: FolderStore, tmp_path: Path) -> None:
    """With `verify="never"`, bytes may be wrong; what is no column at all is still a miss and no crash."""
    for path in (table_folder(store) / "1-text").iterdir():
        size = path.stat().st_size
        for place in range(0, size - 8, 24):
            copied = FolderStore(copy_of(store, tmp_path / "copied").path, verify="never")
            with Path(copied.path, path.relative_to(store.path)).open("r+b") as file:
                file.seek(place)
                file.write(b"\xff" * 8)
            table = copied.open(layout_of())
            for number in range(len(ROWS)):
                found = table.get(number)
                assert found is None or found["text"].type == pa.string()
            table.close()
