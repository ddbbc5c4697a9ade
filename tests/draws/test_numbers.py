"""Numbers from words: exact where whole, true to their distribution, and the same bits everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import array_api_strict
import numpy as np
import pytest
from draw_checks import chi_square, kolmogorov
from numba import njit
from scipy import special, stats

from headrace.draws import Draws, Samples, numbers, tables
from headrace.draws.number_kernels import integer_of, quantile_of, uniform_of
from headrace.errors import OptionError

Array = np.ndarray[Any, Any]
FIVE = 5.0  # standard deviations
SAMPLES = Samples(np.arange(50_000))
DRAWN = Draws(seed=11).words("op", SAMPLES, count=4)
SIDE = np.unique(  # of tables: every power of two and what is around it, both ends, and many in between
    np.concatenate(
        [
            np.clip((1 << np.arange(32))[:, None] + np.arange(-3, 4), 0, 2**31 - 1).ravel(),
            np.arange(0, 2**31, 7919 * 11),
            np.arange(2000),
            2**31 - 1 - np.arange(2000),
        ]
    )
).astype(np.uint32)
GRID = np.concatenate([SIDE, ~SIDE[::-1]])  # rising
SHARES = (GRID + 0.5) / 2.0**32
PAIRS = [
    (0.01, 0.01),
    (0.1, 0.1),
    (0.2, 0.2),
    (0.4, 0.4),
    (1.0, 1.0),
    (2.0, 5.0),
    (0.1, 100.0),
    (100.0, 100.0),
]

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "uniform": numbers.uniform,
    "integers": lambda words: numbers.integers(words, 1000),
    "bernoulli": lambda words: numbers.bernoulli(words, 0.3),
    "permutation": numbers.permutation,
    "normal": numbers.normal,
    "beta": lambda words: numbers.beta(words, 0.2, 0.7),
    "log_uniform": lambda words: numbers.log_uniform(words, 0.75, 4 / 3),
}


def bits(values: Any) -> bytes:
    return np.ascontiguousarray(np.asarray(values)).tobytes()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_array_library_gives_the_same_bits(name: str) -> None:
    """NumPy and a library that has nothing but the array API agree, for words of any shape."""
    for shape in ((len(GRID) // 6, 6), (2, 3, 4), (1,), (0, 3)):
        words = GRID[: int(np.prod(shape))].reshape(shape)
        expected = FUNCTIONS[name](words)
        found = FUNCTIONS[name](array_api_strict.asarray(words))

        assert expected.shape == found.shape == shape
        assert np.asarray(found).dtype == expected.dtype
        assert bits(found) == bits(expected)


@njit
def _uniforms(words: Any, out: Any) -> None:
    for place in range(words.size):
        out[place] = uniform_of(words[place])


@njit
def _integers(words: Any, n: Any, out: Any) -> None:
    for place in range(words.size):
        out[place] = integer_of(words[place], n)


@njit
def _quantiles(words: Any, table: Any, out: Any) -> None:
    for place in range(words.size):
        out[place] = quantile_of(words[place], table)


def test_compiled_twins_give_the_same_bits() -> None:
    """What kernels call agrees with the functions of arrays, at the ends of the tails too."""
    words = np.concatenate([GRID, DRAWN.ravel()])
    floats, whole = np.empty(len(words), np.float32), np.empty(len(words), np.int64)

    _uniforms(words, floats)
    assert bits(floats) == bits(numbers.uniform(words))
    for n in (1, 3, 256, 1 << 32):
        _integers(words, n, whole)
        assert bits(whole) == bits(numbers.integers(words, n))
    _quantiles(words, tables.normal_table(), floats)
    assert bits(floats) == bits(numbers.normal(words))
    for alpha, beta in PAIRS:
        _quantiles(words, tables.beta_table(alpha, beta), floats)
        assert bits(floats) == bits(numbers.beta(words, alpha, beta))


@pytest.mark.parametrize("name", ["uniform", "integers", "normal", "beta", "log_uniform"])
def test_numbers_rise_with_their_word(name: str) -> None:
    """A larger word never gives a smaller number."""
    assert (np.diff(FUNCTIONS[name](GRID).astype(np.float64)) >= 0).all()


def test_uniform_is_the_upper_24_bits() -> None:
    """Multiples of 2^-24, below 1, each of which has 256 words."""
    assert numbers.uniform(GRID).dtype == np.float32
    np.testing.assert_array_equal(numbers.uniform(GRID) * 2.0**24, GRID >> 8)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 1000, 2**31 - 1, 2**31, 2**32 - 1, 2**32])
def test_integers_are_exact(n: int) -> None:
    """Word times n, divided by 2^32, for a number and for an array of numbers."""
    array = GRID[::37]
    words = array.tolist()
    expected = [word * n >> 32 for word in words]

    assert numbers.integers(array, n).tolist() == expected
    assert numbers.integers(array, np.full(len(words), n, np.int64)).tolist() == expected


@pytest.mark.parametrize("p", [0, 1e-12, 2.0**-32, 0.1, 1 / 3, 0.5, 1 - 2.0**-33, 1 - 2.0**-32, 1])
def test_gates_are_exact(p: float) -> None:
    """A word passes if it is below p * 2^32: never for 0, always for 1; for arrays as for numbers."""
    array = np.concatenate([GRID[::37], np.array([0, int(p * 2**32) % 2**32, 2**32 - 1], np.uint32)])
    expected = [word < int(p * 2**32) for word in array.tolist()]

    assert numbers.bernoulli(array, p).tolist() == expected
    assert numbers.bernoulli(array, np.full(len(array), p)).tolist() == expected
    assert not numbers.bernoulli(array, 0).any()
    assert numbers.bernoulli(array, 1).all()


def test_permutations_sort_by_word_and_place() -> None:
    """Equal words keep their order, so the answer does not depend on how a library sorts."""
    words = np.random.default_rng(0).choice([0, 1, 5, 2**32 - 1], (200, 5)).tolist()
    expected = [sorted(range(5), key=lambda place: (row[place], place)) for row in words]

    for xp in (np, array_api_strict):
        assert np.asarray(numbers.permutation(xp.asarray(words, dtype=xp.uint32))).tolist() == expected


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
def test_integers_are_uniform(n: int) -> None:
    """Each comes as often as any other."""
    assert chi_square(np.bincount(numbers.integers(DRAWN.ravel(), n), minlength=n)) < FIVE


@pytest.mark.parametrize("p", [0.001, 0.3, 0.999])
def test_gates_open_as_often_as_asked(p: float) -> None:
    """The share of words that pass is p."""
    opened = numbers.bernoulli(DRAWN.ravel(), p)

    assert abs(opened.mean() - p) < FIVE * np.sqrt(p * (1 - p) / opened.size)


def test_all_orders_are_drawn_alike() -> None:
    """The 24 orders of four things come equally often, and so does every start of longer ones."""
    drawn = numbers.permutation(DRAWN)
    assert chi_square(np.unique(drawn @ [1000, 100, 10, 1], return_counts=True)[1]) < FIVE

    longer = numbers.permutation(DRAWN.reshape(-1, 20))
    assert (np.sort(longer, axis=1) == np.arange(20)).all()
    assert (
        chi_square(
            np.bincount(longer[:, 0] * 20 + longer[:, 1], minlength=400)[~np.eye(20, dtype=bool).ravel()]
        )
        < FIVE
    )


def test_normal_is_as_near_as_promised() -> None:
    """Values to 4e-6, the distribution function to 2e-6, and tails to a part in 10^5 of their probability."""
    drawn, share = numbers.normal(GRID).astype(np.float64), np.minimum(SHARES, 1 - SHARES)

    np.testing.assert_allclose(drawn, stats.norm.ppf(SHARES), atol=4e-6)
    np.testing.assert_allclose(special.ndtr(drawn), SHARES, atol=2e-6)
    np.testing.assert_allclose(special.ndtr(-np.abs(drawn)), share, rtol=1e-5)
    assert drawn.max() == -drawn.min() > 6.3


def test_normal_is_symmetric() -> None:
    """A word and its complement give numbers that differ in sign alone."""
    np.testing.assert_array_equal(numbers.normal(~GRID), -numbers.normal(GRID))


def test_normal_draws_are_normal() -> None:
    """Their distribution, moments and independence."""
    drawn = numbers.normal(DRAWN).astype(np.float64)
    n = drawn.size

    assert kolmogorov(special.ndtr(drawn.ravel())) < 2.3
    assert kolmogorov(special.ndtr(drawn.ravel() * 1.02)) > 2.3
    for power, mean, deviation in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert abs((drawn**power).mean() - mean) < FIVE * deviation / np.sqrt(n)
    products = np.corrcoef(drawn.T) * np.sqrt(len(drawn))
    assert np.abs(products[~np.eye(4, dtype=bool)]).max() < FIVE


@pytest.mark.parametrize(("alpha", "beta"), PAIRS)
def test_beta_is_as_near_as_promised(alpha: float, beta: float) -> None:
    """A word's probability lies between those of the float32 below and above its number, give or take."""
    drawn = numbers.beta(GRID, alpha, beta)
    below, above = (np.nextafter(drawn, np.float32(end)).astype(np.float64) for end in (0, 1))
    above = np.where(drawn < 1, np.maximum(above, 2.0**-60), 1)
    error = 2e-4 if alpha < 0.1 else 2e-5

    assert drawn.dtype == np.float32
    assert (special.betainc(alpha, beta, np.where(drawn > 2e-18, below, 0)) <= SHARES + error).all()
    assert (special.betainc(alpha, beta, above) >= SHARES - error).all()
    assert drawn.min() >= 0
    assert drawn.max() <= 1


