"""Digests of files: read once as long as the file stays the same, and never believed when it may not have."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace.hashing.files import digest_file
from headrace.sources.files import Stamp
from headrace.stores import digests
from headrace.stores.digests import FileDigests

LENGTHS = [0, 1, 15, 16, 17, 1000, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9 << 20]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose bytes were read, in order."""
    seen: list[str] = []

    def noted(path: str) -> str:
        seen.append(Path(path).name)
        return digest_file(path)

    monkeypatch.setattr(digests, "digest_file", noted)
    return seen


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file that was written long ago, as the clock says."""
    path = tmp_path / "old"
    path.write_bytes(b"bytes")
    real = time.time
    monkeypatch.setattr(digests.time, "time", lambda: real() + 60)
    return str(path)


def find(known: FileDigests, path: str) -> str:
    return known.find(path, Stamp.of(path))


def test_every_byte_and_the_length_count(tmp_path: Path) -> None:
    """Files that differ in one byte anywhere, or in their length, differ; equal ones do not."""
    seen: set[str] = set()
    random = np.random.default_rng(0)
    for length in LENGTHS:
        content = random.integers(0, 256, length, np.uint8)
        content.tofile(tmp_path / "a")
        content.tofile(tmp_path / "b")
        assert digest_file(str(tmp_path / "a")) == digest_file(str(tmp_path / "b"))
        seen.add(digest_file(str(tmp_path / "a")))
        for place in {0, length // 2, length - 1} if length else ():
            content[place] ^= 1
            content.tofile(tmp_path / "a")
            seen.add(digest_file(str(tmp_path / "a")))
            content[place] ^= 1
    places = sum(len({0, length // 2, length - 1}) for length in LENGTHS if length)

    assert len(seen) == len(LENGTHS) + places


def test_the_keys_of_blocks_are_no_file(tmp_path: Path) -> None:
    """A file that holds what another's digest is made of has another digest."""
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(bytes(16))

    assert digest_file(str(tmp_path / "a")) != digest_file(str(tmp_path / "b"))


def test_a_file_that_stays_the_same_is_read_once(old: str, read: list[str], tmp_path: Path) -> None:
    """Also by another process later on, and by a copy of what is known."""
    known = FileDigests(tmp_path / "known.json")
    first = find(known, old)
    known.save()

    assert find(known, old) == find(pickle.loads(pickle.dumps(known)), old) == first
    assert find(FileDigests(tmp_path / "known.json"), old) == first
    assert read == ["old"]


def test_a_file_that_changed_is_read_again(old: str, read: list[str], tmp_path: Path) -> None:
    """Size and time of the last write may be what they were."""
    known = FileDigests()
    first, before = find(known, old), os.stat(old)
    Path(old).write_bytes(b"Bytes")
    os.utime(old, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert find(known, old) == digest_file(old) != first
    assert read == ["old", "old"]


def test_a_file_that_was_written_just_now_is_not_remembered(read: list[str], tmp_path: Path) -> None:
    """A write that follows at once might not show in its times."""
    path = tmp_path / "young"
    path.write_bytes(b"bytes")
    known = FileDigests()
    find(known, str(path))
    find(known, str(path))

    assert read == ["young", "young"]


def test_a_file_that_changes_while_it_is_read_is_refused(
    old: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is remembered of it."""

    def disturbed(path: str) -> str:
        found = digest_file(path)
        Path(path).write_bytes(b"other")
        return found

    known = FileDigests(tmp_path / "known.json")
    monkeypatch.setattr(digests, "digest_file", disturbed)
    with pytest.raises(hr.ChangedSourceError, match="old"):
        find(known, old)
    known.save()

    assert not (tmp_path / "known.json").exists()
    assert not known.knows(old)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Neither a folder nor a gap is taken for a file."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(hr.SourceError, match=r"folder: cannot be read"):
        find(FileDigests(), str(tmp_path / "folder"))
    with pytest.raises(hr.MissingSourceError, match="gone"):
        FileDigests().find(str(tmp_path / "gone"), Stamp(1, 2, 3, 4))


def _cut(text: str) -> str:
    return text[:-9]


def _other_digest(text: str) -> str:
    document = json.loads(text)
    document["digests"] = dict.fromkeys(document["digests"], "0" * 32)
    return json.dumps(document)


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _other_digest,
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: "",
        lambda text: "[]",
        lambda text: "null",
        lambda text: '{"version": 1, "checksum": "", "digests": {"a": 1}}',
        lambda text: '{"version": 1, "checksum": "", "digests": 5}',
        lambda text: "[" * 100_000,
        lambda text: "\udcff" * 3,
    ],
)
def test_what_is_kept_and_damaged_counts_as_absent(
    damage: Callable[[str], str], old: str, read: list[str], tmp_path: Path
) -> None:
    """A file that is not as it was written is looked past, and replaced."""
    path = tmp_path / "known.json"
    known = FileDigests(path)
    first = find(known, old)
    known.save()
    path.write_bytes(damage(path.read_text()).encode(errors="surrogateescape"))

    again = FileDigests(path)
    assert find(again, old) == first
    assert read == ["old", "old"]
    again.save()
    assert find(FileDigests(path), old) == first
    assert read == ["old", "old"]


def test_several_who_keep_add_up(old: str, read: list[str], tmp_path: Path) -> None:
    """What others kept meanwhile stays; a place where nothing can be written does no harm."""
    other, path = tmp_path / "other", tmp_path / "known.json"
    other.write_bytes(b"more")
    first, second = FileDigests(path), FileDigests(path)
    find(first, old)
    find(second, str(other))
    first.save()
    second.save()
    last = FileDigests(path)
    find(last, old)
    find(last, str(other))
    assert read == ["old", "other"]

    nowhere = FileDigests(other / "no folder" / "known.json")
    find(nowhere, old)
    nowhere.save()
    assert read == ["old", "other", "old"]
