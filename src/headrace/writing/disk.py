"""Files and folders that are on disk when a call returns, and what a disk that takes no more is called."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from headrace.errors import HeadraceError, OutputError

ASIDE = ".aside-"
"""How the names of files begin that are being written; no name of a finished file does."""

_FULL = {
    errno.ENOSPC: "the disk is full; free space",
    errno.EDQUOT: "the quota of the disk is used up; free space",
    errno.EFBIG: "a file reached the size allowed; raise the limit (`ulimit -f`) or write smaller shards",
    errno.EROFS: "the disk is read-only; make it writable",
    errno.EIO: "the disk fails, as it is full or broken; free space or mend it",  # LMDB's word for a full one
}
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)  # file systems that know no flush of folders do it by themselves
_LONGEST_NAME = 180  # of the bytes of a shard's own name; 255 are allowed for it and its prefix


def aside_of(path: Path) -> Path:
    """Return a new hidden path beside another one, unlike any returned before; it keeps the suffix.

    Example:
        >>> aside_of(Path("out/part-00000.parquet")).name[:7]
        '.aside-'
    """
    return path.with_name(f"{ASIDE}{secrets.token_hex(8)}-{path.name[-_LONGEST_NAME:]}")


def write_file(path: Path, content: bytes) -> None:
    """Write a small file that is complete or not there, in a folder that must exist.

    Raises:
        OSError: It cannot be written; what was there before stays.
    """
    aside = aside_of(path)
    try:
        with open(aside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise
    sync_folder(path.parent)


def sync_file(path: Path) -> int:
    """Wait until a file's bytes are on disk, and return how many there are.

    Raises:
        OSError: They cannot be written, or the file is gone.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on disk.

    Raises:
        OSError: They cannot be written, or the folder is gone.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def sync_folders_of(root: Path, names: Iterable[str]) -> None:
    """Wait for the folders that hold files of these names below a root, and for the root."""
    for folder in sorted({root, *((root / name).parent for name in names)}):
        with suppress(FileNotFoundError):  # emptied and removed
            sync_folder(folder)


def make_folders(root: Path, name: str) -> None:
    """Make the folders of a file's name below a root, which is never made again if it is gone.

    Raises:
        FileNotFoundError: The root is gone.
        OSError: A folder cannot be made.
    """
    folder = root
    for part in PurePosixPath(name).parts[:-1]:
        above, folder = folder, folder / part
        try:
            os.mkdir(folder)
        except FileExistsError:
            continue
        sync_folder(above)


def as_output_error(
    error: BaseException, where: str | os.PathLike[str], kept: str = "what is written is kept"
) -> OutputError | None:
    """Word the error of a disk that takes no more; None if it is none of the output.

    Libraries that say it in words of their own (h5py, lmdb, NumPy) are understood, and what was raised while
    one such error was handled. What a source or a user's function met is no error of the output.

    Args:
        error: What a writer raised.
        where: The output's folder.
        kept: What a run that goes on from here need not do again, such as "3 of 8 shards are kept".

    Example:
        >>> print(
        ...     as_output_error(
        ...         OSError(errno.ENOSPC, "No space left on device"), "out", "3 of 8 shards are kept"
        ...     )
        ... )
        out: the disk is full; free space and run again: 3 of 8 shards are kept
        >>> as_output_error(OSError(errno.ENOENT, "No such file or directory"), "out") is None
        True
    """
    if isinstance(error, OutputError):
        return error
    found: BaseException | None = error
    for _ in range(8):  # causes may form a ring
        if found is None or isinstance(found, HeadraceError):
            return None
        for number, reason in _FULL.items():
            if getattr(found, "errno", None) == number or re.search(_words_of(number), str(found)):
                return OutputError(f"{os.fspath(where)}: {reason} and run again: {kept}")
        found = found.__cause__ or found.__context__
    return None


def _words_of(number: int) -> str:
    """What libraries say of an error that the operating system numbers; NumPy does not ask for the number."""
    words = re.escape(os.strerror(number))
    return rf"{words}|\d+ requested and \d+ written" if number == errno.ENOSPC else words


@contextmanager
def output_errors(where: Path) -> Generator[None]:
    """Raise what the operating system says of an output as OutputError."""
    try:
        yield
    except HeadraceError:
        raise
    except OSError as error:
        full = as_output_error(error, where)
        if full is not None:
            raise full from error
        place = error.filename if isinstance(error.filename, str) else os.fspath(where)
        raise OutputError(
            f"{place}: cannot be written: {error.strerror or error}; name a folder that can be made and "
            "written to, or change what lies there, and run again"
        ) from error
