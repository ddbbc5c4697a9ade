"""The keyed permutation: a bijection for every size, uniform, in constant memory."""

from __future__ import annotations

import tracemalloc
from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import some

from headrace.errors import OptionError
from headrace.planning.permutation import KeyedPermutation


def chi_square_is_plausible(counts: np.ndarray, expected: float) -> bool:
    """Whether counts of equally likely cells lie within 5 standard deviations of chi-square, both ways."""
    freedom = counts.size - 1
    chi_square = float(((counts - expected) ** 2).sum() / expected)
    return abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom) + 5


def shuffled(n: int, keys: range) -> np.ndarray:
    """One row for each key: the permutation of 0..n-1."""
    return np.stack([KeyedPermutation(n, key)(np.arange(n)) for key in keys])


def test_bijection_of_every_small_size() -> None:
    """Every size from 1 to 300 is permuted: each value is hit exactly once."""
    for n in range(1, 301):
        for key in (0, 1, (1 << 64) - 1):
            result = KeyedPermutation(n, key)(np.arange(n))
            assert np.array_equal(np.sort(result), np.arange(n)), (n, key)


@pytest.mark.parametrize("n", [4095, 4096, 46_205, 1_000_003])
def test_bijection_of_larger_sizes(n: int) -> None:
    """Sizes on both sides of the change of rounds, and a prime one, are permuted. Case 5 (N = 46,205)."""
    result = KeyedPermutation(n, 11)(np.arange(n))
    hit = np.zeros(n, bool)
    hit[result] = True
    assert hit.all()
    assert not np.array_equal(result, np.arange(n))


@pytest.mark.parametrize("n", [1_230_000_000, 10**15, 1 << 62])
def test_probes_of_huge_sizes_are_in_range_and_distinct(n: int) -> None:
    """10,000 probes of a domain that nobody could store stay in it, without repeats. Case 5."""
    spread = np.linspace(0, n - 1, 5000).astype(np.int64) % n
    probes = np.unique(np.concatenate([np.arange(5000), spread]))
    result = KeyedPermutation(n, 3)(probes)
    assert len(probes) > 9_990
    assert result.min() >= 0
    assert result.max() < n
    assert len(np.unique(result)) == len(probes)


@some
@given(
    st.one_of(st.integers(1, 100), st.integers(1, 1 << 20), st.integers((1 << 53) - 9, (1 << 53) + 9))
    | st.integers(1, 1 << 62),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 1000),
)
def test_kernel_equals_reference(n: int, key: int, seed: int) -> None:
    """The compiled kernel gives the same bits as plain NumPy, where floats are exact and beyond."""
    permutation = KeyedPermutation(n, key)
    generator = np.random.default_rng(seed)
    row_begins = generator.integers(0, permutation.grid[0], 300) * permutation.grid[1]
    beside_rows = np.concatenate([row_begins - 1, row_begins, [0, n - 1]])
    values = np.concatenate(
        [generator.integers(0, n, 700), beside_rows[(beside_rows >= 0) & (beside_rows < n)]]
    )
    assert np.array_equal(permutation(values), permutation.reference(values))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_all_orders_of_few_are_equally_likely(n: int) -> None:
    """Over many keys every one of the n! orders appears equally often, odd ones too."""
    keys = 60 * factorial(n)
    code = shuffled(n, range(keys)) @ (n ** np.arange(n))
    all_codes = np.sort([np.dot(order, n ** np.arange(n)) for order in permutations(range(n))])
    found, counts = np.unique(code, return_counts=True)
    assert np.array_equal(found, all_codes)
    assert chi_square_is_plausible(counts, 60)


@pytest.mark.parametrize("n", [6, 7, 10, 24, 49, 64, 100])
def test_every_value_is_equally_likely_at_every_place(n: int) -> None:
    """Position marginals of small sizes are uniform, and so are pairs of neighbours."""
    keys = 3000
    result = shuffled(n, range(keys))
    counts = np.zeros((n, n))
    np.add.at(counts, (np.broadcast_to(np.arange(n), result.shape), result), 1)
    freedom = (n - 1) ** 2
    chi_square = ((counts - keys / n) ** 2).sum() / (keys / n)
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)
    differences = np.bincount((result[:, 1] - result[:, 0]) % n, minlength=n)[1:]
    assert chi_square_is_plausible(differences, keys / (n - 1))


@pytest.mark.parametrize("n", [3, 9, 25, 49])
def test_odd_permutations_are_as_likely_as_even_ones(n: int) -> None:
    """Shifts of an odd number of rows and columns would be even permutations only."""
    before, after = np.triu_indices(n, 1)
    orders = shuffled(n, range(1000))
    is_odd = (orders[:, before] > orders[:, after]).sum(axis=1) % 2
    assert 420 < is_odd.sum() < 580


def test_marginals_of_a_billion() -> None:
    """At N = 10**9 neighbours land in any hundredth of the domain, and any hundredth spreads evenly."""
    n = 10**9
    result = KeyedPermutation(n, 5)(np.arange(100_000))
    buckets = result // (n // 100)
    assert chi_square_is_plausible(np.bincount(buckets, minlength=100), 1000)
    # Where one place goes does not tell where the next one goes.
    pairs = np.bincount(buckets[:-1] // 10 * 10 + buckets[1:] // 10, minlength=100)
    assert chi_square_is_plausible(pairs, 1000)


@pytest.mark.parametrize("n", [100, 5000, 10**9])
def test_neighbouring_keys_are_unrelated(n: int) -> None:
    """Key k and key k + 1 agree at about one place in n and do not correlate."""
    values = np.arange(min(n, 5000))
    agreements = 0
    for key in range(20):
        first, second = KeyedPermutation(n, key)(values), KeyedPermutation(n, key + 1)(values)
        agreements += int((first == second).sum())
        correlation = np.corrcoef(first, second)[0, 1]
        assert abs(correlation) < 5 / np.sqrt(len(values)), key
    assert agreements < 20 * len(values) / n + 30


def test_memory_does_not_grow_with_n() -> None:
    """Permuting 1,000 values takes as little memory at N = 10**15 as at N = 10**4."""
    peaks = []
    for n in (10**4, 10**15):
        values = np.arange(1000)
        KeyedPermutation(n, 1)(values)
        tracemalloc.start()
        KeyedPermutation(n, 2)(values)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 100_000, peaks


@pytest.mark.parametrize("n", [0, -1, (1 << 62) + 1])
def test_impossible_sizes_are_refused(n: int) -> None:
    """A domain is 1 to 2**62 values. Case 5."""
    with pytest.raises(OptionError, match="n"):
        KeyedPermutation(n, 0)


@pytest.mark.parametrize("value", [-1, 5])
def test_values_outside_are_refused(value: int) -> None:
    """A value outside of the domain is an error, not a wrapped result. Case 5."""
    with pytest.raises(OptionError, match=r"0\.\.4"):
        KeyedPermutation(5, 0)(np.array([value]))


def test_shapes_and_arguments_are_kept() -> None:
    """The result has the argument's shape in fresh memory; the argument stays as it was."""
    values = np.arange(6).reshape(2, 3)
    result = KeyedPermutation(6, 1)(values)
    assert result.shape == (2, 3)
    assert np.array_equal(values, np.arange(6).reshape(2, 3))
    assert KeyedPermutation(6, 1)(np.empty(0, np.int64)).size == 0
