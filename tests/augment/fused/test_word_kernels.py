"""Words of elements, drawn in blocks, are those of the reference."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.augment.fused.word_kernels import fill_element_words, fill_quantiles
from headrace.draws import Draws, Samples
from headrace.draws.draws import reference_words
from headrace.draws.numbers import normal
from headrace.draws.tables import normal_table


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 127, 128, 131, 512, 1023])
def test_words_and_numbers_are_those_of_the_reference(size: int) -> None:
    """From any block on, for any number of elements, and nothing behind them is written."""
    draws = Draws(7, epoch=(1 << 24) - 1, view=255)
    key, samples = draws.key("op", "elements of x"), Samples(np.array([-1, 1 << 40]), np.array([0, 3]))
    identity = draws.identity(samples)
    expected = reference_words(np, key, identity, 64 + size)[:, 64:]
    for who, words in zip(identity, expected, strict=True):
        found = np.full(size + 2, 77, np.uint32)
        fill_element_words(key, who, 64, found[:size])
        numbers = np.empty(size, np.float32)
        fill_quantiles(found[:size], normal_table(), numbers)

        assert np.array_equal(found[:size], words)
        assert (found[size:] == 77).all()
        assert numbers.tobytes() == normal(words).tobytes()
