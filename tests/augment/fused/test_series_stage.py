"""The compiled stage of series gives the bytes of the references, whatever the chain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from stage_checks import allocate, check_stage

from headrace.augment import (
    Augmentation,
    FrequencyMask,
    HorizontalFlip,
    Jitter,
    Permutation,
    Reverse,
    Scaling,
    Shift,
    TimeMask,
    TimeWarp,
    WindowSlice,
)
from headrace.augment.base import Spec, describe
from headrace.augment.chain import Chain
from headrace.augment.fused.series.stage import find_series_stage
from headrace.augment.stage import Picked, reference_stages, run_stages
from headrace.draws import Draws, Samples


def random_op(rng: np.random.Generator, steps: int, is_float: bool, has_channels: bool, layout: str) -> Any:
    """Any augmentation of series, with options that fit."""
    some: dict[str, Any] = {"layout": layout, "p": float(rng.choice([0.5, 1.0, 0.0]))}
    number = rng.integers(9)
    if has_channels and number == 8:
        return FrequencyMask("x", mask_param=3, value=1, **some)
    if is_float and number < 4:
        made: list[Augmentation] = [
            Jitter("x", sigma=0.5, **some),
            Scaling("x", **some),
            TimeWarp("x", knots=int(rng.integers(1, 7)), **some),
            WindowSlice("x", reduce_ratio=float(rng.choice([0.2, 0.9, 1.0])), **some),
        ]
        return made[number]
    made = [
        WindowSlice("x", size=int(rng.integers(1, steps + 1)), **some),
        Permutation("x", max_segments=int(rng.integers(1, 9)), **some),
        Shift("x", min_shift=-1, max_shift=1, rollover=bool(rng.integers(2)), fill=3, **some),
        Reverse("x", **some),
        TimeMask("x", mask_param=int(rng.integers(9)), masks=2, value=5, **some),
    ]
    return made[number % 5]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_chains_give_the_bytes_of_the_references(dtype: str) -> None:
    """Random chains on random shapes and layouts; one column of two in the chain, the other stays."""
    rng = np.random.default_rng(len(dtype))
    for seed in range(60):
        steps, channels, n = (int(side) for side in rng.integers(1, (70, 6, 8)))
        layout, has_channels = str(rng.choice(["NTC", "NCT"])), rng.random() < 0.8
        sides = {"NTC": (steps, channels), "NCT": (channels, steps)}[layout] if has_channels else (steps,)
        x = (rng.standard_normal((n, *sides)) * 20).astype(dtype)
        ops: list[Any] = []
        for _ in range(rng.integers(1, 6)):
            ops.append(random_op(rng, steps, x.dtype.kind == "f", has_channels, layout))
            steps = getattr(ops[-1], "size", None) or steps
        check_stage(find_series_stage, ops, {"x": x, "y": x}, seed)


def test_long_samples_draw_noise_for_every_element() -> None:
    """More elements than are drawn at once, and a number that no block divides."""
    x = np.zeros((3, 1031, 3), np.float32)

    check_stage(find_series_stage, [Jitter("x"), Scaling("x"), Jitter("x")], {"x": x})


def test_columns_go_through_their_own_part_of_a_chain() -> None:
    """Two columns, one of integers, and augmentations of one, the other and both."""
    x, y = np.random.default_rng(0).standard_normal((2, 5, 12, 2)).astype(np.float32)
    columns = {"x": x, "y": (y * 9).astype(np.int16)}

    check_stage(find_series_stage, [Jitter("x"), Reverse(["x", "y"]), Shift("y", p=1), Scaling("x")], columns)


def test_values_that_are_no_numbers_pass() -> None:
    """Infinities, not-a-numbers and negative zeros."""
    x = np.tile(np.array([np.inf, -np.inf, np.nan, -0.0, 1], np.float32), 4).reshape(2, 10)
    for op in (Jitter("x"), Scaling("x"), TimeWarp("x"), WindowSlice("x"), WindowSlice("x", reduce_ratio=1)):
        check_stage(find_series_stage, [op], {"x": x})


def test_rows_are_read_where_they_lie() -> None:
    """Memory that is read-only, not contiguous or not aligned."""
    x = np.random.default_rng(0).standard_normal((6, 8, 2)).astype(np.float32)
    bound = Chain((Reverse("x"), Jitter("x"))).bind({"x": Spec.of(x)})
    planned, stage = bound.plan(Draws(0), Samples(np.arange(6))), find_series_stage(bound, 0)
    assert stage is not None
    expected = run_stages(bound, reference_stages(bound), {"x": x}, planned, allocate)["x"]

    fixed = x.copy()
    fixed.flags.writeable = False
    unaligned: NDArray[Any] = np.empty(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    unaligned[:] = x
    for array in (fixed, np.repeat(x, 2, axis=0)[::2], np.asfortranarray(x), unaligned):
        for column in (array, Picked(array, np.arange(6))):
            found = run_stages(bound, (stage,), {"x": column}, planned, allocate)["x"]
            assert found.tobytes() == expected.tobytes()


def test_a_batch_of_no_samples_stays_empty() -> None:
    """Nothing to do is no error."""
    check_stage(
        find_series_stage, [WindowSlice("x", size=3), Jitter("x")], {"x": np.empty((0, 8), np.float32)}
    )


def test_a_stage_ends_where_another_kind_begins() -> None:
    """The stage performs the run of series alone."""
    specs = {"x": describe((8, 8, 3), "float32"), "s": describe((8,), "float32")}
    bound = Chain((Reverse("s"), Jitter("s"), HorizontalFlip("x"), Shift("s"))).bind(specs)

    assert [stage and stage.numbers for stage in (find_series_stage(bound, first) for first in range(4))] == [
        range(2),
        range(1, 2),
        None,
        range(3, 4),
    ]
