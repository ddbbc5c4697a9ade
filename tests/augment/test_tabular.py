"""Augmentations of tabular columns: as loops over values do them, and as often as asked."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import pytest
from chain_runs import plan, run

import headrace as hr
from headrace.augment import FeatureDropout, GaussianJitter, SwapNoise
from headrace.draws import Draws, Samples, numbers
from headrace.errors import OptionError, SchemaError

Array = np.ndarray[Any, Any]
LIBRARIES = pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numpy", "strict"])
N, K = 7, 5
DTYPES = ["float32", "float64", "int64", "uint8", "int16"]


def column(dtype: str, shape: tuple[int, ...] = (N, K), seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


def words(op: Any, name: str, count: int, n: int = N) -> Array:
    path = f"{type(op).__name__}#0"
    return Draws(0).words(path, Samples(np.arange(n)), count, purpose=f"elements of {name}")


def is_on(op: Any, columns: Any) -> Array:
    return plan(op, columns).records[f"{type(op).__name__}#0"]["applied"] != 0


@LIBRARIES
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_dropping_features_is_as_a_loop_does_it(xp: Any, dtype: str, p: float) -> None:
    """A value whose word is below its feature's threshold becomes the fill; columns draw apart."""
    rates = (0.0, 0.25, 0.5, 0.75, 1.0)
    op = FeatureDropout(["a", "b"], rate=rates, fill=7, p=p)
    columns = {"a": column(dtype), "b": column("float32", seed=1)}
    gates = is_on(op, columns)

    found = run(op, columns, xp=xp)

    for name, array in columns.items():
        drawn, expected = words(op, name, K).tolist(), array.copy()
        for sample in range(N):
            for feature in range(K):
                if gates[sample] and drawn[sample][feature] < int(rates[feature] * 2**32):
                    expected[sample, feature] = 7
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].dtype == array.dtype


@LIBRARIES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("multiplicative", [False, True])
@pytest.mark.parametrize("shape", [(N, K), (N,)])
def test_jitter_is_as_a_loop_does_it(
    xp: Any, dtype: str, multiplicative: bool, shape: tuple[int, ...]
) -> None:
    """One product, one sum and with factors one more product, each rounded to the column's dtype."""
    sigmas = (0.0, 0.1, 0.5, 1.0, 3.0)[: shape[1] if len(shape) == 2 else 1]
    op = GaussianJitter("x", sigma=sigmas, multiplicative=multiplicative, p=0.6)
    columns = {"x": np.random.default_rng(0).normal(size=shape).astype(dtype)}
    gates, kind = is_on(op, columns), np.dtype(dtype).type
    drawn = numbers.normal(words(op, "x", len(sigmas)))
    expected = columns["x"].reshape(N, -1).copy()
    for sample in range(N):
        for feature, sigma in enumerate(sigmas):
            x, step = expected[sample, feature], kind(drawn[sample, feature]) * kind(sigma)
            if gates[sample]:
                expected[sample, feature] = x * (step + kind(1)) if multiplicative else x + step

    found = run(op, columns, xp=xp)["x"]

    assert found.dtype == dtype
    assert found.tobytes() == expected.tobytes()
    assert 0 < gates.sum() < N


@LIBRARIES
@pytest.mark.parametrize("dtype", [*DTYPES, "bool"])
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_swapping_is_as_a_loop_does_it(xp: Any, dtype: str, p: float) -> None:
    """A value whose word is below the threshold is the partner's, of the same column and feature."""
    op = SwapNoise(["x", "city"], rate=0.4, p=p)
    columns = {"x": column(dtype), "city": column("int32", (N,))}
    partners = {"x": column(dtype, seed=1), "city": column("int32", (N,), seed=1)}
    gates = is_on(op, columns)

    found = run(op, columns, xp=xp, partners=(partners, range(N, 2 * N)))

    for name, own in columns.items():
        drawn, expected = words(op, name, own[0].size), own.reshape(N, -1).copy()
        for sample, feature in np.ndindex(expected.shape):
            if gates[sample] and drawn[sample, feature] < int(0.4 * 2**32):
                expected[sample, feature] = partners[name].reshape(N, -1)[sample, feature]
        np.testing.assert_array_equal(found[name], expected.reshape(own.shape))


