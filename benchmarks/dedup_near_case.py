"""Near duplicates among texts in several ways, and documents with planted pairs to measure them by.

A case takes texts as an Arrow array and returns pairs of rows that it takes for near duplicates. All cases
make the same shingles, runs of `ngram` words, and 128 minima in 16 bands of 8. headrace verifies its pairs by
their exact similarity; the others return candidates as they are, which costs them nothing.

Libraries are imported by the case that needs them, so that no case pays for the imports of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

PERMUTATIONS, BANDS = 128, 16
SEED = 1
VOCABULARY = 50_000
LETTERS = (3, 9)  # of a word
POWER = 1.05  # how fast words become rare

Pairs = NDArray[np.int64]  # rows of two texts each, the smaller first; shape [pairs, 2]


@dataclass(frozen=True, slots=True)
class Documents:
    """How documents are drawn.

    Attributes:
        count: How many, copies among them.
        near: How many are copies of others with some words changed.
        equal: How many are copies with nothing changed.
        words: Fewest and most words of a document.
        changed: Share of the words of a near copy that are drawn anew, rounded down to whole words.
        seed: Of all draws.
    """

    count: int = 200_000
    near: int = 40_000
    equal: int = 0
    words: tuple[int, int] = (60, 120)
    changed: float = 0.04
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Quality:
    """How well pairs that were found agree with those that are there.

    Attributes:
        precision: Share of the pairs found whose exact similarity is at the threshold or above.
        recall: Share of the planted pairs at the threshold or above that were found.
        planted: How many planted pairs that is.
        all_recall: Share of all planted pairs that were found.
    """

    precision: float
    recall: float
    planted: int
    all_recall: float


def draw_documents(documents: Documents) -> tuple[pa.Array, Pairs]:
    """Draw documents and tell which rows are a near copy and its original."""
    rng = np.random.default_rng(documents.seed)
    letters = rng.integers(97, 123, (VOCABULARY, LETTERS[1]), np.uint8)
    lengths = rng.integers(LETTERS[0], LETTERS[1] + 1, VOCABULARY)
    words = pa.array([bytes(row[:length]).decode() for row, length in zip(letters, lengths, strict=True)])
    copies = documents.near + documents.equal
    first = documents.count - copies
    sizes = rng.integers(documents.words[0], documents.words[1] + 1, first)
    ids = draw_words(rng, int(sizes.sum()))
    originals = rng.permutation(first)[:copies]
    starts = np.cumsum(sizes) - sizes
    copied = ids[gather(starts[originals], sizes[originals])]
    near = sizes[originals[: documents.near]]
    places = [rng.permutation(size)[: int(size * documents.changed)] for size in near]
    starts = np.repeat(np.cumsum(near) - near, (near * documents.changed).astype(np.int64))
    changed = starts + np.concatenate([*places, np.zeros(0, np.int64)]).astype(np.int64)
    copied[changed] = draw_words(rng, len(changed))
    offsets = np.append(0, np.cumsum(np.append(sizes, sizes[originals])))
    lists = pa.LargeListArray.from_arrays(offsets, words.take(pa.array(np.append(ids, copied))))
    texts = pc.call_function("binary_join", [lists, pa.scalar(" ")])
    order = rng.permutation(documents.count)
    rows = np.empty(documents.count, np.int64)
    rows[order] = np.arange(documents.count)
    pairs = np.stack([originals, first + np.arange(copies)], axis=1)[: documents.near]
    return texts.take(pa.array(order)), np.sort(rows[pairs], axis=1)


def draw_words(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Draw word numbers, some far more often than others."""
    shares = np.cumsum(1 / np.arange(1, VOCABULARY + 1) ** POWER)
    return np.searchsorted(shares, rng.random(count) * shares[-1])


