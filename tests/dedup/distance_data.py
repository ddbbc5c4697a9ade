"""Codes, texts and plain oracles for the tests of methods of likeness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import settings

import headrace as hr
from headrace.dedup.method import Ranks, Signed
from headrace.manifest import Manifest, RowGroup
from headrace.testing.strategies import manifest_of

some = settings(max_examples=40, deadline=None, derandomize=True)

Pairs = set[tuple[int, int]]


class TableSource:
    """A table in row groups of these sizes."""

    def __init__(self, table: pa.Table, rows: Sequence[int]) -> None:
        self.table = table
        self.schema: pa.Schema = table.schema
        self.manifest: Manifest = manifest_of(list(rows))

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        part = self.table.slice(row_group.first, row_group.rows).select(list(columns)).combine_chunks()
        arrays = [
            column.chunk(0) if column.num_chunks else pa.nulls(0, column.type) for column in part.columns
        ]
        return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def cut(columns: dict[str, Any], size: int = 7) -> hr.Dataset:
    """A data set of these columns in row groups of one size."""
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    rows = [min(size, len(table) - first) for first in range(0, len(table), size)]
    return hr.Dataset.of(TableSource(table, rows))


class CodeSignatures:
    """Codes as a method's signatures; samples with a key are told by that instead."""

    def __init__(
        self,
        codes: np.ndarray,
        ranks: Ranks | None = None,
        keys: dict[int, int] | None = None,
        size: int = 100,
    ) -> None:
        self.codes = codes
        self.ranks: Ranks = np.arange(len(codes)) if ranks is None else ranks
        self.keys = keys or {}
        self.size = size

    @property
    def count(self) -> int:
        return len(self.codes) + 5  # some samples are null

    def __iter__(self) -> Iterator[Signed]:
        for begin in range(0, len(self.codes), self.size):
            places = range(begin, min(begin + self.size, len(self.codes)))
            keys = [[self.keys[place], 1] for place in places if place in self.keys]
            yield Signed(
                self.ranks[begin : begin + self.size],
                {
                    "codes": self.codes[begin : begin + self.size],
                    "is_exact": np.array([place in self.keys for place in places]),
                    "keys": np.array(keys, np.uint64).reshape(-1, 2),
                },
            )

    def values(self, ranks: Ranks) -> Iterator[tuple[Ranks, pa.RecordBatch]]:
        raise AssertionError("codes are all that is needed")


def near_codes(count: int, flips: int, seed: int, share: float = 0.3) -> np.ndarray:
    """Random codes, some of which are copies of others with some bits turned over."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, 2**64, count, dtype=np.uint64)
    copies = random.permutation(count)[: int(share * count)]
    turned = codes[random.integers(0, count, len(copies))]
    for _ in range(flips):
        turned ^= np.uint64(1) << random.integers(0, 64, len(copies), dtype=np.uint64)
    codes[copies] = turned
    return codes


def near_pairs(codes: np.ndarray, distance: int) -> Pairs:
    """All pairs of places whose codes differ in so many bits at most, the larger one first."""
    differing = np.bitwise_count(codes[:, None] ^ codes[None, :])
    return set(map(tuple, np.argwhere(np.tril(differing <= distance, -1)).tolist()))


def long_text(words: int, seed: int) -> str:
    """A text of random words."""
    random = np.random.default_rng(seed)
    return " ".join(f"w{number}" for number in random.integers(0, 5000, words))


def edited(text: str, words: int, seed: int) -> str:
    """The text with some words replaced."""
    random = np.random.default_rng(seed)
    parts = text.split()
    for place in random.choice(len(parts), words, replace=False):
        parts[place] = f"x{random.integers(0, 10**9)}"
    return " ".join(parts)
