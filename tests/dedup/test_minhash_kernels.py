"""The compiled parts of MinHash against plain ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from near_data import some

from headrace.dedup.text.minhash_kernels import find_minima, find_pairs, find_same, hash_bands, select
from headrace.dedup.text.sort_kernels import sorted_spread

sets = st.lists(st.frozensets(st.integers(0, 12), min_size=1), min_size=1, max_size=25)
BITS = 8  # of the texts' numbers


def laid_out(texts: list[frozenset[int]]) -> tuple[np.ndarray, np.ndarray]:
    ends = np.cumsum([len(text) for text in texts])
    spans = np.stack([np.arange(len(texts)), np.append(0, ends[:-1]), ends], axis=1)
    return spans, np.array([value for text in texts for value in sorted(text)], np.uint64)


def test_minima_are_those_of_plain_arithmetic() -> None:
    """Each minimum is the least of factor * hash + addend over the upper halves of the hashes."""
    rng = np.random.default_rng(3)
    lengths = [1, 2, 3, 4, 5, 8, 31, 100]
    shingles = rng.integers(0, 2**64, sum(lengths), np.uint64)
    factors, addends = rng.integers(0, 2**32, (2, 37), np.uint32)

    found = find_minima(shingles, np.cumsum(lengths), factors, addends)

    for row, part in enumerate(np.split(shingles, np.cumsum(lengths)[:-1])):
        products = [
            [(int(h) >> 32) * int(f) + int(a) for h in part] for f, a in zip(factors, addends, strict=True)
        ]
        assert found[row].tolist() == [min(value % 2**32 for value in each) for each in products]


def test_keys_of_bands_tell_their_rows() -> None:
    """Two bands at one place have one key if all of their rows are equal, and only then."""
    rng = np.random.default_rng(4)
    minima = rng.integers(0, 2, (200, 12), np.uint32)
    keys = hash_bands(minima, 4, 3)

    for band in range(4):
        rows = [tuple(row) for row in minima[:, band * 3 : band * 3 + 3].tolist()]
        assert (
            len(set(zip(rows, keys[:, band].tolist(), strict=True)))
            == len(set(rows))
            == len(set(keys[:, band]))
        )


def test_parts_of_the_keys_are_all_of_them() -> None:
    """Every key is in the part that its first bits tell, its upper bits beside its number."""
    keys = np.random.default_rng(5).integers(0, 2**64, 300, np.uint64)
    parts = [select(keys, part, 2, 9).tolist() for part in range(4)]

    expected = [(int(key) >> 9 << 9) | number for number, key in enumerate(keys)]
    assert (
        sorted(entry for part in parts for entry in part)
        == sorted(expected)
        == sorted(select(keys, 0, 0, 9).tolist())
    )
    assert [{entry >> 62 for entry in part} for part in parts] == [{0}, {1}, {2}, {3}]


@some
@given(sets, st.data())
def test_equal_sets_are_found(texts: list[frozenset[int]], data: st.DataObject) -> None:
    """Each text gets the first one of its set, also where other sets have the same key."""
    keys = [len(text) % 3 << 60 for text in texts]
    entries = sorted_spread(select(np.array(keys, np.uint64), 0, 0, BITS))

    assert find_same(entries, BITS, *laid_out(texts)).tolist() == [texts.index(text) for text in texts]


@some
@given(
    sets, st.data(), st.sampled_from([0.2, 1 / 3, 0.5, 0.75, 0.8, 1.0]), st.integers(2, 12), st.integers(1, 3)
)
def test_pairs_of_a_group_are_verified(
    texts: list[frozenset[int]], data: st.DataObject, threshold: float, most: int, window: int
) -> None:
    """Texts of one key are compared but those that shared a key before; of large groups only some."""
    count = len(texts)
    drawn = [data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)) for _ in range(2)]
    keys = np.array(drawn, np.uint64).T << np.uint64(60)
    spans, shingles = laid_out(texts)
    entries = sorted_spread(select(np.ascontiguousarray(keys[:, 1]), 0, 0, BITS))
    expected, crowded = {}, set()
    for key in range(3):
        group = [number for number in range(count) if drawn[1][number] == key]
        if len(group) > most:
            crowded |= {key}
        for place, loser in enumerate(group):
            for other, winner in enumerate(group[:place]):
                is_left_out = len(group) > most and window <= other < place - window
                score = len(texts[loser] & texts[winner]) / len(texts[loser] | texts[winner])
                if not is_left_out and drawn[0][loser] != drawn[0][winner] and score >= threshold:
                    expected[loser, winner] = score

    stored = (np.ascontiguousarray(keys), spans, shingles)
    losers, winners, scores, members, groups = find_pairs(entries, BITS, stored, 1, threshold, (most, window))

    found = dict(zip(zip(losers.tolist(), winners.tolist(), strict=True), scores.tolist(), strict=True))
    assert len(found) == len(losers)
    assert found == expected
    assert groups == len(crowded)
    assert sorted(members.tolist()) == [number for number in range(count) if drawn[1][number] in crowded]


def test_more_pairs_than_there_was_room_for() -> None:
    """Room for pairs grows as they are found."""
    texts = [frozenset(range(100)) | {100 + number} for number in range(90)]
    entries = sorted_spread(select(np.zeros(90, np.uint64), 0, 0, BITS))
    spans, shingles = laid_out(texts)
    found = find_pairs(entries, BITS, (np.zeros((90, 1), np.uint64), spans, shingles), 0, 0.9, (1000, 64))

    pairs = list(zip(found[0].tolist(), found[1].tolist(), strict=True))
    assert sorted(pairs) == [(loser, winner) for loser in range(90) for winner in range(loser)]
