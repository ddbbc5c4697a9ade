"""What is drawn for series has the ranges and the distributions that the augmentations promise."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import numpy as np
from series_loops import plan

from headrace.augment import (
    Augmentation,
    FrequencyMask,
    Permutation,
    Reverse,
    Scaling,
    Shift,
    TimeMask,
    TimeWarp,
    WindowSlice,
)

N = 40_000


def drawn(op: Augmentation, steps: int = 20, channels: int = 3, n: int = N) -> dict[str, Any]:
    """Parameters of many samples."""
    _, planned = plan(op, {"x": np.zeros((n, steps, channels), np.float32)}, seed=3)
    return planned.params(f"{type(op).__name__}#0")


def is_even(values: Any, low: int, high: int) -> bool:
    """Whether whole numbers from low to high come alike, to five standard deviations, and no others come."""
    counts = np.bincount(values - low, minlength=high - low + 1)
    expected = len(values) / (high - low + 1)
    return len(counts) == high - low + 1 and bool((abs(counts - expected) < 5 * math.sqrt(expected)).all())


def test_scaling_draws_normal_factors_for_each_channel() -> None:
    """Mean 1, the given spread, no correlation between channels."""
    factors = drawn(Scaling("x", sigma=0.1))["factors"] / 65536

    assert factors.shape == (N, 3)
    assert abs(factors.mean() - 1) < 0.003
    assert abs(factors.std() - 0.1) < 0.003
    assert abs(np.corrcoef(factors.T)[np.triu_indices(3, 1)]).max() < 0.03


def test_warps_rise_and_keep_their_ends() -> None:
    """Knots are in order, begin at 0 and end at 1; the speeds spread as asked."""
    knots = drawn(TimeWarp("x", sigma=0.2))["knots"].astype(np.int64)
    speeds = np.diff(knots, axis=1)

    assert (knots[:, 0] == 0).all()
    assert (knots[:, -1] == 1 << 30).all()
    assert speeds.min() > 0
    # Each is w_k / (w_1 + ... + w_5): relative to its mean of 1/5 it spreads by 0.2 * sqrt(4 / 5), nearly.
    assert abs((speeds / 2**30).std() / 0.2 - 0.2 * math.sqrt(0.8)) < 0.01


def test_even_the_widest_warp_goes_forward() -> None:
    """A speed is at least a tenth."""
    assert np.diff(drawn(TimeWarp("x", sigma=100.0))["knots"].astype(np.int64), axis=1).min() > 0


def test_windows_begin_anywhere() -> None:
    """0.9 of 20 steps are 18, which begin at 0, 1 or 2."""
    assert is_even(drawn(WindowSlice("x"))["start"], 0, 2)
    assert is_even(drawn(WindowSlice("x", size=5))["start"], 0, 15)
    assert is_even(drawn(WindowSlice("x", reduce_ratio=0.01))["start"], 0, 19)


def test_every_order_of_pieces_comes_alike() -> None:
    """Numbers from 1 to the most are drawn alike, and so are the orders of each number."""
    params = drawn(Permutation("x", max_segments=3))
    segments, order = params["segments"], params["order"]

    assert is_even(segments, 1, 3)
    assert (np.sort(order, axis=1) == np.arange(3)).all()
    assert (order[segments == 1] == np.arange(3)).all()
    assert (order[segments == 2, 2] == 2).all()
    codes = order[segments == 3] @ [9, 3, 1]
    names = sorted(9 * a + 3 * b + c for a, b, c in permutations(range(3)))
    assert is_even(np.searchsorted(names, codes), 0, 5)
    assert is_even(order[segments == 2, 0], 0, 1)


def test_shifts_are_even() -> None:
    """All whole numbers of steps from the least to the largest share, the ends included."""
    assert is_even(drawn(Shift("x", p=1))["shift"], -10, 10)
    assert is_even(drawn(Shift("x", min_shift=0.1, max_shift=0.2, p=1))["shift"], 2, 4)


def test_reversals_come_half_of_the_time() -> None:
    """The default of audiomentations."""
    assert is_even(drawn(Reverse("x"))["reverse"], 0, 1)


def test_bands_follow_the_rule_of_torchaudio() -> None:
    """Width floor(u * limit), start floor(v * (length - u * limit)): compared with a loop over the words."""
    for op, length, limit in (
        (TimeMask("x", mask_param=7, masks=2), 20, 7),
        (TimeMask("x", mask_param=70), 20, 20),
        (FrequencyMask("x", mask_param=2), 3, 2),
    ):
        params = drawn(op)
        words = _words(op, 2 * op.masks)
        for sample in range(200):
            for band in range(op.masks):
                u, v = (words[sample, 2 * band + part].item() / 2**32 for part in (0, 1))
                value = u * limit
                assert params["width"][sample, band] == int(value)
                assert params["start"][sample, band] == int(v * (length - value))
        assert is_even(params["width"][:, 0], 0, limit - 1)
        assert (params["start"] + params["width"]).max() <= length


def _words(op: Augmentation, count: int) -> Any:
    from headrace.draws import Draws, Samples

    return Draws(3).words(f"{type(op).__name__}#0", Samples(np.arange(100, 300)), 1 + count)[:, 1:]
