"""What the tests of near duplicates have in common: plain twins of what is compiled."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import settings

from headrace.dedup.report.report import DuplicateReport

some = settings(max_examples=60, deadline=None, derandomize=True)

NOTICES = Path(__file__).parents[2] / "examples" / "notices"

Gram = tuple[str, ...] | str


def shingle_set(text: str, ngram: int, unit: str = "word") -> set[Gram]:
    """Make the shingles of a text in plain Python."""
    if unit == "word":
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[place : place + ngram]) for place in range(len(words) - ngram + 1)}
    characters = re.sub(r"\s+", " ", text.lower()).strip()
    return {characters[place : place + ngram] for place in range(len(characters) - ngram + 1)}


def jaccard(one: set[Gram], other: set[Gram]) -> float:
    """Return the exact similarity of two sets."""
    return len(one & other) / len(one | other)


def similar_pairs(sets: Sequence[set[Gram]], threshold: float) -> dict[tuple[int, int], float]:
    """Compare every two sets, and return those at the threshold or above."""
    places: dict[Gram, list[int]] = {}
    common: dict[tuple[int, int], int] = {}
    for number, grams in enumerate(sets):
        for gram in grams:
            for other in places.setdefault(gram, []):
                common[other, number] = common.get((other, number), 0) + 1
            places[gram].append(number)
    scores = {
        pair: count / (len(sets[pair[0]]) + len(sets[pair[1]]) - count) for pair, count in common.items()
    }
    return {pair: score for pair, score in scores.items() if score >= threshold}


def linked_pairs(report: DuplicateReport, among: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return those of some pairs that a report links, directly or as the same as two that are linked."""
    edges = report.edges
    first = dict(edges.filter(pl.col("is_same")).select("id", "preferred_id").rows())
    linked = {tuple(sorted(pair)) for pair in edges.select("id", "preferred_id").rows()}

    def is_linked(one: int, other: int) -> bool:
        one, other = first.get(one, one), first.get(other, other)
        return one == other or tuple(sorted((one, other))) in linked

    return {pair for pair in among if is_linked(*pair)}


def check_validity(report: DuplicateReport, texts: Sequence[str], threshold: float, ngram: int) -> None:
    """Hold a report against the texts: every dropped one has a kept one at the threshold or above."""
    kept = set(report.selection.ids.tolist())
    pairs = report.pairs
    assert pairs["dropped_id"].is_unique().all()
    assert kept == set(range(len(texts))) - set(pairs["dropped_id"].to_list())
    sets = [shingle_set(text, ngram) for text in texts]
    for dropped, other, score in pairs.rows():
        assert other in kept
        if sets[dropped] or sets[other]:
            assert score == jaccard(sets[dropped], sets[other]) >= threshold
        else:
            assert score == 1.0
            assert texts[dropped] == texts[other]


def draw_texts(count: int, seed: int, vocabulary: int = 300) -> list[str]:
    """Draw texts, most of which are changed copies of one before, some short, some copied as they are."""
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    for _ in range(count):
        if texts and rng.random() < 0.7:
            words = texts[rng.integers(len(texts))].split()
            for _ in range(rng.integers(0, 4)):
                if words:
                    words[rng.integers(len(words))] = f"w{rng.integers(vocabulary)}"
        else:
            words = [f"w{number}" for number in rng.integers(0, vocabulary, rng.integers(0, 60))]
        texts.append(" ".join(words))
    return texts
