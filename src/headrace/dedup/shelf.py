"""Signatures of shards kept in a folder, so that samples that were seen once are not hashed again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.dedup.method import Signature, Signer
from headrace.errors import HeadraceError, warn_caller
from headrace.fingerprint import digest
from headrace.tables import read_arrays, write_arrays

_VERSION = 1
_ROWS = "rows"


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of entries, each under the digest of what it follows from.

    An entry is complete or not there, holds plain arrays and no pickle, and is believed only if its
    contents have the checksum that was written with them.

    Attributes:
        folder: Made when the first entry is kept.
    """

    folder: Path

    def has(self, key: str) -> bool:
        """Tell whether there is an entry, sound or not."""
        return os.path.exists(self._path(key))  # unlike a Path's method, it never raises

    def get(self, key: str, count: int) -> list[Signature] | None:
        """Return the signatures of a shard's row groups; None, with a warning, if they cannot be read."""
        try:
            meta, arrays = read_arrays(self._path(key))
            signatures = [_unpacked(number, names, arrays) for number, names in enumerate(meta["parts"])]
            if meta["digest"] != _digest(signatures) or len(signatures) != count:
                raise ValueError("its contents are not what was written")
        except (HeadraceError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            warn_caller(f"{self._path(key)}: the entry cannot be read, so the shard is read again: {error}")
            return None
        return signatures

    def put(self, key: str, signatures: Sequence[Signature]) -> bool:
        """Keep the signatures of a shard's row groups; False, with a warning, if that cannot be done."""
        parts: list[dict[str, Any]] = []
        arrays: dict[str, pa.Array] = {}
        for number, signature in enumerate(signatures):
            own = (
                dict(signature.arrays)
                if signature.rows is None
                else {_ROWS: signature.rows} | signature.arrays
            )
            parts.append({name: [array.dtype.str, list(array.shape)] for name, array in own.items()})
            arrays |= {f"{number}/{name}": _flat(array) for name, array in own.items()}
        try:
            write_arrays(self._path(key), {"parts": parts, "digest": _digest(signatures)}, arrays)
        except OSError as error:
            warn_caller(f"{self._path(key)}: signatures cannot be kept, and are not kept further on: {error}")
            return False
        return True

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.arrow"


def entry_key(identity: str, recipe: object, rows: Sequence[object], signer: Signer) -> str:
    """Digest all that an entry follows from.

    Args:
        identity: Of the shard's contents.
        recipe: What is read, and what is done to it before it is compared.
        rows: For each of its row groups, which rows take part.
        signer: What makes the signatures.
    """
    return digest("signatures", _VERSION, identity, recipe, rows, type(signer).__name__, signer)


def _flat(array: NDArray[Any]) -> pa.Array:
    return pa.array(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _unpacked(number: int, names: dict[str, Any], arrays: dict[str, pa.Array]) -> Signature:
    found: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape) in names.items():
        flat = arrays[f"{number}/{name}"].to_numpy()
        found[name] = flat.view(np.dtype(dtype)).reshape(shape)
    return Signature(found.pop(_ROWS, None), found)


def _digest(signatures: Sequence[Signature]) -> str:
    return digest(*((signature.rows, sorted(signature.arrays.items())) for signature in signatures))
