"""Data sets with duplicates in them, and a method of likeness that is plain to see through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import settings

import headrace as hr
from headrace.dedup.method import Edges, MatchOptions, Signature, Signatures

some = settings(max_examples=60, deadline=None, derandomize=True)

RANGE = 10.0


def write_shards(folder: Path, columns: Mapping[str, Any], shards: int = 1, row_group: int = 7) -> hr.Dataset:
    """Write columns to Parquet files of about equal length, and open them."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    bounds = np.linspace(0, len(table), shards + 1).astype(int).tolist()
    for number, (begin, end) in enumerate(pairwise(bounds)):
        part = table.slice(begin, end - begin)
        pq.write_table(part, folder / f"{number:03}.parquet", row_group_size=row_group)
    return hr.open(folder)


@dataclass(frozen=True)
class ValueSigner:
    """The one column as floats."""

    def __call__(self, batch: pa.RecordBatch) -> Signature:
        return Signature(None, {"values": batch.column(0).to_numpy(zero_copy_only=False).astype(np.float64)})


@dataclass(frozen=True)
class NearNumbers:
    """Numbers are alike the more, the less they differ: by 0 is 1.0, by 10 is 0.0. Compares all with all."""

    name: ClassVar[str] = "near"

    threshold: float = 0.8

    def columns(self, schema: pa.Schema) -> tuple[str, ...]:
        return (schema.names[0],)

    def signer(self, schema: pa.Schema) -> ValueSigner:
        return ValueSigner()

    def match(self, signatures: Signatures, options: MatchOptions) -> Edges:
        parts = list(signatures)
        if not parts:
            return Edges.concat([])
        ranks = np.concatenate([part.ranks for part in parts])
        values = np.concatenate([part.arrays["values"] for part in parts])
        return link_near(ranks, values, self.threshold)

    def describe(self) -> str:
        return "compares all with all"


def link_near(ranks: np.ndarray, values: np.ndarray, threshold: float) -> Edges:
    """Link equal values to the first of them, and the first ones to each other where they are alike."""
    order = np.argsort(ranks)
    ranks, values = ranks[order], values[order]
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    owner = first[inverse]
    is_first = owner == np.arange(len(values))
    same = Edges.of_same(ranks[~is_first], ranks[owner[~is_first]])
    heads = np.flatnonzero(is_first)
    losers, winners = np.tril_indices(len(heads), -1)
    scores = 1 - np.abs(values[heads][losers] - values[heads][winners]) / RANGE
    alike = scores >= threshold
    near = Edges.of_similar(ranks[heads][losers[alike]], ranks[heads][winners[alike]], scores[alike])
    return Edges.concat([near, same])
