"""Sets of ids kept in a folder, by the fingerprint of what they follow from.

An entry is written aside and renamed, holds plain arrays and no pickle, and is believed only if its
ids have the fingerprint that it promises. A folder that cannot be used costs time and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headrace.errors import OptionError, warn_caller
from headrace.manifest import Manifest
from headrace.planning.idset import Bits, Few, IdSet, Runs
from headrace.replacing import replacing

Cache = bool | str | os.PathLike[str] | None

FOLDER = "_headrace"


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of sets.

    Attributes:
        folder: Made when the first set is kept.
    """

    folder: Path

    @staticmethod
    def of(cache: Cache, manifest: Manifest) -> Shelf | None:
        """Return the folder that a user means, if any; see `folder_of`."""
        folder = folder_of(cache, manifest)
        return None if folder is None else Shelf(folder)

    def get(self, key: str, total: int, compute: Callable[[], IdSet]) -> IdSet:
        """Return the set kept under a key, or compute and keep it."""
        path = self.folder / f"{key}.npz"
        try:
            kept = _load(path, total)
        except Exception as error:
            warn_caller(f"{path}: the entry cannot be read, so it is made again: {error}")
            kept = None
        if kept is not None:
            return kept
        found = compute()
        try:
            self._save(path, found)
        except OSError as error:
            warn_caller(f"{path}: the result cannot be kept: {error}")
        return found

    @staticmethod
    def _save(path: Path, ids: IdSet) -> None:
        kind, *arrays = ids.form.parts
        named: dict[str, Any] = {f"array_{number}": array for number, array in enumerate(arrays)}
        with replacing(path) as file:
            np.savez(file, allow_pickle=False, kind=kind, total=ids.total, digest=ids.fingerprint, **named)


def folder_of(cache: Cache, manifest: Manifest) -> Path | None:
    """Return the folder that a user means: a path, or True for `_headrace` beside the data; None for none.

    Raises:
        OptionError: There are no files that something could lie beside.
    """
    if cache is None or cache is False:
        return None
    if cache is not True:
        if not isinstance(cache, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(f"`cache` must be a folder, True or None, got {cache!r}")
        return Path(cache)
    names = [shard.name for shard in manifest.shards]
    if not names or not all(os.path.isfile(name) for name in names):
        raise OptionError("`cache=True` keeps the result beside the data's files; name a folder instead")
    return Path(os.path.commonpath([os.path.dirname(os.path.abspath(it)) for it in names])) / FOLDER


def _load(path: Path, total: int) -> IdSet | None:
    """Read an entry; None if there is none.

    Raises:
        ValueError: It is damaged; or whatever NumPy raises.
    """
    if not path.exists():
        return None
    with path.open("rb") as file, np.load(file, allow_pickle=False) as entry:
        kind, promised, count = str(entry["kind"]), str(entry["digest"]), int(entry["total"])
        arrays = [entry[f"array_{number}"] for number in range(len(entry.files) - 3)]
    if count != total:
        raise ValueError(f"it holds ids below {count}, not below {total}")
    forms: dict[str, Callable[..., Any]] = {"runs": Runs, "bits": Bits.of, "ids": Few}
    for array in arrays:
        array.flags.writeable = False
    ids = IdSet(total, forms[kind](*arrays))
    if ids.fingerprint != promised:
        raise ValueError("its contents are not what was written")
    return ids
