"""Augmentations of series change values as plain loops do, on every library, layout and shape."""

from __future__ import annotations

from functools import partial
from typing import Any

import array_api_strict
import numpy as np
import pytest
from numpy.typing import NDArray
from series_loops import loop, plan, reference

import headrace as hr
from headrace.augment import (
    Augmentation,
    FrequencyMask,
    Jitter,
    Permutation,
    Reverse,
    Scaling,
    Shift,
    TimeMask,
    TimeWarp,
    WindowSlice,
)
from headrace.augment.base import Spec
from headrace.augment.chain import Chain
from headrace.errors import OptionError, SchemaError

COMPUTED: list[Any] = [
    partial(Jitter, "x", sigma=0.5),
    partial(Scaling, "x", sigma=0.5),
    partial(TimeWarp, "x"),
    partial(TimeWarp, "x", sigma=2.0, knots=1),
    partial(WindowSlice, "x"),
    partial(WindowSlice, "x", reduce_ratio=0.3),
]
MOVED: list[Any] = [
    partial(WindowSlice, "x", size=1),
    partial(Permutation, "x"),
    partial(Permutation, "x", max_segments=40),
    partial(Shift, "x"),
    partial(Shift, "x", min_shift=-1, max_shift=1, rollover=False, fill=7),
    partial(Reverse, "x"),
    partial(TimeMask, "x", masks=2, value=3),
    partial(FrequencyMask, "x", mask_param=2),
]
SHAPES = [(1, 1), (2, 3), (33, 1), (20, 5)]


def series(steps: int, channels: int, dtype: str, layout: str = "NTC", n: int = 6) -> NDArray[Any]:
    """Random samples of a layout, without a repeated value if there is room."""
    values = np.random.default_rng(steps).permutation(n * steps * channels).astype(dtype)
    x = values.reshape(n, steps, channels) - (0 if dtype == "uint8" else 5)
    return np.ascontiguousarray(x.transpose(0, 2, 1)) if layout == "NCT" else x.astype(dtype)


