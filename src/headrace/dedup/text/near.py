"""Matching texts by their signatures: candidates by bands, each verified by its shingles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headrace.dedup.exact.groups import match_keys
from headrace.dedup.growing import GrowingArrays
from headrace.dedup.method import Edges, MatchOptions, Ranks, Signatures, Signed
from headrace.dedup.text.bands import Banding
from headrace.errors import warn_caller

if TYPE_CHECKING:
    from headrace.dedup.text.minhash_kernels import Pairs

Words = NDArray[np.uint64]
Places = NDArray[np.int64]

_CROWD = (1000, 64)  # of how many texts a group is too large to compare all, and with how many of each end
_PART_BITS = 3  # parts of a band, sorted and compared on threads
_LEAST_TEXTS = 1 << 12  # that are worth parts


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts by their ranks, from the preferred one down.

    Attributes:
        ranks: Rising, int64 of shape [texts].
        spans: For each text its row in `bands`, where its shingles begin and where they end; int64 of shape
            [texts, 3].
        bands: A key of each band, uint64 of shape [stored, bands].
        shingles: Hashes, sorted within each text.
    """

    ranks: Ranks
    spans: Places
    bands: Words
    shingles: Words

    @property
    def number_bits(self) -> int:
        """How many bits the number of a text takes."""
        return max(len(self.ranks) - 1, 1).bit_length()

    def take(self, chosen: NDArray[Any]) -> Texts:
        """Return some of them."""
        return replace(self, ranks=self.ranks[chosen], spans=np.ascontiguousarray(self.spans[chosen]))


def match_near(signatures: Signatures, banding: Banding, threshold: float, options: MatchOptions) -> Edges:
    """Link texts whose Jaccard similarity is at the threshold or above, as far as bands find them.

    Texts with one set of shingles are linked to the preferred one of them, and only that one is compared.
    Beside the signatures, some 120 bytes of each text stay in memory.

    Args:
        signatures: `lengths`, `shingles` and `minima` of the texts that have shingles; `keys` of the others,
            whose length is 0.
        banding: How signatures are cut.
        threshold: Least similarity of a link.
        options: Where it runs; each of two steps takes half of the memory.
    """
    options = replace(options, memory_limit=max(options.memory_limit // 2, 1))
    with GrowingArrays(options.memory_limit) as arrays:
        short, texts = _collect(signatures, banding, arrays)
        equal = match_keys([short], len(short.ranks), options)
        same = _find_same(texts)
        is_first = same == np.arange(len(same))
        linked = Edges.of_same(texts.ranks[~is_first], texts.ranks[same[~is_first]])
        return Edges.concat([equal, linked, _link_similar(texts.take(is_first), threshold, options)])


def _collect(signatures: Signatures, banding: Banding, arrays: GrowingArrays) -> tuple[Signed, Texts]:
    """Read all signatures: the keys of the texts without shingles, and the other texts."""
    from headrace.dedup.text.minhash_kernels import hash_bands

    for part in signatures:
        lengths = part.arrays["lengths"]
        arrays.append(
            {
                "ranks": part.ranks[lengths > 0],
                "lengths": lengths[lengths > 0],
                "bands": hash_bands(part.arrays["minima"], banding.bands, banding.rows),
                "shingles": part.arrays["shingles"],
                "short": part.ranks[lengths == 0],
                "keys": part.arrays["keys"],
            }
        )
    found = arrays.finish()
    if not found:
        none, no_keys = np.zeros(0, np.int64), np.zeros((0, 2), np.uint64)
        return Signed(none, {"keys": no_keys}), Texts(none, none.reshape(0, 3), no_keys, no_keys[:, 0])
    ends = np.cumsum(found["lengths"])
    order = np.argsort(found["ranks"])
    spans = np.stack([order, ends[order] - found["lengths"][order], ends[order]], axis=1)
    texts = Texts(found["ranks"][order], spans, found["bands"], found["shingles"])
    return Signed(found["short"], {"keys": found["keys"]}), texts


def _find_same(texts: Texts) -> Places:
    """Find texts with one set of shingles: for each the first of them, which may be itself."""
    from headrace.dedup.text.minhash_kernels import find_same, select
    from headrace.dedup.text.sort_kernels import sorted_spread

    begins = np.sort(texts.spans[:, 1])
    # Hashes are spread evenly, and so are their sums.
    sums = np.add.reduceat(texts.shingles, begins) if len(begins) else texts.shingles
    keys = sums[texts.spans[:, 0]]
    entries = sorted_spread(select(keys, 0, 0, texts.number_bits))
    return find_same(entries, texts.number_bits, texts.spans, texts.shingles)


def _link_similar(texts: Texts, threshold: float, options: MatchOptions) -> Edges:
    """Compare texts band by band."""
    part_bits = _PART_BITS if len(texts.ranks) >= _LEAST_TEXTS else 0
    found: list[Pairs] = []
    for band in range(texts.bands.shape[1]):
        keys = texts.bands[texts.spans[:, 0], band]
        compare = partial(_compare, texts, keys, band, part_bits, threshold)
        parts = list(options.threads.map(compare, range(1 << part_bits)))
        for pairs in parts:
            # Not all of them were compared, so that they must not pass for it where they meet again: each
            # gets a key of its own.
            rows = texts.spans[pairs.crowded, 0]
            texts.bands[rows, band] = rows.astype(np.uint64)
        found += parts
    if not found:
        return Edges.concat([])
    groups = sum(pairs.groups for pairs in found)
    if groups:
        warn_caller(
            f"{groups} groups of candidates have more than {_CROWD[0]:,} texts, each of which was compared "
            f"with the first {_CROWD[1]} and the {_CROWD[1]} before it alone. None is dropped wrongly, but "
            "some near duplicates may stay. More rows in each band (fewer `bands`) make groups smaller"
        )
    losers = np.concatenate([pairs.losers for pairs in found])
    winners = np.concatenate([pairs.winners for pairs in found])
    scores = np.concatenate([pairs.scores for pairs in found])
    _, once = np.unique(losers * len(texts.ranks) + winners, return_index=True)
    return Edges.of_similar(texts.ranks[losers[once]], texts.ranks[winners[once]], scores[once])


def _compare(texts: Texts, keys: Words, band: int, part_bits: int, threshold: float, part: int) -> Pairs:
    """Compare the texts whose key of a band begins with some bits."""
    from headrace.dedup.text.minhash_kernels import find_pairs, select
    from headrace.dedup.text.sort_kernels import sorted_spread

    entries = sorted_spread(select(keys, part, part_bits, texts.number_bits), part_bits)
    stored = (texts.bands, texts.spans, texts.shingles)
    return find_pairs(entries, texts.number_bits, stored, band, threshold, _CROWD)
