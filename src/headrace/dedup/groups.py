"""Samples whose 128-bit keys are equal, within a memory limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from headrace.dedup.method import Edges, MatchOptions, Ranks, Signatures
from headrace.dedup.records import Layout, Packed, Records


def match_keys(signatures: Signatures, options: MatchOptions) -> Edges:
    """Link samples of equal key (`keys`, uint64 of shape [n, 2]) to the preferred one of them.

    The edges depend on keys and ranks alone. Beyond the memory limit, keys go to a temporary file, 24 bytes
    for each sample. A key of very many samples is worked on as a whole, since each is an edge in any case.

    Raises:
        OSError: The temporary file cannot be written or read.
    """
    from headrace.dedup.group_kernels import link_records

    with open_records(signatures.count, options) as records:
        for signed in signatures:
            records.add(signed.arrays["keys"], signed.ranks)
        records.finish()
        found = list(options.threads.map(partial(_call, link_records, records), range(records.partitions)))
    if not found:
        return Edges.concat([])
    losers = np.concatenate([each[0] for each in found])
    return Edges.of_equal(losers, np.concatenate([each[1] for each in found]))


def group_keys(records: Records, options: MatchOptions) -> Iterator[tuple[Ranks, Ranks]]:
    """Yield samples of equal key, partition by partition; those whose key is theirs alone are left out.

    Which groups come together, and in which order, depends on the partitions.

    Yields:
        Ranks, group by group and rising within each; and where each group begins, then their number.

    Raises:
        OSError: The temporary file cannot be read.
    """
    from headrace.dedup.group_kernels import group_records

    records.finish()
    yield from options.threads.map(partial(_call, group_records, records), range(records.partitions))


def open_records(count: int, options: MatchOptions) -> Records:
    """Make room for the keys of at most so many samples."""
    workers = getattr(options.threads, "count", 1)
    return Records(Layout.plan(count, options.memory_limit, workers))


def _call(
    function: Callable[[Packed], tuple[Ranks, Ranks]], records: Records, partition: int
) -> tuple[Ranks, Ranks]:
    return function(records.partition(partition))
