"""Whose folder a cache may be read from."""

from __future__ import annotations

import os
import stat

from headrace.errors import CacheError


def check_owner(status: os.stat_result, path: str) -> None:
    """Refuse what others may have written.

    Raises:
        CacheError: It belongs to another user, or everyone may write to it.
    """
    if not stat.S_ISDIR(status.st_mode):
        raise CacheError(f"{path}: a cache must be a folder; name another place, or remove what lies there")
    if status.st_uid != os.geteuid():
        raise CacheError(
            f"{path}: belongs to the user with id {status.st_uid}, and you are {os.geteuid()}; a cache is "
            "read only where nobody else could have put rows into it, so name a folder of your own"
        )
    if status.st_mode & stat.S_IWOTH:
        raise CacheError(
            f"{path}: everyone may write to this folder, so nobody knows whose rows it holds; run "
            f"`chmod o-w {path}` if nobody did, or name another folder"
        )
