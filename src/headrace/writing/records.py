"""Small JSON files that tell whether they are whole: records of shards, a job's identity, its publishing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast


def seal(content: Mapping[str, Any]) -> bytes:
    """Return plain values as JSON beside their digest.

    Example:
        >>> unseal(seal({"rows": [1, 2]}))
        {'rows': [1, 2]}
        >>> unseal(seal({"rows": [1, 2]}).replace(b"[1,", b"[7,")) is None
        True
    """
    return (json.dumps({"content": content, "blake2b": _digest(content)}) + "\n").encode()


def unseal(document: bytes) -> dict[str, Any] | None:
    """Return the values; None if the file is torn, damaged or something else."""
    try:
        sealed = json.loads(document)
        content = sealed["content"]
        whole = isinstance(content, dict) and sealed["blake2b"] == _digest(cast("dict[str, Any]", content))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return cast("dict[str, Any]", content) if whole else None


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Read such a file; None if it is not there, or not whole.

    Raises:
        OSError: It cannot be read.
    """
    try:
        return unseal(path.read_bytes())
    except FileNotFoundError:
        return None


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
