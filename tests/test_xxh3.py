"""The compiled XXH3 against its own library."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from headrace.hashing.xxh3_kernels import hash_rows, hash_runs

SEEDS = (0, 1, 14, 2**32 - 1, 2**63 + 12345, 2**64 - 1)


def expected(texts: list[bytes], seed: int) -> list[list[int]]:
    digests = [xxhash.xxh3_128_intdigest(text, seed) for text in texts]
    return [[digest % 2**64, digest >> 64] for digest in digests]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_length_equals_the_library(seed: int) -> None:
    """All classes of length, blocks of 1,024 bytes and their ends, behind bytes that belong to no run."""
    lengths = [*range(1101), 2047, 2048, 2049, 3072, 3073, 5000, 70_000]
    offsets = np.cumsum([7, *lengths])
    data = np.random.default_rng(seed).integers(0, 256, offsets[-1] + 3, np.uint8)
    texts = [data[begin:end].tobytes() for begin, end in pairwise(offsets)]

    assert hash_runs(data, offsets, seed).tolist() == expected(texts, seed)


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(0, 2**64 - 1))
def test_runs_equal_the_library(texts: list[bytes], seed: int) -> None:
    """Any runs, and any seed."""
    data = np.frombuffer(b"".join(texts), np.uint8)

    assert hash_runs(data, np.cumsum([0, *map(len, texts)]), seed).tolist() == expected(texts, seed)


@pytest.mark.parametrize(
    "rows",
    [
        np.arange(50, dtype=np.uint64) * 0x9E3779B97F4A7C15,
        np.arange(150, dtype=np.float32).reshape(50, 3),
        np.arange(2 * 784, dtype=np.uint16).reshape(2, 28, 28),
        np.arange(60, dtype=np.int16).reshape(10, 6)[::2, 1:4],
        np.zeros((3, 0), np.uint8),
        np.zeros((0, 5), np.uint8),
    ],
)
def test_rows_equal_the_library(rows: np.ndarray) -> None:
    """Rows of any type and shape are hashed by their bytes."""
    for seed in SEEDS:
        assert hash_rows(rows, seed).tolist() == expected([row.tobytes() for row in rows], seed)
