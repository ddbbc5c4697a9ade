"""The digest of a file's bytes, at the speed of reading them."""

from __future__ import annotations

import io
import os

import numpy as np

_BLOCK_BYTES = 4 << 20
_BLOCK, _WHOLE = 1, 2  # seeds, so that a short file is never taken for the keys of a long one's blocks


def digest_file(path: str) -> str:
    """Digest all bytes of a file by XXH3 with 128 bits; releases the GIL.

    The file is read and never mapped, so that one which is cut off meanwhile ends no process.

    Args:
        path: Which file.

    Returns:
        32 hexadecimal characters: the key of the keys of its blocks.

    Raises:
        OSError: It cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     empty = digest_file(file.name)
        ...     _ = file.write(b"bytes"), file.flush()
        ...     len(empty), digest_file(file.name) == empty
        (32, False)
    """
    from headrace.hashing.xxh3_kernels import hash_runs

    keys: list[np.ndarray[tuple[int, ...], np.dtype[np.uint64]]] = []
    buffer, total = np.empty(_BLOCK_BYTES, np.uint8), 0
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while count := _fill(file, buffer):
            keys.append(hash_runs(buffer, np.array([0, count]), _BLOCK))
            total += count
    words = np.concatenate([*keys, np.array([[total, len(keys)]], np.uint64)]).reshape(-1).view(np.uint8)
    return hash_runs(words, np.array([0, len(words)]), _WHOLE).tobytes().hex()


def _fill(file: io.FileIO, buffer: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
    """Read until a block is full or the file ends: reads may stop short, and blocks must not."""
    count = 0
    while count < len(buffer) and (got := file.readinto(buffer[count:].data) or 0):
        count += got
    return count
