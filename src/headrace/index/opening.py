"""Opening an index: the one that is stored, if it fits, or a new one."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from typing import Any, TypeVar

from headrace.errors import CorruptSourceError, OptionError, StateError
from headrace.execution.executors import Executor, Threads
from headrace.execution.progress import follow
from headrace.execution.reporting import reporter_for
from headrace.fingerprint import digest
from headrace.index.base import StoredIndex, Subject
from headrace.index.storing import Parts, building, open_parts, publish
from headrace.planning.selection import Selection

Kind = TypeVar("Kind", bound=StoredIndex)

_FOLDER = "_indexes"


def open_index(
    kind: type[Kind],
    subject: Subject,
    selection: Selection,
    path: str | os.PathLike[str] | None,
    executor: Executor | None,
    progress: bool,
) -> Kind:
    """Open the stored index of a subject, or build it.

    Raises:
        StateError: The folder that the user named holds an index of something else.
        CorruptSourceError: The index in that folder is damaged.
        OptionError: That folder holds something that is no index, or cannot be written.
    """
    kind.check(subject)
    folder = default_folder(subject, kind.kind) if path is None else _check_path(path)
    library = kind.library(folder is not None)

    def pieces() -> Iterator[Any]:
        scanned = (executor or Threads()).map(kind.scan(subject), subject.manifest)
        title = f"index over {', '.join(subject.columns)}"
        return follow(scanned, len(subject.manifest), reporter_for(progress), title)

    if folder is None:
        return kind(subject, selection, Parts(kind.assemble(subject, pieces(), None)))
    header = subject.header(kind.kind, library)
    try:
        parts = open_parts(folder, header)
    except (StateError, CorruptSourceError, OptionError) as error:
        if path is not None:
            raise
        warnings.warn(f"an index is built anew: {error}", stacklevel=3)
        parts = None
    if parts is None:
        with building(folder) as aside:
            publish(aside, folder, kind.assemble(subject, pieces(), aside), header)
        parts = open_parts(folder, header)
    if parts is None:
        raise StateError(f"{folder}: another process deleted the index while it was opened; try again")
    return kind(subject, selection, parts)


def default_folder(subject: Subject, kind: str) -> str | None:
    """Name the folder of an index beside the first shard; None for data that lies in no local files.

    Its name follows from columns, kind, recipe and the shards' names, not from their contents: an
    index of data that has changed is replaced and does not stay behind.
    """
    names = [shard.name for shard in subject.manifest.shards]
    if not names or not all(os.path.isfile(name) for name in names):
        return None
    parent = os.path.dirname(os.path.abspath(names[0]))
    shards = [os.path.relpath(os.path.abspath(name), parent) for name in names]
    columns = re.sub(r"\W+", "-", "-".join(subject.columns))[:40]
    key = digest("index folder", kind, subject.columns, subject.recipe.fingerprint, shards)
    return os.path.join(parent, _FOLDER, f"{columns}.{kind}.{key[:16]}")


def _check_path(path: Any) -> str:
    if (
        not isinstance(path, (str, os.PathLike))
        or not isinstance(os.fspath(path), str)
        or not os.fspath(path)
    ):
        raise OptionError(f"`path` must name a folder, got {path!r}")
    folder = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise OptionError(f"`path` must name a folder, but {folder} is a file")
    return folder