def test_values_change_as_often_as_asked() -> None:
    """The rate is met for each feature, and features, columns and samples change independently."""
    n = 20_000
    zeros = {"a": np.zeros((n, 2), np.float32), "b": np.zeros(n, np.float32)}

    found = run(FeatureDropout(["a", "b"], rate=0.3, fill=1), zeros)

    three = np.column_stack([found["a"], found["b"]])
    assert (np.abs(three.mean(axis=0) - 0.3) < 5 * np.sqrt(0.21 / n)).all()
    assert np.abs(np.corrcoef(three.T) - np.eye(3)).max() < 5 / np.sqrt(n)


def test_jitter_has_the_spread_that_is_asked() -> None:
    """Mean 0 and the standard deviation of each feature."""
    n = 20_000
    found = run(GaussianJitter("x", sigma=(0.5, 2.0)), {"x": np.zeros((n, 2))})["x"]

    assert (np.abs(found.mean(axis=0)) < 5 * np.array([0.5, 2.0]) / np.sqrt(n)).all()
    np.testing.assert_allclose(found.std(axis=0), (0.5, 2.0), rtol=0.03)
    assert abs(np.corrcoef(found.T)[0, 1]) < 5 / np.sqrt(n)


def test_missing_values_can_be_filled_in_and_kept() -> None:
    """NaN is a fill for floats, and stays NaN under noise."""
    found = run(FeatureDropout("x", rate=1, fill=float("nan")), {"x": column("float32")})["x"]
    assert np.isnan(found).all()
    assert np.isnan(run(GaussianJitter("x"), {"x": found})["x"]).all()


def test_swapping_in_the_loader_takes_values_of_the_next_sample() -> None:
    """In order without shuffling, sample i takes from sample i + 1 of its lane; other values stay."""
    ds = hr.from_arrays({"x": np.arange(64, dtype=np.float32)})
    op = SwapNoise("x", rate=0.5)

    batches = list(ds.augment(op).loader(8, output="numpy", shuffle=False))

    x = np.concatenate([batch["x"] for batch in batches])
    moved = x != np.arange(64)
    assert 16 < moved.sum() < 48
    assert (x[:-1][moved[:-1]] == np.arange(1, 64)[moved[:-1]]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeatureDropout("x", rate=1.5), "`rate` must be a number from 0 to 1"),
        (lambda: FeatureDropout("x", rate=(0.1, -1)), "`rate` must be a number from 0 to 1"),
        (lambda: FeatureDropout("x", rate=()), "`rate` must be a number"),
        (lambda: FeatureDropout("x", rate="0.1"), "`rate` must be a number"),
        (lambda: FeatureDropout("x", fill="a"), "`fill` must be a number"),
        (lambda: GaussianJitter("x", sigma=-1), "`sigma` must be a number"),
        (lambda: GaussianJitter("x", sigma=float("nan")), "`sigma` must be a number"),
        (lambda: SwapNoise("x", rate=True), "`rate` must be a number"),
        (lambda: SwapNoise("x", partner="next"), "`partner` must be"),
    ],
)
def test_options_that_cannot_be_right_are_refused(make: Any, message: str) -> None:
    """An error names the augmentation and the option."""
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize(
    ("op", "array", "message"),
    [
        (
            FeatureDropout("x", rate=(0.1, 0.2)),
            column("float32"),
            "as many features as there are numbers for, 2",
        ),
        (FeatureDropout("x", fill=-1), column("uint8"), "`fill`, which is -1"),
        (FeatureDropout("x", fill=0.5), column("int64"), "`fill`, which is 0.5"),
        (FeatureDropout("x"), column("float32", (2, 3, 4)), "shape \\[n\\] or \\[n, k\\]"),
        (GaussianJitter("x"), column("int64"), "float32 or float64"),
        (GaussianJitter("x"), column("float16"), "float32 or float64"),
        (SwapNoise("x"), column("float32", (2, 3, 4)), "shape \\[n\\] or \\[n, k\\]"),
    ],
)
def test_columns_that_do_not_fit_are_refused(op: Any, array: Array, message: str) -> None:
    """An error names the augmentation, the column, what it must hold and what it holds."""
    with pytest.raises(SchemaError, match=message) as caught:
        run(op, {"x": array})
    assert f"{type(op).__name__}: column `x`" in str(caught.value)
