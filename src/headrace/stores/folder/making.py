"""How a table comes to be: made aside and renamed, so that it is whole or not there, and lengthened later."""

from __future__ import annotations

import os
import uuid
from contextlib import nullcontext

import numpy as np

from headrace.stores.folder.arrays import allocate_array, resize_array, write_header
from headrace.stores.folder.asides import write_files
from headrace.stores.folder.header import TableHeader
from headrace.stores.folder.owned import ASIDE, HEADER, LOCK, find_own, new_table_path, remove_own, table_path
from headrace.stores.folder.records import RECORD_FORMAT, RECORDS
from headrace.stores.folder.safety import open_file, open_folder


def make_table(path: str, header: TableHeader) -> None:
    """Make a table without entries aside, and give it its name.

    Args:
        path: Of the store's folder, whose lock is held.
        header: What the table is made for.

    Raises:
        OSError: It cannot be made; nothing of it is left.
    """
    aside = new_table_path(path, uuid.uuid4().hex)
    try:
        os.mkdir(aside, 0o700)
        folder = open_folder(aside)
        try:
            for name in (ASIDE, *(place for place, _ in header.loose.values())):
                os.mkdir(name, 0o700, dir_fd=folder)
            for name, kind in header.arrays.values():
                allocate_array(name, kind, header.rows, folder)
            allocate_array(RECORDS, RECORD_FORMAT, len(header.layout.entries), folder)
            os.close(open_file(LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, folder))
            _write_header(header, folder)
        finally:
            os.close(folder)
        _give_name(aside, table_path(path, header.layout.key))
    finally:
        remove_own(find_own(aside))


def grow_table(path: str, before: TableHeader, header: TableHeader) -> None:
    """Give a table places for more entries; whoever has it open keeps seeing the old ones.

    Args:
        path: Of the table's folder; the lock of the store's folder is held.
        before: What the table is for.
        header: What it is to be for.

    Raises:
        OSError: There is no room on the disk; the table is as it was.
    """
    folder = open_folder(path)
    try:
        try:
            for name, kind in header.arrays.values():
                resize_array(name, kind, header.rows, folder)
        except OSError:
            for name, kind in header.arrays.values():
                resize_array(name, kind, before.rows, folder)
            raise
        for name, kind in header.arrays.values():
            write_header(name, kind, header.rows, folder)
        _write_header(header, folder)
    finally:
        os.close(folder)


def _write_header(header: TableHeader, folder: int) -> None:
    content = np.frombuffer(header.encoded, np.uint8)
    write_files({HEADER: content}, folder, lambda _: nullcontext(True))


def _give_name(aside: str, path: str) -> None:
    """Rename a folder; where the user keeps files in one of that name, they stay."""
    try:
        os.rename(aside, path)
    except OSError:
        if not os.path.isdir(path) or os.path.islink(path):
            raise
        found = find_own(aside)
        for folder in found.subfolders:
            os.makedirs(os.path.join(path, os.path.basename(folder)), mode=0o700, exist_ok=True)
        for file in reversed(found.files):  # the header last
            os.rename(file, os.path.join(path, os.path.basename(file)))
