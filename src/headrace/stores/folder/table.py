"""The entries of one layout in a folder: verified when they are read, and published when they are whole."""

from __future__ import annotations

import errno
import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headrace.errors import CacheError, OptionError, warn_caller
from headrace.stores.base import Arrays, Columns, Layout, Residency, Verify
from headrace.stores.copies import copy_to_memory
from headrace.stores.counts import Counts
from headrace.stores.folder.arrays import check_files
from headrace.stores.folder.files import Loose, TableFiles, verify_loose, verify_rows
from headrace.stores.folder.header import Formats, formats_of
from headrace.stores.folder.loose import encoded_bytes
from headrace.stores.folder.owned import LEASES, table_path
from headrace.stores.folder.records import Record
from headrace.stores.folder.siblings import Siblings
from headrace.stores.folder.space import Space
from headrace.stores.leases import Leases

OnUnavailable = Literal["warn", "raise"]

_UNKNOWN, _SOUND, _BAD = 0, 1, 2
_NO_ROOM = "free some space, lower `limit=`, or name another folder"
_ADVICE = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: _NO_ROOM,
    errno.EMFILE: "pack columns side by side, as in `pack(x=[...])`, or raise `ulimit -n`",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How a table is read and written.

    Attributes:
        verify: When an entry is held against its checksum.
        residency: Where `whole()` has its arrays.
        on_unavailable: What happens if the folder cannot be read or written.
    """

    verify: Verify = "first"
    residency: Residency = "map"
    on_unavailable: OnUnavailable = "warn"


class FolderTable:
    """The entries of one layout in a folder. Thread-safe; others, on any machine, may use the same folder.

    Attributes:
        counts: What was asked of the table so far.
    """

    def __init__(self, path: str, limit: int | None, layout: Layout, settings: Settings) -> None:
        """Take note; the files are opened when they are needed, and made with the first entry that is put."""
        self.counts = Counts()
        self._layout = layout
        self._settings = settings
        self._space = Space(path, limit, self.counts)
        self._path = table_path(path, layout.key)
        self._lock = threading.RLock()
        self._files: TableFiles | None = None
        self._users = 0
        self._closed = False
        self._is_lost = False  # a file was cut off
        self._warned = False
        self._puts = True  # whether entries can still be put
        self._states = np.zeros(len(layout.entries), np.uint8)
        self._damaged: set[int] = set()
        self._copies: Arrays | None = None
        self._siblings = Siblings(path, layout.key)
        self._leases = Leases(Path(path, LEASES))

    def begin(self) -> None:
        """Make the folder, if need be, and bring what it holds below the limit.

        Raises:
            CacheError: The folder must not be used, or cannot be and `on_unavailable="raise"`.
        """
        try:
            self._space.prepare()
        except CacheError:
            raise
        except OSError as error:
            self._fail(error, "written")
        with suppress(OSError):  # a folder that can only be read stays as it is
            self._space.adapt(self._layout)

    def get(self, number: int) -> Columns | None:
        """Return an entry's rows, arrays as read-only views; None if it is not there or not sound.

        One that another table of the folder has is taken over from there.
        """
        try:
            with self._open() as files:
                found = None if files is None or self._is_cut(files) else self._get(files, number)
        except OSError as error:
            return self._fail(error, "read")
        return found if found is not None or self._closed else self._take_over(number)

    def put(self, number: int, columns: Columns) -> None:
        """Keep an entry, if limit and disk allow.

        Raises:
            OptionError: The limit is below the largest entry.
            CacheError: The folder cannot be written, and `on_unavailable="raise"`.
        """
        if not self._puts:
            return
        try:
            with self._open() as files:
                is_there = files is not None
                if files is not None:
                    self._put(files, number, columns)
            if not is_there and not self._closed and self._create(number, columns):
                with self._open() as files:
                    if files is not None:
                        self._put(files, number, columns)
        except OptionError:
            raise
        except OSError as error:
            self._puts = self._settings.on_unavailable == "raise"
            self._fail(error, "written")
        except ValueError as error:
            self._warn(f"{self._path}: a row group cannot be kept, as {error}; it is prepared each time")

    def claim(self, number: int) -> AbstractContextManager[bool]:
        """Ask to be the one who computes an entry; waits for whoever computes it already."""
        if not self._can_keep(number):
            return nullcontext(True)  # nobody's work could be used
        return self._leases.claim(self._lease_name(number), lambda: self._is_present(number))

    def is_claimed(self, number: int) -> bool:
        """Tell whether somebody else computes an entry at the moment."""
        return self._can_keep(number) and self._leases.is_claimed(self._lease_name(number))

    def whole(self) -> Arrays | None:
        """Return all rows of the layout as one read-only array for each name, if every entry is there.

        Mapped, or with `residency="memory"` copied once. None if an entry is missing, or a name has no fixed
        width.
        """
        try:
            with self._open() as files:
                return None if files is None else self._whole(files)
        except OSError as error:
            return self._fail(error, "read")

    def check(self, number: int) -> bool:
        """Tell whether an entry of `whole()` is sound, after looking at its checksum as `verify` asks."""
        if self._settings.verify == "never" or self._is_known_sound(number):
            return True
        try:
            with self._open() as files:
                return files is not None and not self._is_cut(files) and self._check(files, number)
        except OSError as error:
            return bool(self._fail(error, "read"))

    def close(self) -> None:
        """Let go of files and locks; may be called again. Arrays that were handed out stay valid."""
        with self._lock:
            self._closed = True
            self._copies = None
            self._release()
        self._leases.close()

    @contextmanager
    def _open(self) -> Generator[TableFiles | None]:
        """Lend the files, which stay open for as long; None if there is no table, or it is closed."""
        with self._lock:
            if self._files is None and not self._closed:
                self._files = self._attach()
            files = None if self._closed or self._is_lost else self._files
            self._users += files is not None
        try:
            yield files
        finally:
            if files is not None:
                with self._lock:
                    self._users -= 1
                    self._release()

    def _release(self) -> None:
        """Close the files, if they are of no more use and nobody is using them; with the lock held."""
        if self._files is not None and not self._users and (self._closed or self._is_lost):
            self._files.close()
            self._files = None
            self._is_lost = False
            self._states[:] = _UNKNOWN

    def _attach(self) -> TableFiles | None:
        """Open the table if there is one; one that is damaged is removed."""
        try:
            return TableFiles.open(self._path, self._layout)
        except ValueError:
            lost = self._space.remove_damaged(self._layout.key, self._layout)
        if lost is None:
            return TableFiles.open(self._path, self._layout)
        self.counts.add(corrupt=max(len(lost), 1))
        self._damaged.update(lost)
        return None

    def _is_cut(self, files: TableFiles) -> bool:
        """Tell whether a file was cut off; the table is then opened anew, which finds it damaged."""
        if not files.is_cut():
            return False
        with self._lock:
            self._is_lost = self._files is files
        return True

    def _lease_name(self, number: int) -> str:
        return f"{self._layout.key}-{number}"

    def _can_keep(self, number: int) -> bool:
        with self._lock:
            return self._puts and (self._files is None or number < self._files.header.kept)

    def _is_present(self, number: int) -> bool:
        try:
            with self._open() as files:
                if files is None or number >= files.header.kept or self._states[number] == _BAD:
                    return False
                return files.records.read(number) is not None
        except (OSError, ValueError):
            return False

    def _take_over(self, number: int) -> Columns | None:
        """Return an entry that another table has, and keep it here too."""
        found = self._siblings.get(self._layout.entries[number].key)
        if found is not None:
            self.put(number, found)
        return found

    def _get(self, files: TableFiles, number: int) -> Columns | None:
        if number >= files.header.kept or self._states[number] == _BAD:
            return None
        try:
            record = files.records.read(number)
            if record is None:
                return None
            loose = files.read_loose(number, record)
            rows = files.rows_of(number, self._copies)
            self._verify(number, record, rows, loose)
            self._damaged.discard(number)  # another process has put it again
            return files.columns_of(number, rows, loose)
        except ValueError:
            self._drop(files, number)
            return None

    def _check(self, files: TableFiles, number: int) -> bool:
        if number >= files.header.kept or self._states[number] == _BAD:
            return False
        try:
            record = files.records.read(number)
            if record is None:
                return False
            self._verify(number, record, files.rows_of(number, self._copies), {})
        except ValueError:
            self._drop(files, number)
            return False
        return True

    def _verify(self, number: int, record: Record, rows: Arrays, loose: Loose) -> None:
        """Hold an entry against its checksums, as was asked for.

        Files of the entry's own are read each time, so they are looked at each time.

        Raises:
            ValueError: It is damaged.
        """
        if self._settings.verify == "never":
            return
        verify_loose(record, loose)
        if not self._is_known_sound(number):
            verify_rows(record, rows)
            self._states[number] = _SOUND

    def _is_known_sound(self, number: int) -> bool:
        return self._settings.verify == "first" and self._states[number] == _SOUND

    def _drop(self, files: TableFiles, number: int) -> None:
        """Take back an entry that is damaged, so that it is a miss for everybody."""
        with self._lock:
            if number in self._damaged or self._states[number] == _BAD:
                return  # another thread was quicker
            self.counts.add(corrupt=1)
            self._damaged.add(number)
            self._copies = None
            self._states[number] = _UNKNOWN
            try:
                files.records.erase(number)
            except (OSError, ValueError):
                self._states[number] = _BAD

    def _whole(self, files: TableFiles) -> Arrays | None:
        header = files.header
        if header.loose or header.kept < len(self._layout.entries) or self._is_cut(files):
            return None
        if not files.records.find_present().all() or (self._states == _BAD).any():
            return None
        if self._settings.residency == "map":
            return files.arrays
        with self._lock:
            if self._copies is None:
                self._copies = {name: _copy(array) for name, array in files.arrays.items()}
            return self._copies

    def _put(self, files: TableFiles, number: int, columns: Columns) -> None:
        if number >= files.header.kept:
            return
        self._check_columns(number, columns, files.header.formats)
        if number not in self._damaged and self._is_present(number):
            return
        nbytes = files.write(number, columns, lambda size: self._space.reserve(size, self._layout.key))
        if nbytes is None:
            return
        with self._lock:
            self._states[number] = _SOUND
            self.counts.add(nbytes=nbytes, rebuilt=int(number in self._damaged))
            self._damaged.discard(number)

    def _check_columns(self, number: int, columns: Columns, formats: Formats) -> None:
        rows = self._layout.entries[number].rows
        if formats_of(columns) != formats or any(len(column) != rows for column in columns.values()):
            raise ValueError("its columns are not those of the others")

    def _create(self, number: int, columns: Columns) -> bool:
        formats = formats_of(columns)
        self._check_columns(number, columns, formats)
        arrays = [column for column in columns.values() if isinstance(column, np.ndarray)]
        check_files(len(arrays))
        loose = [column for column in columns.values() if not isinstance(column, np.ndarray)]
        nbytes = sum(map(encoded_bytes, loose))
        # An entry of few rows must not pass its files' headers off as those of each row.
        of_rows = nbytes - sum(encoded_bytes(column[:0]) for column in loose)
        row_bytes = max(0, -(-of_rows // self._layout.entries[number].rows))
        nbytes += sum(column.nbytes for column in arrays)
        is_made = self._space.create(self._layout, formats, row_bytes, nbytes)
        if not is_made:
            self._warn(
                f"{self._space.path}: nothing is kept, as the limit of {self._space.limit:,} bytes is taken "
                "by caches that are in use; raise it, or close other loaders"
            )
        return is_made

    def _fail(self, error: OSError, done: str) -> None:
        """Count that the folder cannot be used; warn once, or raise if that was asked for."""
        self.counts.add(outages=1)
        reason = error.strerror or str(error)
        advice = _ADVICE.get(error.errno or 0, "see whose it is and who may write, or name another folder")
        text = f"{self._path}: the cache cannot be {done}: {reason}; {advice}"
        if isinstance(error, CacheError):
            text = str(error)
        if self._settings.on_unavailable == "raise":
            raise CacheError(text) from error
        self._warn(f"{text}. Row groups are prepared each time until then")

    def _warn(self, text: str) -> None:
        with self._lock:
            is_first, self._warned = not self._warned, True
        if is_first:
            warn_caller(text)


def _copy(array: NDArray[Any]) -> NDArray[Any]:
    copied = copy_to_memory(array)
    copied.flags.writeable = False
    return copied