@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 0.2), (1.0, 1.0), (2.0, 5.0), (100.0, 100.0)])
def test_beta_draws_have_their_distribution(alpha: float, beta: float) -> None:
    """Kolmogorov's test of the draws, and of such with another parameter, which it must refuse."""
    drawn = numbers.beta(DRAWN.ravel(), alpha, beta).astype(np.float64)
    inner = drawn[(drawn > 1e-6) & (drawn < 1 - 1e-6)]  # where float32 tells enough numbers apart
    low, high = special.betainc(alpha, beta, [1e-6, 1 - 1e-6])

    assert kolmogorov((special.betainc(alpha, beta, inner) - low) / (high - low)) < 2.3
    assert kolmogorov(special.betainc(alpha * 1.1, beta, drawn)) > 2.3


def test_a_small_beta_reaches_both_ends() -> None:
    """Where nearly all of the mass lies at 0 and 1, exact zeros and ones are drawn, and half of each."""
    drawn = numbers.beta(DRAWN.ravel(), 0.01, 0.01)

    assert (drawn == 0).mean() > 0.3
    assert (drawn == 1).mean() > 0.3
    assert abs((drawn < 0.5).mean() - 0.5) < FIVE * 0.5 / np.sqrt(drawn.size)


@pytest.mark.parametrize(("low", "high"), [(0.75, 4 / 3), (0.3, 3.3), (1e-3, 1e3), (2.0, 2.0)])
def test_log_uniform_is_as_near_as_promised(low: float, high: float) -> None:
    """The logarithm is linear in the word, and no number is out of bounds."""
    drawn = numbers.log_uniform(GRID, low, high)

    assert drawn.dtype == np.float64
    assert low == drawn[0] <= drawn[-1] <= high
    error = max(np.log(high / low) ** 2 / 4096**2 / 8 * 1.01, 1e-14)
    np.testing.assert_allclose(np.log(drawn / low), np.log(high / low) * (GRID / 2.0**32), atol=error)


