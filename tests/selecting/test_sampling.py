"""Samples by chance: exact sizes, the same on any machine, and with repeats where asked for."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.planning.selection import Selection
from headrace.selecting.sampling import sampled, scaled_hash, sliced

some = settings(max_examples=100, deadline=None, derandomize=True)


@st.composite
def chosen(draw: st.DrawFn) -> Selection:
    """All samples, some of them, or a list with repeats."""
    total = draw(st.integers(1, 300))
    kind = draw(st.sampled_from(["all", "set", "list"]))
    if kind == "all":
        return Selection(total)
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    ids = generator.choice(total, draw(st.integers(0, total)), replace=kind == "list")
    return Selection.of(np.sort(ids) if kind == "set" else ids, total)


@some
@given(chosen(), st.integers(0, 300), st.integers(0, 2**70))
def test_a_sample_is_exact_and_in_order(selection: Selection, n: int, seed: int) -> None:
    """Without replacement each sample comes at most as often as before, and the order stays."""
    n = min(n, selection.count)
    ids = selection.ids.tolist()
    found = sampled(selection, n, None, seed, replace=False).ids.tolist()

    assert len(found) == n
    assert not Counter(found) - Counter(ids)
    rest = iter(ids)
    assert all(one in rest for one in found), "a subsequence"


@some
@given(chosen(), st.integers(0, 99))
def test_larger_samples_hold_smaller_ones(selection: Selection, seed: int) -> None:
    """With one seed, a sample of more samples has all of a sample of fewer."""
    sizes = [0, selection.count // 3, selection.count // 2, selection.count]
    found = [Counter(sampled(selection, n, None, seed, replace=False).ids.tolist()) for n in sizes]

    assert all(not small - large for small, large in pairwise(found))
    assert found[-1] == Counter(selection.ids.tolist())


@some
@given(chosen(), st.integers(0, 600), st.integers(0, 99))
def test_a_bag_repeats_samples_in_order(selection: Selection, n: int, seed: int) -> None:
    """With replacement the ids are those at rising places of the selection."""
    if not selection.count:
        n = 0
    found = sampled(selection, n, None, seed, replace=True)
    ids = selection.ids

    assert found.count == n
    assert set(found.ids.tolist()) <= set(ids.tolist())
    if selection.is_sorted:
        assert found.is_sorted
    assert found.fingerprint == sampled(selection, n, None, seed, replace=True).fingerprint


def test_samples_are_fixed_for_all_time() -> None:
    """What a seed chooses is written down here; a change would change every run that used it."""
    sample, bag = (sampled(Selection(1000), 5, None, 7, replace=replace) for replace in (False, True))

    assert sample.ids.tolist() == [97, 577, 761, 764, 774]
    assert bag.ids.tolist() == [160, 175, 253, 587, 645]


@pytest.mark.parametrize("replace", [False, True])
def test_every_sample_is_as_likely_as_another(replace: bool) -> None:
    """Over many seeds, the counts of 50 samples spread as chance would have it (chi-squared)."""
    draws = [sampled(Selection(50), 10, None, seed, replace=replace).ids for seed in range(2000)]
    counts = np.bincount(np.concatenate(draws), minlength=50)
    expected = 2000 * 10 / 50
    spread = float(((counts - expected) ** 2 / expected).sum())

    assert 20 < spread < 95  # 49 degrees of freedom; without replacement it is a fifth less


def test_a_bag_leaves_out_a_third() -> None:
    """A bag of as many draws as samples leaves out (1 - 1/n)**n of them, and `minus` gives those."""
    ds = hr.from_arrays({"x": np.arange(20_000)})
    bag = ds.sample(fraction=1.0, replace=True, seed=3)
    rest = ds.minus(bag)

    assert len(bag) == 20_000
    assert abs(len(rest) / 20_000 - np.exp(-1)) < 0.01
    assert sorted({*bag.sample_ids.tolist(), *rest.sample_ids.tolist()}) == list(range(20_000))
    assert not set(bag.sample_ids.tolist()) & set(rest.sample_ids.tolist())


def test_hashes_reach_all_of_a_large_range() -> None:
    """The product of 64 by 64 bits is exact, for any count."""
    draws = np.arange(500)
    for count in (1, 3, 2**31, 2**32 + 1, 10**12, 2**62):
        got = scaled_hash(draws, np.uint64(5), count).tolist()
        whole = scaled_hash(draws, np.uint64(5), 2**62).tolist()
        assert all(0 <= value < count for value in got)
        assert all(abs(value - (top * count >> 62)) <= 1 for value, top in zip(got, whole, strict=True))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "give either `n` or `fraction`"),
        ({"n": 2, "fraction": 0.5}, "give either `n` or `fraction`"),
        ({"n": 11}, "pass `replace=True`"),
        ({"fraction": 1.2}, "pass `replace=True`"),
        ({"n": -1}, "of at least 0, got -1"),
        ({"n": 1.5}, "whole number"),
        ({"fraction": -0.1}, "`fraction` must be"),
        ({"fraction": float("nan")}, "`fraction` must be"),
        ({"fraction": "0.1"}, "`fraction` must be"),
        ({"n": 1, "seed": 0.5}, "`seed` must be"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, Any], text: str) -> None:
    """Each wrong argument is named with its value."""
    with pytest.raises(hr.OptionError, match=text):
        hr.from_arrays({"x": list(range(10))}).sample(**arguments)


def test_nothing_can_be_drawn_from_nothing() -> None:
    """An empty data set gives an empty sample, and an error where samples are asked for."""
    empty = hr.from_arrays({"x": [1, 2]}).slice(0, 0)

    assert len(empty.sample(fraction=0.5)) == 0
    assert len(empty.sample(0, replace=True)) == 0
    with pytest.raises(hr.OptionError, match="from none"):
        empty.sample(1, replace=True)


def test_a_fraction_is_rounded() -> None:
    """A fraction f of N samples is round(f N) samples."""
    ds = hr.from_arrays({"x": list(range(7))})
    for fraction in (0, 0.1, 0.25, 0.5, 0.99, 1):
        assert len(ds.sample(fraction=fraction)) == round(fraction * 7)
    assert len(ds.sample(fraction=2.5, replace=True)) == round(2.5 * 7)


@some
@given(chosen(), st.integers(-310, 310), st.none() | st.integers(0, 310))
def test_a_slice_is_that_of_polars(selection: Selection, offset: int, length: int | None) -> None:
    """Offsets from either end, beyond the ends, with and without a length."""
    expected = pl.Series(selection.ids).slice(offset, length).to_list()

    assert sliced(selection, offset, length).ids.tolist() == expected


def test_sets_of_samples() -> None:
    """Sets go by id; order and repeats of the first stay where samples are left out."""
    ds = hr.from_arrays({"x": list(range(10))})
    listed, low = ds.rows([7, 2, 2, 5]), ds.slice(0, 4)

    assert listed.minus(low).sample_ids.tolist() == [7, 5]
    assert listed.intersect(low).sample_ids.tolist() == [2, 2]
    assert listed.union(low).sample_ids.tolist() == [0, 1, 2, 3, 5, 7]
    assert len(ds.minus(ds)) == 0
    assert ds.with_columns(y=pl.col("x") * 2).intersect(low).head(2)["y"].to_list() == [0, 2]
    with pytest.raises(hr.OptionError, match="over the same data"):
        ds.minus(hr.from_arrays({"x": list(range(11))}))
