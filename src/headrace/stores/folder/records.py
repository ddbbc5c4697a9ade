"""Records: 64 bytes for each entry, whose writing is what publishes it.

A record holds eight words of 64 bits: the entry's key (two), the checksum of its rows in arrays (two), that
of its files of its own (two), the bytes of these, and a checksum of the record. Zeros are no record.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.stores.checksums import Checksum, as_bytes
from headrace.stores.folder.arrays import ArrayFormat, map_array
from headrace.stores.folder.safety import Bytes, open_file, read_file, write_all

Words = NDArray[np.uint64]

RECORDS = "entries.npy"
RECORD_FORMAT = ArrayFormat(np.dtype("<u8"), (8,))
_BYTES = RECORD_FORMAT.row_bytes
_SEED = 1
_MOST_BYTES = 1 << 32
_TRIES, _PAUSE_SECONDS = 3, 0.001


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of an entry that is there.

    Attributes:
        arrays: Checksum of its rows in arrays, one part for each.
        files: Checksum of its own files, one part for each.
        nbytes: Bytes of its own files.
    """

    arrays: Checksum
    files: Checksum
    nbytes: int


def key_words(keys: Sequence[str]) -> Words:
    """Return the words that stand for entries' keys, of shape [entries, 2]."""
    digests = b"".join(hashlib.blake2b(key.encode(), digest_size=16).digest() for key in keys)
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


def find_sound(words: Words) -> NDArray[np.bool_]:
    """Tell which records are whole, for words of shape [entries, 8]."""
    return words[:, 7] == _checksums(words)


def list_sound(folder: int) -> list[int]:
    """List the entries of a table in an open folder by their records alone; none if these cannot be read."""
    try:
        content = read_file(RECORDS, folder, _MOST_BYTES)
    except (OSError, ValueError):
        return []
    words = content[len(RECORD_FORMAT.header(0)) :]
    words = words[: len(words) // _BYTES * _BYTES].view("<u8").reshape(-1, 8)
    return np.flatnonzero(find_sound(words)).tolist()


class Records:
    """The records of a table, in a file that all of its readers and writers share. Thread-safe."""

    def __init__(self, keys: Sequence[str], folder: int) -> None:
        """Open the file in a folder.

        Raises:
            ValueError: It is none that holds the records of so many entries.
            OSError: It cannot be opened.
        """
        self._folder = folder
        self._keys = key_words(keys)
        self._begin = len(RECORD_FORMAT.header(len(keys)))
        map_array(RECORDS, RECORD_FORMAT, len(keys), folder)
        self._descriptor = open_file(RECORDS, os.O_RDONLY, folder)

    def read(self, number: int) -> Record | None:
        """Return the record of an entry; None for zeros.

        Raises:
            ValueError: There is something else.
        """
        for _ in range(_TRIES):
            words = self._words(number, 1)
            if not words.any():
                return None
            if self._find_present(words, self._keys[number : number + 1])[0]:
                _, _, *values, _ = (int(word) for word in words[0])
                return Record((values[0], values[1]), (values[2], values[3]), values[4])
            time.sleep(_PAUSE_SECONDS)  # somebody may be writing it
        raise ValueError("the record is damaged")

    def find_present(self) -> NDArray[np.bool_]:
        """Tell which entries have a sound record, bool of shape [entries]."""
        return self._find_present(self._words(0, len(self._keys)), self._keys)

    def write(self, number: int, record: Record) -> None:
        """Publish an entry.

        Raises:
            OSError: The file cannot be written.
        """
        words = np.zeros((1, 8), "<u8")
        words[0, :7] = [*self._keys[number], *record.arrays, *record.files, record.nbytes]
        words[:, 7] = _checksums(words)
        self._write(number, as_bytes(words))

    def erase(self, number: int) -> None:
        """Take an entry back.

        Raises:
            OSError: The file cannot be written.
        """
        self._write(number, np.zeros(_BYTES, np.uint8))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _write(self, number: int, content: Bytes) -> None:
        descriptor = open_file(RECORDS, os.O_WRONLY, self._folder)
        try:
            write_all(descriptor, content, self._begin + number * _BYTES)
        finally:
            os.close(descriptor)

    def _words(self, number: int, count: int) -> Words:
        """Read records, of shape [count, 8]; what the file lacks counts as zeros."""
        content = os.pread(self._descriptor, count * _BYTES, self._begin + number * _BYTES)
        return np.frombuffer(content.ljust(count * _BYTES, b"\0"), "<u8").reshape(-1, 8)

    @staticmethod
    def _find_present(words: Words, keys: Words) -> NDArray[np.bool_]:
        return find_sound(words) & (words[:, :2] == keys).all(axis=1)


def _checksums(words: Words) -> Words:
    from headrace.hashing.xxh3_kernels import hash_rows

    return hash_rows(np.ascontiguousarray(words[:, :7]), _SEED)[:, 0]
