"""The generator: published answers, every array library, and the compiled twin."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import pytest
from draw_checks import known_answers, slow_philox
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.draws import Draws, Samples, philox4x32
from headrace.draws.draws import draw_words, reference_words
from headrace.errors import OptionError

LIBRARIES = pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numpy", "strict"])
SOME = settings(
    deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
WORD = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(("rounds", "counter", "key", "words"), known_answers())
def test_the_oracle_gives_the_published_answers(
    rounds: int, counter: list[int], key: list[int], words: list[int]
) -> None:
    """All six vectors that Random123 publishes, those with 7 rounds too."""
    assert slow_philox(counter, key, rounds) == words


@LIBRARIES
def test_philox_gives_the_published_answers(xp: Any) -> None:
    """The three vectors with 10 rounds, in one call."""
    vectors = [vector for vector in known_answers() if vector[0] == 10]
    counters, keys = (xp.asarray([row[part] for row in vectors], dtype=xp.uint32) for part in (1, 2))

    words = philox4x32(counters, keys)

    assert words.dtype == xp.uint32
    assert np.asarray(words).tolist() == [row[3] for row in vectors]


@SOME
@given(st.lists(WORD, min_size=4, max_size=4), st.lists(WORD, min_size=2, max_size=2))
def test_philox_equals_the_oracle(counter: list[int], key: list[int]) -> None:
    """Any counter and key, under NumPy and under a library that has nothing but the array API."""
    for xp in (np, array_api_strict):
        words = philox4x32(xp.asarray(counter, dtype=xp.uint32), xp.asarray(key, dtype=xp.uint32))
        assert np.asarray(words).tolist() == slow_philox(counter, key)


def test_keys_are_broadcast() -> None:
    """One key serves many counters, and many keys one counter."""
    counters = np.arange(24, dtype=np.uint32).reshape(2, 3, 4)
    key = np.array([1, 2], np.uint32)

    words = philox4x32(counters, key)

    assert words.shape == (2, 3, 4)
    assert words[1, 2].tolist() == slow_philox(counters[1, 2].tolist(), [1, 2])
    assert philox4x32(counters[0, 0], np.stack([key, key + 1])).shape == (2, 4)


@pytest.mark.parametrize(
    ("counter", "key"),
    [
        (np.zeros(4, np.int64), np.zeros(2, np.uint32)),
        (np.zeros(3, np.uint32), np.zeros(2, np.uint32)),
        (np.zeros(4, np.uint32), np.zeros(4, np.uint32)),
        (np.array(0, np.uint32), np.zeros(2, np.uint32)),
    ],
)
def test_other_shapes_and_dtypes_are_refused(counter: Any, key: Any) -> None:
    """A counter or key of another kind is an error that says what is needed."""
    with pytest.raises(OptionError, match="must be uint32 of shape"):
        philox4x32(counter, key)


@SOME
@given(
    st.integers(0, 2**70),
    st.integers(0, 2**26),
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**40)), min_size=1, max_size=5),
    st.lists(st.integers(0, 11), min_size=1, max_size=4),
)
def test_words_of_a_batch_equal_those_of_the_array_api(
    seed: int, epoch: int, who: list[tuple[int, int]], counts: list[int]
) -> None:
    """The compiled call for all roles gives each role what the reference gives it alone."""
    draws = Draws(seed, epoch, view=3)
    ids, repeats = (np.array(part, np.int64) for part in zip(*who, strict=True))
    identity = draws.identity(Samples(ids, repeats))
    keys = [draws.key(f"op{number}") for number in range(len(counts))]

    drawn = draw_words(keys, counts, identity)

    for key, count, words in zip(keys, counts, drawn, strict=True):
        for xp in (np, array_api_strict):
            expected = reference_words(xp, xp.asarray(key), xp.asarray(identity), count)
            np.testing.assert_array_equal(words, np.asarray(expected))


def test_a_word_is_where_the_scheme_says() -> None:
    """Word w of a sample is word w % 4 of block w // 4, under its id, epoch and view and the role's key."""
    draws = Draws(seed=5, epoch=(3 << 24) + 7, view=2)
    key = draws.key("RandomCrop#0").tolist()
    sample = -2 % 2**64

    words = draws.words("RandomCrop#0", Samples(np.array([9, -2])), count=7)

    blocks = [slow_philox([block, 7 << 8 | 2, sample % 2**32, sample >> 32], key) for block in range(2)]
    assert words[1].tolist() == [*blocks[0], *blocks[1][:3]]


def test_draws_never_change() -> None:
    """Kept words: the same seed draws the same ones in every version."""
    samples = Samples(np.array([0, 1, 2**40]), np.array([0, 0, 3]))

    words = Draws(seed=1, epoch=2).words("HorizontalFlip#0", samples, count=2)

    assert words.tolist() == WORDS_OF_VERSION_1


WORDS_OF_VERSION_1 = [[582723562, 171215488], [2828718617, 855339710], [3777867008, 683982669]]


def test_samples_are_whole_numbers() -> None:
    """Lists will do; what is cut off to a whole number is none, and each sample has its own repeat."""
    draws = Draws(0)
    listed = draws.words("a", Samples([3, 4]), 2)  # pyright: ignore[reportArgumentType]

    np.testing.assert_array_equal(listed, draws.words("a", Samples(np.array([3, 4])), 2))
    with pytest.raises(OptionError, match=r"`ids` must be whole numbers of shape \[n\], got float64"):
        Samples(np.array([1.5]))  # pyright: ignore[reportArgumentType]
    with pytest.raises(OptionError, match="`repeats` must be 3, as `ids` are, got 2"):
        Samples(np.arange(3), np.arange(2))
