"""Errors of a disk that takes no more, in whatever words a library says it."""

from __future__ import annotations

import errno
import os
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
    ring = OSError("one")
    ring.__context__ = OSError("two")
    ring.__context__.__context__ = ring
    assert as_output_error(ring, "out") is None
