"""Samples whose 128-bit keys are equal, within a memory limit."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from headrace.dedup.exact.records import Layout, Records
from headrace.dedup.method import Edges, MatchOptions, Ranks, Signed


def match_keys(samples: Iterable[Signed], most: int, options: MatchOptions) -> Edges:
    """Link samples of equal key to the preferred one of them.

    The edges depend on keys and ranks alone. Beyond the memory limit, keys go to a temporary file, 24 bytes
    for each sample. All samples of one key are worked on together, since each is an edge in any case.

    Args:
        samples: With `keys`, uint64 of shape [n, 2]; read once.
        most: How many samples there are at the most.
        options: Where it runs, and the memory limit.

    Raises:
        OSError: The temporary file cannot be written or read.
    """
    with Records(Layout.plan(most, options.memory_limit, options.workers)) as records:
        for signed in samples:
            records.add(signed.arrays["keys"], signed.ranks)
        records.finish()
        found = list(options.threads.map(partial(_link, records), range(records.partitions)))
    losers = np.concatenate([each[0] for each in found])
    return Edges.of_equal(losers, np.concatenate([each[1] for each in found]))


def _link(records: Records, partition: int) -> tuple[Ranks, Ranks]:
    from headrace.dedup.exact.group_kernels import link_records

    return link_records(records.partition(partition))
