"""Publishing: from the staging folder to the output's, so that a kill at any point leaves a way to go on.

1. The manifest is put into the staging folder, and then a list of all that will be moved. From here on the
   output is sure to come: whoever opens the folder next goes on with the list.
2. The manifest of an output that is replaced is removed. What is kept of that output moves into the staging
   folder, under its new names; then the list says so.
3. Everything moves to its place, and what else the old manifest named is removed.
4. The manifest moves to its place. The output is complete.

Each step may be done again. A process of a killed run may put a shard into the staging folder at any time; it
is the same shard, and moves again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from headrace.errors import OutputError, StateError
from headrace.sources.written.manifest import NAME, UNFINISHED, WrittenManifest, read_manifest
from headrace.writing.disk import (
    aside_of,
    make_folders,
    sync_file,
    sync_folder,
    sync_folders_of,
    write_file,
)
from headrace.writing.records import read_sealed, seal
from headrace.writing.staging import has_size

_LIST = "publish.json"


@dataclass(frozen=True, slots=True)
class Moves:
    """What is moved where; the list of a publishing.

    Attributes:
        staging: Name of the staging folder.
        placed: Names that move from the staging folder to the output's.
        kept: New and old name of each file of the old output that moves to another name; in `placed` as well.
        old: All names of the output that is replaced.
        stays: Those of them that are the new output's too, without a move.
        gathered: Whether all that is placed is in the staging folder.
    """

    staging: str
    placed: tuple[str, ...]
    kept: tuple[tuple[str, str], ...] = ()
    old: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    gathered: bool = False


def plan(
    folder: Path, staging: Path, manifest: WrittenManifest, kept: Mapping[str, str], extras: Sequence[str]
) -> None:
    """Check that everything is there, and write the list; nothing outside of the staging folder changes.

    Raises:
        OutputError: Something lacks, or lies in the way.
        OSError: The list cannot be written.
    """
    before = read_manifest(os.fspath(folder))
    old = _names_of(before) if before is not None else []
    for file in manifest.files:
        place = folder / kept[file.name] if file.name in kept else staging / file.name
        if not has_size(place, file.nbytes):
            raise OutputError(
                f"{place}: had {file.nbytes:,} bytes when it was written, and is gone or changed since; run "
                "again"
            )
    new = [*(file.name for file in manifest.files), *extras]
    for name in set(new).difference(old):
        if os.path.lexists(folder / name):
            raise OutputError(
                f"{folder / name}: was put there by somebody else while the job ran, which writes "
                "a file of that name; move it away and run again"
            )
    for name in extras:
        sync_file(staging / name)
    stays = [new_name for new_name, old_name in kept.items() if new_name == old_name]
    moved = _copy_repeated(folder, staging, kept, stays)
    write_file(staging / NAME, manifest.to_bytes())
    sync_folders_of(staging, new)
    placed = tuple(name for name in new if name not in set(stays))
    _save(folder, Moves(staging.name, placed, tuple(moved.items()), tuple(old), tuple(stays)))


def resume(folder: Path) -> bool:
    """Go on with a publishing that has begun, to its end; False if none has.

    Raises:
        StateError: Its list is damaged.
        OutputError: What should be moved is gone.
        OSError: A file cannot be moved.
    """
    moves = _load(folder)
    if moves is None:
        return False
    staging = folder / UNFINISHED / moves.staging
    if os.path.lexists(staging / NAME):  # else the last step is done
        if not moves.gathered:
            _gather(folder, staging, moves)
            moves = replace(moves, gathered=True)
            _save(folder, moves)
        _place(folder, staging, moves)
        os.replace(staging / NAME, folder / NAME)
        sync_folder(folder)
    return True


def forget(folder: Path) -> None:
    """Remove the list, when all is done and the staging folder is gone."""
    (folder / UNFINISHED / _LIST).unlink(missing_ok=True)


def _names_of(manifest: WrittenManifest) -> list[str]:
    """Return the names of all files of an output, apart from the manifest."""
    # A pipeline's long arrays lie beside it.
    arrays = [f"{name}.arrow" for name in manifest.artifacts]
    return [*(file.name for file in manifest.files), *manifest.artifacts, *arrays]


def _copy_repeated(
    folder: Path, staging: Path, kept: Mapping[str, str], stays: Sequence[str]
) -> dict[str, str]:
    """Copy what is kept under several new names for all of them but one; return what is to be moved."""
    taken = set(stays)
    moved: dict[str, str] = {}
    for new, old in kept.items():
        if new == old:
            continue
        make_folders(staging, new)
        if old not in taken:
            taken.add(old)
            moved[new] = old
            continue
        aside = aside_of(staging / new)
        shutil.copyfile(folder / old, aside)
        sync_file(aside)
        os.replace(aside, staging / new)
    return moved


def _gather(folder: Path, staging: Path, moves: Moves) -> None:
    """Remove the old manifest, and move what is kept of the old output into the staging folder."""
    (folder / NAME).unlink(missing_ok=True)
    sync_folder(folder)
    for new, old in moves.kept:
        # As long as this goes on nothing moves to the output's folder: what is there has not been moved yet.
        if os.path.lexists(folder / old):
            make_folders(staging, new)
            os.replace(folder / old, staging / new)
    sync_folders_of(staging, (new for new, _ in moves.kept))
    sync_folders_of(folder, (old for _, old in moves.kept))


def _place(folder: Path, staging: Path, moves: Moves) -> None:
    """Move everything to its place, and remove what the new output lacks of the old one."""
    for name in moves.placed:
        if os.path.lexists(staging / name):
            make_folders(folder, name)
            os.replace(staging / name, folder / name)
        elif not os.path.lexists(folder / name):
            raise OutputError(
                f"{folder / name}: is gone, although publishing had begun, which cannot go on; somebody has "
                "removed it. Remove the folder, or name another one, and write again"
            )
    dropped = set(moves.old).difference(moves.placed, moves.stays)
    for name in dropped:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(folder / name)
    _remove_empty(folder, moves.old)
    sync_folders_of(folder, (*moves.placed, *dropped))


def _remove_empty(folder: Path, names: Iterable[str]) -> None:
    """Remove the folders of files that were moved away or removed, if nothing is left in them."""
    parents = {parent for name in names for parent in PurePosixPath(name).parents if parent.parts}
    for parent in sorted(parents, key=lambda it: len(it.parts), reverse=True):
        with suppress(OSError):
            os.rmdir(folder / parent)


def _save(folder: Path, moves: Moves) -> None:
    write_file(folder / UNFINISHED / _LIST, seal(asdict(moves)))


def _load(folder: Path) -> Moves | None:
    path = folder / UNFINISHED / _LIST
    if not os.path.lexists(path):
        return None
    content = read_sealed(path)
    if content is None:
        raise StateError(
            f"{path}: the list of a publishing that was interrupted is damaged, so it cannot go on; remove "
            f"the folder {folder}, or name another one, and write again"
        )
    return _moves(content)


def _moves(content: Mapping[str, Any]) -> Moves:
    return Moves(
        staging=content["staging"],
        placed=tuple(content["placed"]),
        kept=tuple((new, old) for new, old in content["kept"]),
        old=tuple(content["old"]),
        stays=tuple(content["stays"]),
        gathered=content["gathered"],
    )
