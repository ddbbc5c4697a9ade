"""FunctionStep: a user's function in a pipeline, named and identified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prepared import assert_foretold, assert_same_everywhere, columns_read, fit, transform

import headrace as hr

FRAME = pl.DataFrame({"a": [1.5, None, 3.0], "b": [1, 2, 3], "c": ["x", "y", None]})


def add_sum(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(total=pl.col("a") + pl.col("b"))


def only_double(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.col("a") * 2, half=pl.col("a") / 2)


@pytest.mark.parametrize(
    "step", [hr.FunctionStep(add_sum), hr.FunctionStep(only_double, columns=["a", "b"])], ids=["all", "some"]
)
def test_a_function_gives_the_same_everywhere(step: Any, tmp_path: Path) -> None:
    """A function that looks at one row at a time is a step like others."""
    assert_same_everywhere(FRAME, step, folder=tmp_path)
    assert_foretold(FRAME, step)


def test_the_function_sees_the_treated_columns_alone() -> None:
    """What it returns takes their place, what it does not return is left out, and the others stay."""
    after = transform(FRAME, hr.FunctionStep(only_double, columns=["a", "b"]), dtype="float32")

    assert after.columns == ["a", "c", "half"]
    assert after["a"].to_list() == [3.0, None, 6.0]
    assert after.schema["half"] == pl.Float64  # the function's types are kept


def test_columns_that_nobody_wants_are_not_read() -> None:
    """The function may look at all that it treats, and is not called for what it does not make."""
    step = hr.FunctionStep(only_double, columns=["a", "b"])

    assert columns_read(FRAME, step, "half") == ("a", "b")
    assert columns_read(FRAME, step, "c") == ("c",)


def test_a_function_is_identified_by_what_it_does() -> None:
    """Equal code has one digest under any name; other code, values or versions have another."""

    def made(factor: int) -> hr.FunctionStep:
        return hr.FunctionStep(lambda frame: frame * factor)

    assert made(2).digest == made(2).digest
    assert made(2).digest != made(3).digest
    assert hr.FunctionStep(add_sum, version="1").digest != hr.FunctionStep(add_sum, version="2").digest
    assert hr.FunctionStep(add_sum).name == f"{__name__}.add_sum"
    handle = open(__file__)  # noqa: SIM115
    with handle, pytest.raises(hr.FingerprintError, match="version"):
        hr.FunctionStep(lambda frame: frame.with_columns(a=pl.lit(handle.read())))


def test_data_sets_with_other_functions_have_other_fingerprints() -> None:
    """A loader's state, or an entry of a cache, is not taken for that of another function."""
    ds = hr.from_polars(FRAME)
    recipes = [ds.prepare(fit(FRAME, hr.FunctionStep(it))).recipe for it in (add_sum, add_sum, only_double)]

    prints = [recipe.fingerprint for recipe in recipes]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("function", "error", "reason"),
    [
        (lambda frame: 1, hr.PrepareError, "must return a Polars DataFrame, got int"),
        (
            lambda frame: frame.head(frame.height and 1),
            hr.PrepareError,
            "must keep the number of rows, got 1 for 3",
        ),
        (
            lambda frame: frame.with_columns(c=pl.lit(1)),
            hr.SchemaError,
            "returns column `c`, which it was not given",
        ),
        (
            lambda frame: frame.with_columns(z=1) if frame.height else frame,
            hr.SchemaError,
            r"must return the columns \['a', 'b'\]",
        ),
        ("add_sum", hr.OptionError, "takes a function"),
    ],
)
def test_what_a_function_must_not_do_is_told(function: Any, error: type[Exception], reason: str) -> None:
    """It keeps the number of rows, returns the same columns always, and overwrites no others."""
    with pytest.raises(error, match=reason):
        transform(FRAME, hr.FunctionStep(function, columns=["a", "b"]))


def test_a_saved_function_is_asked_for_by_name() -> None:
    """A step is made again from its settings and the function; another function is refused."""
    step = hr.FunctionStep(add_sum, columns=["a", "b"])
    saved = step.saved_settings(
        {"function": add_sum, "version": None, "digest": step.digest, "columns": ["a", "b"]}
    )

    assert saved["function"] == step.name
    assert hr.FunctionStep.from_settings(saved, {step.name: add_sum}) == step
    with pytest.raises(hr.OptionError, match="functions="):
        hr.FunctionStep.from_settings(saved, {})
    with pytest.raises(hr.OptionError, match="is not the one that was saved"):
        hr.FunctionStep.from_settings(saved, {step.name: only_double})
