"""Links within an HDF5 file, followed one by one so that none leads out of it unasked."""

from __future__ import annotations

import os
from typing import Any

from headrace.errors import CorruptSourceError, SchemaError, SourceError

# What the type of a link answers.
_SOFT, _EXTERNAL = 1, 64
_MOST_SOFT_LINKS = 16
_SHOWN = 8


def follow(start: Any, path: str, shard: str, allow_external: bool, links: int = 0) -> Any:
    """Open what a path names.

    Args:
        start: The group that a relative path begins at.
        path: Names with slashes between them.
        shard: What errors call the file.
        allow_external: Whether links may lead out of the file.
        links: How many soft links led here.

    Raises:
        SourceError: A link leads out of the file, and that is not allowed.
        SchemaError: Nothing has that name.
    """
    found = start.file if path.startswith("/") else start
    for name in filter(None, path.split("/")):
        if name == ".":
            continue
        where = f"{shard}: `{path}`"
        kind = _link_type(found, name)
        if kind is None:
            inside = f"; `{found.name}` holds {list(found)[:_SHOWN]}" if hasattr(found, "keys") else ""
            raise SchemaError(f"{where} is not in the file{inside}")
        if kind == _SOFT:
            if links >= _MOST_SOFT_LINKS:
                raise CorruptSourceError(f"{where} leads through more than {_MOST_SOFT_LINKS} soft links")
            target = os.fsdecode(found.id.links.get_val(name.encode()))
            found = follow(found, target, shard, allow_external, links + 1)
            continue
        if kind >= _EXTERNAL and not allow_external:
            target = [os.fsdecode(part) for part in found.id.links.get_val(name.encode())]
            raise SourceError(
                f"{where} is a link out of the file, to {target}; pass `Hdf5Options(allow_external=True)` if "
                "you trust whoever wrote it"
            )
        found = found[name]
    return found


def has_link(group: Any, name: str) -> bool:
    """Whether a group has a member of that name, without opening it."""
    return _link_type(group, name) is not None


def _link_type(group: Any, name: str) -> int | None:
    if not hasattr(group, "keys"):
        return None
    encoded = name.encode(errors="surrogateescape")
    return group.id.links.get_info(encoded).type if group.id.links.exists(encoded) else None
