"""The staging folder: where the processes of a job put shards, each of them whole or not there.

A shard is written aside, flushed, hashed and renamed to its name, and then a record of it is written beside
it. Whoever does that twice, in two processes at once, or after the job's client was killed, puts the same
bytes under the same name. Nothing in here ever makes the staging folder itself: once a job is over and its
folder is gone, a process that still writes for it fails.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import OutputError
from headrace.hashing.files import digest_file
from headrace.sources.written.manifest import WrittenFile
from headrace.writing.disk import aside_of, make_folders, sync_file, sync_folder, write_file
from headrace.writing.records import read_sealed, seal


@dataclass(frozen=True, slots=True)
class Staging:
    """A staging folder, in any process or machine that shares the file system. Picklable, thread-safe.

    Names are paths below the folder, with "/" between their parts.

    Attributes:
        folder: Where it is; a journal made it.

    Example:
        >>> import tempfile
        >>> staging = Staging(Path(tempfile.mkdtemp()))
        >>> aside = staging.aside("year=2013/part-00000.parquet")
        >>> _ = aside.write_bytes(b"rows")
        >>> file = staging.keep("year=2013/part-00000.parquet", "a key", aside, [4], {})
        >>> file.nbytes, staging.record("year=2013/part-00000.parquet", "a key") == file
        (4, True)
        >>> staging.record("year=2013/part-00000.parquet", "another key") is None
        True
    """

    folder: Path

    def aside(self, name: str) -> Path:
        """Return a new path to write a shard to, in the folder of its name, which is made.

        Raises:
            OutputError: The staging folder is not there, for this process or any more.
            OSError: A folder cannot be made.
        """
        if not self.folder.is_dir():
            raise OutputError(
                f"{self.folder}: is not there; workers must reach the output's folder under the path that "
                "the job was given, and a job that is over or started anew takes its old folder away"
            )
        make_folders(self.folder, name)
        return aside_of(self.folder / name)

    def keep(
        self, name: str, key: str, aside: Path, rows: Sequence[int], null_counts: Mapping[str, int]
    ) -> WrittenFile:
        """Give a shard that was written aside its name, once its bytes are on disk, and record it.

        Args:
            name: The shard's name.
            key: Digest of all that its contents follow from.
            aside: Where it was written, closed.
            rows: Samples of each of its row groups.
            null_counts: Nulls of each column that has some.

        Raises:
            OSError: The disk is full, or the staging folder is gone.
        """
        nbytes = sync_file(aside)
        counts = {column: int(count) for column, count in null_counts.items()}
        hashed = digest_file(os.fspath(aside))
        file = WrittenFile(name, tuple(int(count) for count in rows), nbytes, hashed, key, counts)
        os.replace(aside, self.folder / name)
        # This flushes the folder, and so the shard's name too.
        write_file(self._record_of(name), seal(file.to_json()))
        return file

    def record(self, name: str, key: str) -> WrittenFile | None:
        """Return the record of a shard that is there and has this key; None if there is none.

        Raises:
            OSError: The folder cannot be read.
        """
        content = read_sealed(self._record_of(name))
        if content is None or (content.get("name"), content.get("key")) != (name, key):
            return None
        file = WrittenFile.from_json(content)
        return file if has_size(self.folder / name, file.nbytes) else None

    def keep_part(self, name: str, aside: Path) -> None:
        """Give a file that is no shard its name, once its bytes are on disk; it needs no record.

        Raises:
            OSError: The disk is full, or the staging folder is gone.
        """
        path = self.folder / name
        sync_file(aside)
        os.replace(aside, path)
        sync_folder(path.parent)

    def has_part(self, name: str) -> bool:
        """Tell whether a file that is no shard is there, which says that it is whole."""
        return (self.folder / name).is_file()

    def discard(self, aside: Path) -> None:
        """Remove what was written aside, after an error; may be called whatever became of it."""
        with suppress(OSError):
            aside.unlink()

    def _record_of(self, name: str) -> Path:
        path = self.folder / name
        return path.with_name(f".{path.name}.json")


def has_size(path: Path, nbytes: int) -> bool:
    """Tell whether a plain file of so many bytes is there; links do not count."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == nbytes
