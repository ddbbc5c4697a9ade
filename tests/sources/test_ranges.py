"""Runs of bytes: joined within a share of waste, and read as one file."""

from __future__ import annotations

import io
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headrace.sources.ranges import FetchedFile, coalesce, without

RUNS = st.lists(
    st.tuples(st.integers(0, 500), st.integers(0, 60)).map(lambda run: (run[0], run[0] + run[1])), max_size=20
)


def places(ranges: list[tuple[int, int]]) -> set[int]:
    return {place for begin, end in ranges for place in range(begin, end)}


@given(RUNS, st.floats(0, 1))
def test_joined_runs_hold_all_bytes_and_little_more(ranges: list[tuple[int, int]], waste: float) -> None:
    """No byte is left out, and the others are at most a share of those needed."""
    joined = coalesce(ranges, waste)

    assert places(ranges) <= places(joined)
    assert len(places(joined)) <= (1 + waste) * len(places(ranges)) + 1e-9
    assert all(before[1] < after[0] for before, after in pairwise(joined))
    assert all(begin < end for begin, end in joined)


def test_the_smallest_gaps_are_closed_first() -> None:
    """Of several gaps, those are closed that cost least."""
    assert coalesce([(0, 100), (109, 200), (205, 300)], 0.04) == [(0, 100), (109, 300)]
    assert coalesce([(0, 100), (105, 200), (205, 300)], 0.05) == [(0, 300)]


@given(RUNS, st.integers(0, 600))
def test_what_is_at_hand_is_cut_off(ranges: list[tuple[int, int]], begin: int) -> None:
    """What remains is what lies before."""
    assert places(without(ranges, begin)) == {place for place in places(ranges) if place < begin}


@given(RUNS, st.lists(st.tuples(st.integers(0, 620), st.integers(-1, 80)), max_size=20))
def test_fetched_file_reads_as_the_file(ranges: list[tuple[int, int]], reads: list[tuple[int, int]]) -> None:
    """Whatever lies in memory, reads give the file's bytes, and fetch only what is not there."""
    content = bytes(number % 251 for number in range(600))
    joined = coalesce(ranges, 0)
    fetched: list[tuple[int, int]] = []

    def fetch(begin: int, end: int) -> bytes:
        fetched.append((begin, end))
        return content[begin:end]

    file = FetchedFile(len(content), [(begin, content[begin:end]) for begin, end in joined], fetch)
    plain = io.BytesIO(content)
    for place, size in reads:
        assert file.seek(place) == plain.seek(place)
        assert bytes(file.read(size)) == plain.read(size)
        assert file.tell() == min(plain.tell(), max(place, len(content)))
    held = places(joined)
    assert all(
        not set(range(begin, end)) <= held or not _is_one_run(joined, begin, end) for begin, end in fetched
    )


def _is_one_run(joined: list[tuple[int, int]], begin: int, end: int) -> bool:
    return any(first <= begin and end <= last for first, last in joined)
