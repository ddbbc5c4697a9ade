"""Covariances and scatters within classes: exact, mergeable, and plain data when packed."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import headrace as hr
from headrace.prepare.statistics import Payload, Statistic
from headrace.prepare.statistics.scatter import ClassScatter, Covariance


def stored(payload: Payload) -> Payload:
    """Send a packed state through JSON and an Arrow file, as a cache does."""
    meta, arrays = payload
    restored: dict[str, pa.Array] = {}
    for name, array in arrays.items():
        table, file = pa.table({name: array}), io.BytesIO()
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        restored[name] = pa.ipc.open_file(file.getvalue()).read_all()[name].combine_chunks()
    return json.loads(json.dumps(meta)), restored


def merged(statistic: Statistic, frames: list[pl.DataFrame]) -> Any:
    state = statistic.of(frames[0])
    for number, frame in enumerate(frames[1:]):
        part = statistic.of(frame)
        state = state.merge(statistic.unpack(stored(part.pack())) if number < 50 else part)
    return state


def cut(frame: pl.DataFrame, parts: int, seed: int) -> list[pl.DataFrame]:
    """Shuffle and cut a frame; some parts may be empty."""
    rng = np.random.default_rng(seed)
    shuffled = frame[rng.permutation(len(frame))]
    ends = np.sort(rng.integers(0, len(frame), parts - 1)).tolist()
    return [shuffled[a:b] for a, b in zip([0, *ends], [*ends, len(frame)], strict=True)]


RNG = np.random.default_rng(3)
FRAME = pl.DataFrame(
    {
        "normal": 1e8 + RNG.normal(size=400),
        "wide": RNG.lognormal(0, 8, size=400),
        "single": RNG.normal(size=400).astype(np.float32),
        "whole": RNG.integers(2**62, 2**62 + 3, size=400),
        "kind": [f"k{it}" for it in RNG.integers(0, 5, 400)],
    }
)
COLUMNS = ("normal", "wide", "single", "whole")


def exact_covariance(frame: pl.DataFrame, ddof: int) -> np.ndarray[Any, Any]:
    columns = [[Fraction(value) for value in frame[name].to_list()] for name in COLUMNS]
    means = [sum(column, Fraction(0)) / len(frame) for column in columns]
    centred = [[it - mean for it in column] for column, mean in zip(columns, means, strict=True)]
    return np.array(
        [
            [
                float(sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0)) / (len(frame) - ddof))
                for b in centred
            ]
            for a in centred
        ]
    )


def test_covariance_is_rounded_once() -> None:
    """Each mean and covariance is the float nearest to the exact number, beyond 2**53 too."""
    state = Covariance(COLUMNS).of(FRAME)

    np.testing.assert_array_equal(state.covariance(1), exact_covariance(FRAME, 1))
    np.testing.assert_array_equal(state.covariance(), exact_covariance(FRAME, 0))
    assert state.means[0] == float(sum(map(Fraction, FRAME["normal"].to_list()), Fraction(0)) / 400)


@pytest.mark.parametrize("statistic", [Covariance(COLUMNS), ClassScatter(COLUMNS, "kind")])
@pytest.mark.parametrize(("parts", "seed"), [(3, 0), (97, 1), (1000, 2)])
def test_any_partitioning_gives_equal_bits(statistic: Statistic, parts: int, seed: int) -> None:
    """States of parts in any order, packed and unpacked on the way, merge to the bits of the whole."""
    whole, total = statistic.of(FRAME), merged(statistic, cut(FRAME, parts, seed))

    packed, expected = total.pack(), whole.pack()
    assert packed[0] == expected[0]
    assert all(packed[1][name].equals(array) for name, array in expected[1].items())


def test_scatter_within_classes_is_the_sum_of_theirs() -> None:
    """Class means, offsets and scatter are those of each class by itself."""
    state = ClassScatter(COLUMNS, "kind").of(FRAME)

    groups = FRAME.partition_by("kind", as_dict=True, maintain_order=False)
    parts = [groups[(name,)] for name in state.classes]
    within = sum(exact_covariance(part, 0) * len(part) for part in parts)
    np.testing.assert_allclose(state.within, within, rtol=1e-14, atol=0)
    assert state.counts.tolist() == [len(part) for part in parts]
    single = [part["single"].cast(pl.Float64).mean() for part in parts]
    np.testing.assert_allclose(state.class_means[:, 2], np.array(single), rtol=1e-12)
    np.testing.assert_allclose(state.offsets[:, 2], state.class_means[:, 2] - state.means[2], rtol=1e-10)


def test_columns_that_are_constant_in_each_class_have_no_scatter() -> None:
    """The scatter of what does not vary is zero, not a rest of rounding."""
    frame = pl.DataFrame({"x": [0.1, 0.1, 0.1, 0.7, 0.7], "k": [1, 1, 1, 2, 2]})

    assert ClassScatter(("x",), "k").of(frame).within.tolist() == [[0.0]]


def test_scatter_of_few_digits_is_rounded_once() -> None:
    """Whole numbers whose class means are no whole numbers lose nothing."""
    frame = pl.DataFrame({"x": [0, 0, 1, 0, 0, 1], "k": ["a", "a", "a", "b", "b", "b"]})

    assert ClassScatter(("x",), "k").of(frame).within.tolist() == [[4 / 3]]


@pytest.mark.parametrize("target", [[1, 2], [True, False], ["a", "b"], [1.0, 2.0]])
def test_classes_can_be_of_several_types(target: list[Any]) -> None:
    """Numbers, truth values and texts name classes, which merge with classes of other parts."""
    frame = pl.DataFrame({"x": [1.0, 2.0, 4.0], "k": [target[1], target[0], target[1]]})
    statistic = ClassScatter(("x",), "k")

    state = merged(statistic, [frame[:1], frame[1:2], frame[:0], frame[2:]])

    assert state.classes.to_list() == sorted(target)
    assert state.counts.tolist() == [2, 1] if target[1] is False else [1, 2]


def test_categories_are_classes_by_their_text() -> None:
    """A categorical column's classes are its texts, whatever numbers stand for them in a part."""
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0], "k": pl.Series(["b", "a", "b"], dtype=pl.Categorical)})

    state = ClassScatter(("x",), "k").of(frame)

    assert state.classes.to_list() == ["a", "b"]
    assert state.class_means.tolist() == [[2.0], [2.0]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, None], "column `x`: a covariance needs every value, but 1 are missing; fill them before"),
        ([float("nan"), 1.0], "column `x`: a covariance needs every value, but 1 are missing"),
        ([float("inf"), 1.0], "column `x`: 1 values are infinite"),
    ],
)
def test_missing_and_infinite_values_are_refused(values: list[Any], message: str) -> None:
    """What cannot be summed is refused by the name of its column."""
    frame = pl.DataFrame({"x": values, "k": ["a", "b"]})

    for statistic in (Covariance(("x",)), ClassScatter(("x",), "k")):
        with pytest.raises(hr.PrepareError, match=message):
            statistic.of(frame)


@pytest.mark.parametrize("target", [["a", None], [1.0, float("nan")]])
def test_samples_without_a_class_are_refused(target: list[Any]) -> None:
    """A missing class is no class."""
    with pytest.raises(
        hr.PrepareError, match="target column `k`: each sample needs a class, but 1 have none"
    ):
        ClassScatter(("x",), "k").of(pl.DataFrame({"x": [1.0, 2.0], "k": target}))
