"""What the names of files say: their order, which are no data, and `key=value` folders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def is_hidden(name: str) -> bool:
    """Whether a name says that it is no data: `_SUCCESS`, `.crc`; but `_k=1` is a partition.

    Example:
        >>> [is_hidden(name) for name in ("_SUCCESS", ".crc", "_k=1", "part-0", "..")]
        [True, True, False, False, False]
    """
    return name not in (".", "..") and (name.startswith(".") or (name.startswith("_") and "=" not in name))


def without_scheme(path: str) -> str:
    """Take off what says that a path is a local one.

    Example:
        >>> without_scheme("file:///data/part-0.parquet")
        '/data/part-0.parquet'
    """
    return path.removeprefix("file://").removeprefix("local://")


def natural_sort(paths: Iterable[str]) -> list[str]:
    """Sort names so that numbers in them count as numbers.

    Example:
        >>> natural_sort(["part-10", "part-2"])
        ['part-2', 'part-10']
    """

    def key(path: str) -> tuple[list[tuple[int, int, str]], str]:
        pieces = re.findall(r"\d+|\D+", path)
        return [(0, int(piece), "") if piece[0].isdecimal() else (1, 0, piece) for piece in pieces], path

    return sorted(paths, key=key)


def partitions_of(folders: Iterable[str]) -> dict[str, str | None]:
    """Read the `key=value` folders that lead to a file; None stands for null.

    Example:
        >>> partitions_of(["data", "year=2013", "place=New%20York"])
        {'year': '2013', 'place': 'New York'}
    """
    pairs = (folder.split("=", 1) for folder in folders if "=" in folder)
    return {unquote(key): None if value == NULL_PARTITION else unquote(value) for key, value in pairs}
