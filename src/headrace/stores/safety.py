"""Which folders a cache may lie in: those that nobody else can put files into."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from headrace.errors import CacheError


def check_folder(folder: Path) -> None:
    """Refuse a folder whose files others could have written; one that cannot be seen is fine.

    Whoever may write into a cache decides which numbers a training run sees.

    Raises:
        CacheError: It belongs to another user, everybody may write to it, or it is no folder.

    Example:
        >>> import tempfile
        >>> check_folder(Path(tempfile.mkdtemp()))
    """
    try:
        found = folder.stat()
    except OSError:  # not there, or out of reach; whoever uses it will be told
        return
    if not stat.S_ISDIR(found.st_mode):
        raise CacheError(f"{folder}: a cache must be a folder, but this is a file; name another place")
    if found.st_uid != os.geteuid():
        raise CacheError(
            f"{folder}: a cache must belong to the user who reads it (number {os.geteuid()}), but it belongs "
            f"to user {found.st_uid}, who could have put anything there; name another folder"
        )
    if found.st_mode & stat.S_IWOTH:
        raise CacheError(
            f"{folder}: everybody may write to it (mode {stat.S_IMODE(found.st_mode):o}), so that its files "
            f"cannot be believed; name another folder, or run `chmod o-w` on it after a look at what is there"
        )
