"""Files that are written aside and renamed, below a limit, and what the dead leave of them."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

from headrace.stores.folder.locks import is_same
from headrace.stores.folder.owned import ASIDE
from headrace.stores.folder.safety import Bytes, allocate, open_file, write_all
from headrace.stores.locks import try_lock, unlock

PART = re.compile(r"[0-9a-f]{32}\.part")

Reserve = Callable[[int], AbstractContextManager[bool]]
"""Holds the right to take so many bytes more within its block; yields whether the limit allows them."""


def write_files(contents: Mapping[str, Bytes], folder: int, reserve: Reserve) -> bool:
    """Put files in their places once the disk has all of them.

    Args:
        contents: Place in the folder to content.
        folder: An open folder, in which another named `aside` lies.
        reserve: Says whether the limit allows so many bytes.

    Returns:
        Whether it does.

    Raises:
        OSError: They cannot be written; some may be in their places.
    """
    with ExitStack() as stack:
        with reserve(sum(len(content) for content in contents.values())) as has_room:
            if not has_room:
                return False
            parts = {
                place: stack.enter_context(_allocated(len(content), folder))
                for place, content in contents.items()
            }
        for place, content in contents.items():
            _, descriptor = parts[place]
            write_all(descriptor, content, 0)
            os.fdatasync(descriptor)
        for place, (name, _) in parts.items():
            os.rename(name, place, src_dir_fd=folder, dst_dir_fd=folder)
    return True


def sweep(folder: int) -> None:
    """Remove what processes that are gone have left aside; nothing happens where that is not allowed."""
    for name in _list(folder):
        with suppress(OSError, ValueError):
            descriptor = open_file(f"{ASIDE}/{name}", os.O_RDWR, folder)
            if try_lock(descriptor):
                os.unlink(f"{ASIDE}/{name}", dir_fd=folder)
            unlock(descriptor)


def _list(folder: int) -> list[str]:
    try:
        aside = os.open(ASIDE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        return []
    try:
        return [name for name in os.listdir(aside) if PART.fullmatch(name)]
    finally:
        os.close(aside)


@contextmanager
def _allocated(size: int, folder: int) -> Generator[tuple[str, int]]:
    """Lend a file of that size, locked for as long as it is filled; it is removed unless it was renamed."""
    name, descriptor = _make(folder)
    try:
        allocate(descriptor, size)
        yield name, descriptor
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        unlock(descriptor)


def _make(folder: int) -> tuple[str, int]:
    while True:
        name = f"{ASIDE}/{uuid.uuid4().hex}.part"
        descriptor = open_file(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, folder)
        if try_lock(descriptor) and is_same(descriptor, name, folder):
            return name, descriptor
        unlock(descriptor)  # somebody took it for what the dead leave, and removed it