def gather(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of several runs, one behind the other."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)


def judge(texts: pa.Array, planted: Pairs, found: Pairs, threshold: float, ngram: int) -> Quality:
    """Hold pairs against the exact similarities of all planted pairs and of those found."""

    def similarities(pairs: Pairs) -> NDArray[np.float64]:
        sides = [map(set, shingles(texts.take(pa.array(side)), ngram)) for side in pairs.T]
        exact = [len(one & two) / max(len(one | two), 1) for one, two in zip(*sides, strict=True)]
        return np.array(exact, np.float64)

    codes = np.unique(found[:, 0] * len(texts) + found[:, 1])
    is_found = np.isin(planted[:, 0] * len(texts) + planted[:, 1], codes)
    is_near = similarities(planted) >= threshold
    pairs = np.stack([codes // len(texts), codes % len(texts)], axis=1)
    precision = float((similarities(pairs) >= threshold).mean()) if len(codes) else 1.0
    recall = float(is_found[is_near].mean()) if is_near.any() else 1.0
    return Quality(precision, recall, int(is_near.sum()), float(is_found.mean()) if len(planted) else 1.0)


def shingles(texts: pa.Array, ngram: int) -> Iterator[list[str]]:
    """Yield the word n-grams of each text, whose words are lower-case letters with a blank between."""
    for text in texts.to_pylist():
        words = text.split()
        yield list(map(" ".join, zip(*(words[place:] for place in range(ngram)), strict=False)))


def headrace(texts: pa.Array, threshold: float, ngram: int) -> Pairs:
    """All pairs whose exact similarity is at the threshold or above, among those that share a band."""
    import headrace as hr

    ds = hr.from_arrow(pa.table({"text": texts}))
    method = hr.MinHash(threshold, ngram, bands=BANDS, permutations=PERMUTATIONS)
    edges = hr.find_duplicates(ds, method=method, progress=False).edges
    return np.sort(edges.select("id", "preferred_id").to_numpy(), axis=1)


def headrace_auto(texts: pa.Array, threshold: float, ngram: int) -> Pairs:
    """The same with bands chosen by the threshold."""
    import headrace as hr

    ds = hr.from_arrow(pa.table({"text": texts}))
    edges = hr.find_duplicates(ds, method=hr.MinHash(threshold, ngram), progress=False).edges
    return np.sort(edges.select("id", "preferred_id").to_numpy(), axis=1)


def rensa(texts: pa.Array, threshold: float, ngram: int) -> Pairs:
    """RMinHash of each text; pairs that share a band, in NumPy."""
    from rensa import RMinHash

    def digest(words: list[str]) -> list[int]:
        minhash: Any = RMinHash(num_perm=PERMUTATIONS, seed=SEED)
        minhash.update(words)
        return minhash.digest()

    signatures = np.array([digest(words) for words in shingles(texts, ngram)], np.uint32)
    return pairs_of_bands(signatures, threshold)


def datasketch(texts: pa.Array, threshold: float, ngram: int) -> Pairs:
    """`MinHash.bulk`; pairs as for rensa."""
    from datasketch import MinHash

    encoded = ([each.encode() for each in words] for words in shingles(texts, ngram))
    minhashes = MinHash.generator(encoded, num_perm=PERMUTATIONS, seed=SEED)
    return pairs_of_bands(np.array([each.hashvalues for each in minhashes]).astype(np.uint32), threshold)


def datasketch_lsh(texts: pa.Array, threshold: float, ngram: int) -> Pairs:
    """`MinHash.bulk`, then one query and one insertion for each text."""
    from datasketch import MinHash, MinHashLSH

    encoded = ([each.encode() for each in words] for words in shingles(texts, ngram))
    lsh = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, PERMUTATIONS // BANDS))
    pairs: list[tuple[int, int]] = []
    for row, minhash in enumerate(MinHash.generator(encoded, num_perm=PERMUTATIONS, seed=SEED)):
        pairs += [(other, row) for other in lsh.query(minhash) if minhash.count()]
        lsh.insert(row, minhash)
    return np.array(pairs, np.int64).reshape(-1, 2)


def pairs_of_bands(signatures: NDArray[np.uint32], threshold: float) -> Pairs:
    """Pairs of neighbours within a band whose share of equal minima is at most 0.1 below the threshold."""
    rows = PERMUTATIONS // BANDS
    found: list[Pairs] = []
    for band in range(BANDS):
        words = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows]).view(np.uint64)
        keys = words[:, 0].copy()
        for column in range(1, words.shape[1]):
            keys = (keys ^ words[:, column]) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(32)
        order = np.argsort(keys, kind="stable")
        is_equal = keys[order[1:]] == keys[order[:-1]]
        found.append(np.stack([order[:-1][is_equal], order[1:][is_equal]], axis=1))
    pairs = np.unique(np.concatenate(found), axis=0)
    alike = (signatures[pairs[:, 0]] == signatures[pairs[:, 1]]).mean(axis=1)
    return pairs[alike >= threshold - 0.1]


CASES: dict[str, Callable[[pa.Array, float, int], Pairs]] = {
    "headrace": headrace,
    "headrace_auto": headrace_auto,
    "rensa": rensa,
    "datasketch": datasketch,
    "datasketch_lsh": datasketch_lsh,
}
