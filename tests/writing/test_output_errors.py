"""Errors of a disk that takes no more, in whatever words a library says it."""

from __future__ import annotations

import errno
import functools
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace.writing.disk import as_output_error

NO_ROOM = os.strerror(errno.ENOSPC)


def raised_while(error: Exception, cause: Exception) -> Exception:
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, NO_ROOM), "the disk is full; free space"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "the quota of the disk is used up; free space"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "the disk is read-only; make it writable"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "the disk fails, as it is full or broken"),
        (OSError(f"[Errno 28] Can't write (errno = 28, error message = '{NO_ROOM}')"), "the disk is full"),
        (RuntimeError(f"mdb_txn_commit: {NO_ROOM}"), "the disk is full"),
        (raised_while(RuntimeError("cannot close"), OSError(errno.ENOSPC, NO_ROOM)), "the disk is full"),
    ],
)
def test_full_disk_in_any_words(error: Exception, told: str) -> None:
    """The message says which folder, what is the matter, what to do, and what is kept."""
    text = str(as_output_error(error, Path("out"), "3 of 8 shards are kept"))

    assert text.startswith(f"out: {told}")
    assert text.endswith(" and run again: 3 of 8 shards are kept")


@pytest.fixture
def small_files() -> Iterator[Callable[[], None]]:
    """Let files have 100 kB at most, until the test ends or this is called."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("format", ["parquet", "arrow", "hdf5", "lmdb", "tfrecord"])
def test_shard_that_finds_no_room(format: str, tmp_path: Path, small_files: Callable[[], None]) -> None:
    """In every format a job stops and says so, leaves nothing half-written, and goes on with room."""
    ds = hr.from_arrays({"x": np.random.default_rng(0).random(40_000)})
    write = functools.partial(ds.write, format=format, shards=2, progress=False, executor=hr.Serial())
    with pytest.raises(hr.OutputError, match=r"out: .* and run again: .* \(0 of 2 shards") as caught:
        write(tmp_path / "out")
    left = [path.name for path in tmp_path.rglob("*.*") if path.stat().st_size > 1000]
    small_files()

    assert "disk" in str(caught.value) or "file reached the size allowed" in str(caught.value)
    assert left == []
    assert write(tmp_path / "out").written == 2
    assert hr.open(tmp_path / "out").to_polars().equals(ds.to_polars())


def test_full_disk_in_the_words_of_numpy() -> None:
    """NumPy says how many values it could write, and no more."""
    with open("/dev/full", "wb") as full, pytest.raises(OSError, match="requested") as caught:
        np.zeros(10_000).tofile(full)

    assert "the disk is full" in str(as_output_error(caught.value, "out"))


def test_errors_that_are_not_of_the_output() -> None:
    """What a source met, or a user's function, on a full disk of its own is its error; so is any other."""
    full = OSError(errno.ENOSPC, NO_ROOM)
    for error in (hr.SourceError(f"cannot be kept: {NO_ROOM}"), hr.PrepareError("failed"), KeyError("x")):
        assert as_output_error(error, "out") is None
    assert as_output_error(raised_while(hr.SourceError("cannot be kept"), full), "out") is None
    own = hr.OutputError("out: is not there")
    assert as_output_error(own, "out") is own
    ring = OSError("one")
    ring.__context__ = OSError("two")
    ring.__context__.__context__ = ring
    assert as_output_error(ring, "out") is None
