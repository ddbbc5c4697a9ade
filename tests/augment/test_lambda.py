"""A user's own augmentation: its draws are keyed, its results are checked."""

from __future__ import annotations

import pickle
from typing import Any

import array_api_strict
import numpy as np
import pytest
from chain_runs import plan, run

import headrace as hr
from headrace.augment import Lambda, LambdaDraws, Spec
from headrace.draws import Draws
from headrace.errors import OptionError, PrepareError, SchemaError

N = 8
X = np.arange(N * 3, dtype=np.float32).reshape(N, 3)


def every_kind(columns: Any, draws: LambdaDraws) -> Any:
    """Draw once of each kind."""
    return {
        "uniform": draws.uniform("u"),
        "normal": draws.normal("n", 3),
        "integers": draws.integers("i", 10, (2, 2)),
        "bernoulli": draws.bernoulli("b", 0.5),
        "permutation": draws.permutation("p", 4),
    }


KINDS = {
    "uniform": Spec((), np.dtype(np.float32)),
    "normal": Spec((3,), np.dtype(np.float32)),
    "integers": Spec((2, 2), np.dtype(np.int64)),
    "bernoulli": Spec((), np.dtype(np.bool_)),
    "permutation": Spec((4,), np.dtype(np.int64)),
}


def test_draws_are_keyed_by_sample_and_role() -> None:
    """A sample draws the same alone and in any batch, on any library; other epochs and roles differ."""
    op = Lambda("x", every_kind, returns=KINDS)
    together = run(op, {"x": X}, ids=range(N))
    strict = run(op, {"x": X}, ids=range(N), xp=array_api_strict)

    for name in KINDS:
        np.testing.assert_array_equal(together[name], strict[name])
        for sample in (0, 5):
            alone = run(op, {"x": X[sample : sample + 1]}, ids=[sample])[name]
            np.testing.assert_array_equal(alone[0], together[name][sample])
        later = run(op, {"x": X}, ids=range(N), draws=Draws(0, 1))[name]
        assert (later != together[name]).any()
    assert together["integers"].max() < 10
    assert (np.sort(together["permutation"], axis=1) == np.arange(4)).all()
    assert ((together["uniform"] >= 0) & (together["uniform"] < 1)).all()


def test_roles_do_not_shift_each_other() -> None:
    """What a function draws besides has no part in what a role gives; the same role gives the same again."""

    def one(columns: Any, draws: LambdaDraws) -> Any:
        return {"x": draws.uniform("a", 3)}

    def more(columns: Any, draws: LambdaDraws) -> Any:
        other, again = draws.uniform("b", 3), draws.uniform("a", 3)
        assert (other != again).all()
        return {"x": draws.uniform("a", 3)}

    np.testing.assert_array_equal(run(Lambda("x", one), {"x": X})["x"], run(Lambda("x", more), {"x": X})["x"])


def double(columns: Any, draws: LambdaDraws) -> Any:
    return {"x": columns["x"] * 2}


def test_the_gate_leaves_samples_alone() -> None:
    """With `p` a sample is changed or stays, by its own gate."""
    op = Lambda("x", double, p=0.5)
    is_on = plan(op, {"x": X}).records["Lambda#0"]["applied"] != 0

    found = run(op, {"x": X})["x"]

    np.testing.assert_array_equal(found, np.where(is_on[:, None], X * 2, X))
    assert 0 < is_on.sum() < N


def test_a_loader_calls_it_and_finds_what_it_adds() -> None:
    """Results come with the batch, equal for other batch sizes; the augmentation can be pickled."""
    ds = hr.from_arrays({"x": X})
    op = pickle.loads(pickle.dumps(Lambda("x", every_kind, returns=KINDS)))

    small = list(ds.augment(op).loader(1, output="numpy"))
    large = ds.augment(op).loader(N, output="numpy").batch(0)

    for name in KINDS:
        np.testing.assert_array_equal(np.concatenate([batch[name] for batch in small]), large[name])


def test_the_fingerprint_follows_the_function() -> None:
    """Another function, or another version, is another recipe; the same one is the same."""
    ds = hr.from_arrays({"x": X})

    def identity(*augmentations: Any) -> Any:
        return ds.augment(*augmentations).loader(2, output="numpy").state_dict()

    assert identity(Lambda("x", double)) == identity(Lambda("x", double))
    assert identity(Lambda("x", double)) != identity(Lambda("x", lambda columns, draws: {"x": columns["x"]}))
    assert identity(Lambda("x", double, version="1")) != identity(Lambda("x", double, version="2"))


def test_what_the_function_is_given_is_not_written_to() -> None:
    """Writing in place is an error that names the function; returning what was given is fine."""

    def write(columns: Any, draws: LambdaDraws) -> Any:
        columns["x"] += 1
        return columns

    with pytest.raises(PrepareError, match=r"Lambda: `.*write` \(line \d+ of .*\) failed: .*read-only"):
        run(Lambda("x", write), {"x": X})
    found = run(Lambda("x", lambda columns, draws: columns), {"x": X})["x"]
    assert found.flags.writeable
    assert not np.shares_memory(found, X)


RESULTS: list[tuple[Any, str]] = [
    (lambda columns, draws: columns["x"], "must return columns by name, got ndarray"),
    (
        lambda columns, draws: {"x": columns["x"][:2]},
        "`x` with 8 samples of float32 of shape \\[3\\], got 2 of",
    ),
    (lambda columns, draws: {"x": columns["x"].astype(int)}, "got 8 of int64 of shape \\[3\\]"),
    (lambda columns, draws: {"x": [1]}, "got list"),
    (lambda columns, draws: {"y": columns["x"]}, "returned column `y`, which it was not given"),
    (lambda columns, draws: 1 / 0, "failed: ZeroDivisionError"),
    (lambda columns: {}, "failed: TypeError"),
]


@pytest.mark.parametrize(("function", "message"), RESULTS)
def test_a_wrong_result_is_refused(function: Any, message: str) -> None:
    """An error names the function, what it must return and what it returned."""
    with pytest.raises(PrepareError, match=message):
        run(Lambda("x", function), {"x": X})


def test_a_promised_column_must_come() -> None:
    """A column of `returns` that is not returned is an error."""
    with pytest.raises(PrepareError, match="must return column `uniform`, as it promises"):
        run(Lambda("x", double, returns=KINDS), {"x": X})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Lambda("x", 3), OptionError, "`function` must be a function, got 3"),  # type: ignore
        (lambda: Lambda("x", double, same_on_batch=True), OptionError, "`same_on_batch` has no meaning"),
        (
            lambda: Lambda("x", double, returns={"y": (3,)}),
            OptionError,
            "`returns` must be names with `Spec`s",
        ),  # type: ignore
        (lambda: run(Lambda("x", every_kind, returns=KINDS, p=0.5), {"x": X}), OptionError, "`p` must be 1"),
        (
            lambda: run(Lambda("x", double, returns={"y": KINDS["uniform"]}), {"x": X, "y": X}),
            SchemaError,
            "returns column `y`, which it is not given",
        ),
    ],
)
def test_options_that_cannot_be_right_are_refused(make: Any, error: type[Exception], message: str) -> None:
    """An error names the augmentation and the option."""
    with pytest.raises(error, match=message):
        make()