@pytest.mark.parametrize("layout", ["NTC", "NCT"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_values_are_those_of_a_loop(layout: str, shape: tuple[int, int], p: float) -> None:
    """The reference, under NumPy and under a strict library, gives what a loop gives, bit by bit."""
    for dtype, makers in (
        ("float32", COMPUTED + MOVED),
        ("float64", COMPUTED + MOVED),
        ("int16", MOVED),
        ("uint8", MOVED),
    ):
        columns = {"x": series(*shape, dtype, layout)}
        for seed, make in enumerate(makers):
            op = make(layout=layout, p=p)
            expected = loop(op, columns, seed)["x"]
            for xp in (np, array_api_strict):
                found = reference(op, columns, seed, xp)["x"]
                assert found.dtype == expected.dtype
                assert found.tobytes() == expected.tobytes(), op


@pytest.mark.parametrize("make", [*COMPUTED, *MOVED[:-1]])
def test_a_series_without_channels_is_one_of_one_channel(make: Any) -> None:
    """Shape [n, time] gives the values of [n, time, 1]."""
    x = series(9, 1, "float32")

    for op in (make(), make(layout="NCT")):
        alone = reference(op, {"x": x[:, :, 0]})["x"]
        assert alone.tobytes() == reference(make(), {"x": x})["x"].tobytes()


@pytest.mark.parametrize("make", [*COMPUTED, *MOVED[1:]])
def test_a_sample_that_the_gate_leaves_out_is_not_touched(make: Any) -> None:
    """With p = 0 every byte stays, special values too."""
    x = series(8, 3, "float32")
    x[0, 3], x[1, 2], x[2] = np.nan, np.inf, -0.0

    assert reference(make(p=0), {"x": x})["x"].tobytes() == x.tobytes()


def test_a_window_of_a_size_is_the_middle_where_the_gate_is_off() -> None:
    """A shape must change for every sample."""
    x = series(9, 2, "float32")

    assert np.array_equal(reference(WindowSlice("x", size=4, p=0), {"x": x})["x"], x[:, 2:6])


def test_infinite_neighbours_do_not_spoil_steps() -> None:
    """What is read at a step itself is the value of that step."""
    x = np.full((1, 5), np.inf, np.float32)

    assert np.isposinf(reference(WindowSlice("x", reduce_ratio=1.0), {"x": x})["x"]).all()


@pytest.mark.parametrize("make", [TimeWarp, WindowSlice, Permutation, Reverse, Shift, TimeMask, Scaling])
def test_columns_get_the_same_parameters(make: type[Augmentation]) -> None:
    """A series and its mask go together."""
    x = series(30, 2, "float32")
    found = reference(make(["x", "y"]), {"x": x, "y": x.copy()})

    assert np.array_equal(found["x"], found["y"])


def test_columns_get_noise_of_their_own() -> None:
    """What is drawn for elements is drawn for each column."""
    x = np.zeros((2, 9), np.float32)
    found = reference(Jitter(["x", "y"]), {"x": x, "y": x})

    assert not (found["x"] == found["y"]).any()


def test_a_column_of_fewer_channels_takes_the_first_factors() -> None:
    """Scaling goes by the number of a channel."""
    x = np.ones((4, 5, 3), np.float32)
    found = reference(Scaling(["x", "y"]), {"x": x, "y": x[:, :, :2].copy()})

    assert np.array_equal(found["x"][:, :, :2], found["y"])


@pytest.mark.parametrize(
    ("op", "spec", "words"),
    [
        (Jitter("x"), Spec((9,), np.dtype("int32")), "float32 or float64"),
        (Jitter("x"), Spec((9,), np.dtype("float16")), "float32 or float64"),
        (TimeWarp("x"), Spec((9, 2, 2), np.dtype("float32")), r"\[n, time, channels\]"),
        (TimeWarp("x", layout="NCT"), Spec((), np.dtype("float32")), r"\[n, channels, time\]"),
        (Reverse("x"), Spec((4, 0), np.dtype("float32")), "numbers"),
        (Reverse("x"), Spec((4,), np.dtype("float32"), True), "numbers"),
        (WindowSlice("x", size=10), Spec((9, 2), np.dtype("float32")), "at least `size` = 10 steps"),
        (FrequencyMask("x"), Spec((9,), np.dtype("float32")), "axis of channels"),
        (Shift("x"), Spec(((1 << 22) + 1,), np.dtype("float32")), "at most 4194304 steps"),
    ],
)
def test_columns_that_are_no_series_are_refused(op: Augmentation, spec: Spec, words: str) -> None:
    """The message names operation, column, what must hold and what was got."""
    with pytest.raises(SchemaError, match=rf"{type(op).__name__}: column `x` must hold .*{words}.*, got "):
        Chain((op,)).bind({"x": spec})


def test_columns_of_different_lengths_are_refused() -> None:
    """What is drawn for one length does not fit another."""
    columns = {"x": np.zeros((2, 8, 3), np.float32), "y": np.zeros((2, 9, 3), np.float32)}

    with pytest.raises(SchemaError, match="column `y` must hold series of 8 steps, as `x` does"):
        plan(Reverse(["x", "y"]), columns)
    with pytest.raises(SchemaError, match="column `y` must hold as many channels as `x`, which has 3"):
        plan(FrequencyMask(["x", "y"]), {"x": columns["x"], "y": columns["x"][:, :, :2]})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Jitter("x", sigma=-1), "`sigma` must be a number from 0 to 1000, got -1"),
        (lambda: Scaling("x", sigma=float("nan")), "`sigma` .* got nan"),
        (lambda: TimeWarp("x", knots=0), "`knots` .* at least 1, got 0"),
        (lambda: TimeWarp("x", knots=1001), "`knots` must be at most 1000"),
        (lambda: WindowSlice("x", reduce_ratio=0), "`reduce_ratio` must be above 0"),
        (lambda: WindowSlice("x", size=0), "`size` .* at least 1, got 0"),
        (lambda: Permutation("x", max_segments=0), "`max_segments` .* at least 1, got 0"),
        (lambda: Shift("x", min_shift=-2), "`min_shift` must be a number from -1 to 1, got -2"),
        (lambda: Shift("x", min_shift=0.2, max_shift=0.1), "must not be above `max_shift`, got 0.2 and 0.1"),
        (lambda: TimeMask("x", mask_param=-1), "`mask_param` .* at least 0, got -1"),
        (lambda: TimeMask("x", masks=0), "`masks` .* at least 1, got 0"),
        (lambda: Reverse("x", layout="TNC"), '`layout` must be "NTC" or "NCT", got \'TNC\''),  # pyright: ignore[reportArgumentType]  on purpose
    ],
)
def test_options_that_cannot_be_are_refused(make: Any, words: str) -> None:
    """The message names the option, what must hold and what was got."""
    with pytest.raises(OptionError, match=words):
        make()


def test_a_value_that_a_column_cannot_hold_is_refused() -> None:
    """A whole number column takes whole numbers of its range; whether it does is known when columns are."""
    x = {"x": np.zeros((2, 8), np.uint8)}

    for op, shown in ((TimeMask("x", value=-1), "-1"), (Shift("x", rollover=False, fill=0.5), "0.5")):
        with pytest.raises(OptionError, match=rf"whole number from 0 to 255 for column `x`.*got {shown}"):
            plan(op, x)
    plan(TimeMask("x", value=255), x)


def test_a_loader_augments_series() -> None:
    """From the data set to the batch, each epoch anew and alike for every batch size."""
    ds = hr.from_arrays({"x": series(12, 2, "float32", n=10)}).augment(Permutation("x"), Jitter("x"))

    def epoch(number: int, size: int) -> NDArray[Any]:
        loader = ds.loader(size, output="numpy")
        loader.set_epoch(number)
        return np.concatenate([np.asarray(batch["x"]) for batch in loader])

    assert np.array_equal(epoch(0, 3), epoch(0, 10))
    assert not np.array_equal(epoch(0, 3), epoch(1, 3))
