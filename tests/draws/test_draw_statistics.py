"""Draws are random along every axis: samples, epochs, copies, words, views, roles and seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from draw_checks import chi_square, correlation, kolmogorov, worst

from headrace.draws import Draws, Samples

Array = np.ndarray[Any, Any]
N = 1 << 14
ONE = Samples(np.array([12345]))
LIMIT = 5.0  # standard deviations; of some 200 figures a sequence, one in 10^4 goes beyond by chance


def first(draws: Draws, samples: Samples = ONE, path: str = "op") -> Array:
    return draws.words(path, samples, count=1)[:, 0]


def along_ids() -> Array:
    return first(Draws(3), Samples(np.arange(N)))


def along_spread_ids() -> Array:
    return first(Draws(3), Samples(np.arange(N) << 40))


def along_epochs() -> Array:
    return np.concatenate([first(Draws(3, epoch)) for epoch in range(N)])


def along_repeats() -> Array:
    return first(Draws(3), Samples(np.full(N, 7), np.arange(N)))


def along_words() -> Array:
    return Draws(3).words("op", ONE, count=N)[0]


def along_views() -> Array:
    ids = Samples(np.arange(N // 256))
    return np.stack([first(Draws(3, view=view), ids) for view in range(256)], axis=1).ravel()


def along_paths() -> Array:
    return np.concatenate([first(Draws(3), path=f"Op#{number}") for number in range(N)])


def along_seeds() -> Array:
    return np.concatenate([first(Draws(seed)) for seed in range(N)])


AXES = [
    along_ids,
    along_spread_ids,
    along_epochs,
    along_repeats,
    along_words,
    along_views,
    along_paths,
    along_seeds,
]


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.__name__)
def test_draws_are_random_along_every_axis(axis: Callable[[], Array]) -> None:
    """Bytes, bits, pairs of neighbours and correlations are those of independent uniform words."""
    assert worst(axis()) < LIMIT


def weyl() -> Array:
    return np.arange(N, dtype=np.uint32) * np.uint32(0x9E3779B9)


def linear_congruential() -> Array:
    words = np.empty(N, np.uint32)
    state = 1
    for place in range(N):
        state = (state * 1664525 + 1013904223) % 2**32
        words[place] = state
    return words


def with_a_stuck_bit() -> Array:
    return along_ids() | np.uint32(1 << 13)


def with_twins() -> Array:
    return np.repeat(along_ids()[: N // 2], 2)


@pytest.mark.parametrize(
    "axis", [weyl, linear_congruential, with_a_stuck_bit, with_twins], ids=lambda axis: axis.__name__
)
def test_what_is_not_random_is_seen(axis: Callable[[], Array]) -> None:
    """The same figures tell a counter, a weak generator, a stuck bit and repeated words."""
    assert worst(axis()) > 2 * LIMIT


OTHERS = {
    "epoch": lambda ids: first(Draws(3, 1), ids),
    "far epoch": lambda ids: first(Draws(3, 1 << 24), ids),
    "seed": lambda ids: first(Draws(4), ids),
    "view": lambda ids: first(Draws(3, view=1), ids),
    "role": lambda ids: first(Draws(3), ids, "op2"),
    "purpose": lambda ids: Draws(3).words("op", ids, 1, purpose="elements of x")[:, 0],
    "word": lambda ids: Draws(3).words("op", ids, 2)[:, 1],
    "block": lambda ids: Draws(3).words("op", ids, 5)[:, 4],
    "copy": lambda ids: first(Draws(3), Samples(ids.ids, np.ones(N, np.int64))),
    "neighbour": lambda ids: first(Draws(3), Samples(ids.ids + N)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_two_streams_have_nothing_in_common(other: str) -> None:
    """Draws that differ in one thing alone are uncorrelated, as are all their bits, and hardly ever equal."""
    ids = Samples(np.arange(N))
    here, there = first(Draws(3), ids), OTHERS[other](ids)

    shared = here ^ there
    assert abs(correlation(here, there)) < LIMIT
    assert worst(shared) < LIMIT
    assert np.count_nonzero(shared == 0) < 3


def test_what_is_the_same_is_seen() -> None:
    """The comparison of two streams tells equal ones, and such that share a bit."""
    here = along_ids()

    assert abs(correlation(here, here)) > LIMIT
    assert worst(here ^ (along_repeats() & ~np.uint32(1) | here & np.uint32(1))) > LIMIT


def test_the_first_copy_of_a_sample_draws_as_the_sample() -> None:
    """A selection that repeats nothing draws what one that cannot repeat draws."""
    ids = np.arange(100)

    np.testing.assert_array_equal(
        first(Draws(3), Samples(ids)), first(Draws(3), Samples(ids, np.zeros(100, np.int64)))
    )


def test_kolmogorov_sees_a_shifted_distribution() -> None:
    """Uniform numbers pass, and slightly bent ones do not."""
    shares = along_ids() / 2.0**32

    assert kolmogorov(shares) < 2.3
    assert kolmogorov(shares**1.1) > 2.3
    assert chi_square(np.bincount((shares**1.1 * 64).astype(int), minlength=64)) > LIMIT
