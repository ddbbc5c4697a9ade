"""Sets of ids answer like Python's own sets, in whatever form they are held."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import some

from headrace.errors import OptionError
from headrace.planning.idset import Bits, Few, IdSet, Runs
from headrace.planning.selection import Selection


@st.composite
def id_sets(draw: st.DrawFn, total: int) -> set[int]:
    """Sets that lie in runs, densely, or far apart, and mixtures of them."""
    members: set[int] = set()
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, total))
        end = draw(st.integers(begin, min(begin + draw(st.sampled_from([1, 3, 70, 5000])), total)))
        step = draw(st.sampled_from([1, 1, 2, 3, 64, 700]))
        members |= set(range(begin, end, step))
    return members | draw(st.sets(st.integers(0, max(total - 1, 0)), max_size=5 if total else 0))


def held(members: set[int], total: int) -> IdSet:
    return IdSet.of_ids(np.array(sorted(members), np.int64), total)


@some
@given(st.data(), st.sampled_from([0, 1, 63, 64, 65, 4096, 9000, 20_000]))
def test_questions_are_answered_like_a_set_does(data: st.DataObject, total: int) -> None:
    """Count, ids, select, rank and membership, for every id and beyond both ends."""
    members = data.draw(id_sets(total))
    ids = held(members, total)
    order = sorted(members)

    assert ids.count == len(order)
    assert ids.ids.tolist() == order
    places = np.array(
        data.draw(st.permutations(range(len(order)))) if len(order) < 50 else range(0, len(order), 7)
    )
    assert ids.at(places.astype(np.int64)).tolist() == [order[place] for place in places]
    asked = np.arange(total + 1)
    mask = np.zeros(total + 1, np.bool_)
    mask[order] = True
    assert ids.rank(asked).tolist() == (np.cumsum(mask) - mask).tolist()
    assert ids.contains(np.arange(-2, total + 2)).tolist() == [False, False, *mask.tolist(), False]


@some
@given(st.data(), st.sampled_from([0, 1, 64, 700, 9000, 20_000]))
def test_sets_combine_like_sets(data: st.DataObject, total: int) -> None:
    """Both, either, and one without the other; the result is held as if it had been made of its ids."""
    one, two = data.draw(id_sets(total)), data.draw(id_sets(total))
    for got, expected in (
        (held(one, total) & held(two, total), one & two),
        (held(one, total) | held(two, total), one | two),
        (held(one, total) - held(two, total), one - two),
    ):
        assert got.ids.tolist() == sorted(expected)
        same = held(expected, total)
        assert type(got.form) is type(same.form)
        assert got.fingerprint == same.fingerprint


@some
@given(st.data(), st.sampled_from([1, 64, 65, 9000]))
def test_however_made_the_set_is_one(data: st.DataObject, total: int) -> None:
    """By ids, by a mask or by runs: form and fingerprint are the same."""
    members = data.draw(id_sets(total))
    mask = np.zeros(total, np.bool_)
    mask[sorted(members)] = True
    singles = np.array(sorted(members), np.int64)

    made = [held(members, total), IdSet.of_mask(mask), IdSet.of_runs(singles, singles + 1, total)]

    assert len({ids.fingerprint for ids in made}) == 1
    assert len({type(ids.form) for ids in made}) == 1
    assert pickle.loads(pickle.dumps(made[0])).ids.tolist() == singles.tolist()


def test_the_smallest_form_is_chosen() -> None:
    """Runs for runs, bits for what is dense, ids for what is rare; a bit a row at the most."""
    total = 1_000_000
    rng = np.random.default_rng(0)
    half = IdSet.of_mask(rng.random(total) < 0.5)
    rare = IdSet.of_ids(np.arange(0, total, 1000), total)
    runs = IdSet.of_runs(np.arange(0, total, 10_000), np.arange(5_000, total, 10_000), total)

    assert isinstance(half.form, Bits)
    assert half.nbytes < total / 8 * 1.02
    assert isinstance(rare.form, Few)
    assert rare.nbytes == 8 * 1000
    assert isinstance(runs.form, Runs)
    assert runs.nbytes < 16 * 101


def test_sets_of_other_totals_do_not_combine() -> None:
    """Ids of another data set mean other samples."""
    with pytest.raises(OptionError, match="one total"):
        IdSet.of_ids(np.array([1]), 5) & IdSet.of_ids(np.array([1]), 6)


@some
@given(st.lists(st.integers(0, 19), max_size=30), st.lists(st.integers(0, 19), max_size=30))
def test_selections_combine(one: list[int], two: list[int]) -> None:
    """`and` and `minus` keep the order and repeats of the left; `or` is a set in source order."""
    left, right = Selection.of(one, 20), Selection.of(two, 20)

    assert (left & right).ids.tolist() == [id for id in one if id in two]
    assert (left - right).ids.tolist() == [id for id in one if id not in two]
    assert (left | right).ids.tolist() == sorted({*one, *two})
    assert left.rank(np.arange(21)).tolist() == [
        len([id for id in set(one) if id < end]) for end in range(21)
    ]


def test_all_is_all_however_it_was_made() -> None:
    """Every id, given one by one, is the same selection as none given."""
    assert Selection.of(range(7), 7).fingerprint == Selection(7).fingerprint
    assert (Selection.of([1, 2], 4) | Selection.of([0, 3], 4)).fingerprint == Selection(4).fingerprint


@pytest.mark.parametrize("spread", ["rising", "falling", "second half", "first third"])
def test_ids_are_found_among_bits_however_they_are_spread(spread: str) -> None:
    """Sets whose ids crowd at one end are looked up as surely as even ones."""
    total = 150_000
    share = {
        "rising": np.linspace(0, 1, total) ** 5,
        "falling": np.linspace(1, 0, total) ** 5,
        "second half": np.where(np.arange(total) < total // 2, 0, 0.4),
        "first third": np.where(np.arange(total) > total // 3, 0, 0.7),
    }[spread]
    expected = np.flatnonzero(np.random.default_rng(0).random(total) < share)
    ids = IdSet.of_ids(expected, total)

    assert np.array_equal(ids.at(np.arange(len(expected))), expected)
    assert np.array_equal(ids.rank(expected), np.arange(len(expected)))