def test_tables_are_the_same_on_every_machine() -> None:
    """Kept digests: tables are made of operations that round the same way everywhere."""
    made = {
        "normal": tables.normal_table(),
        "beta": tables.beta_table(0.2, 0.2),
        "beta 2 5": tables.beta_table(2.0, 5.0),
        "log": tables.log_uniform_table(0.75, 4 / 3),
    }

    assert {name: hashlib.sha256(table.tobytes()).hexdigest()[:16] for name, table in made.items()} == DIGESTS


DIGESTS = {
    "normal": "8ad4cb24578c4ca0",
    "beta": "d72181e4c15a3294",
    "beta 2 5": "d585f7c70e344c54",
    "log": "d0cda748ca47240a",
}


def test_logarithms_and_powers_are_near_those_of_a_library() -> None:
    """Within two units in the last place."""
    powers = np.linspace(-690, 690, 20_001)
    values = np.concatenate([np.linspace(1e-3, 5, 20_001), 2.0 ** np.linspace(-900, 900, 20_001)])

    assert np.max(np.abs(tables.exp(powers) - np.exp(powers)) / np.spacing(np.exp(powers))) <= 2
    assert np.max(np.abs(tables.log(values) - np.log(values)) / np.spacing(np.abs(np.log(values)))) <= 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: numbers.integers(DRAWN, 0), "`n` must be from 1 to 2"),
        (lambda: numbers.integers(DRAWN, 2**32 + 1), "`n` must be from 1 to 2"),
        (lambda: numbers.bernoulli(DRAWN, 1.5), "`p` must be a probability"),
        (lambda: numbers.bernoulli(DRAWN, float("nan")), "`p` must be a probability"),
        (lambda: numbers.beta(DRAWN, 0.001, 1), "`alpha` of a beta distribution must be from 0.01 to 100"),
        (
            lambda: numbers.beta(DRAWN, 1, float("nan")),
            "`beta` of a beta distribution must be from 0.01 to 100",
        ),
        (lambda: numbers.log_uniform(DRAWN, 0, 1), "must be positive and in order"),
        (lambda: numbers.log_uniform(DRAWN, 2, 1), "must be positive and in order"),
    ],
)
def test_parameters_that_cannot_be_are_refused(call: Callable[[], Any], message: str) -> None:
    """An error names the parameter and shows the value."""
    with pytest.raises(OptionError, match=message):
        call()
