"""Target encoding: scikit-learn's numbers, exact sums, and encodings out of fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from census import opened
from polars.testing import assert_frame_equal
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import TargetEncoder as SkTarget

import headrace as hr
from headrace.prepare.statistics.target_sums import folds_of
from headrace.prepare.step import SAMPLE_ID


def fit(data: Any, *steps: Any, **options: Any) -> hr.Pipeline:
    dataset = hr.from_polars(data) if isinstance(data, pl.DataFrame) else data
    return hr.Pipeline(steps, dtype="float64").fit(dataset, progress=False, **options)


def samples(rows: int = 1500, seed: int = 0) -> pl.DataFrame:
    """Two columns of categories with missing values, and targets of several kinds."""
    draw = np.random.default_rng(seed)
    city = np.minimum(draw.zipf(1.6, rows), 40)
    return pl.DataFrame(
        {
            "city": pl.Series([f"c{it}" for it in city]).set(pl.Series(draw.random(rows) < 0.05), None),
            "code": draw.integers(0, 9, rows),
            "amount": draw.lognormal(2, 2, rows) + city,
            "small": draw.normal(size=rows).astype(np.float32),
            "bought": (draw.random(rows) < 0.2 + city / 80),
            "count": draw.integers(-5, 200, rows),
        }
    )


def as_objects(frame: pl.DataFrame, names: list[str]) -> np.ndarray[Any, Any]:
    return np.array(frame.select(names).rows(), object)


def test_case_28() -> None:
    """Sums drawn to the mean by 2 samples; each sample without its fold in training; unseen ones the mean."""
    frame = pl.DataFrame(
        {"c": list("aaabbc"), "y": [1.0, 2.0, 3.0, 4.0, 6.0, 10.0], "fold": [0, 0, 1, 1, 2, 2]}
    )
    step = hr.TargetEncoder(target="y", smooth=2, fold_column="fold", columns="c")
    pipe = fit(frame, step)
    found = [pipe.transform({"c": value})["c"] for value in ("a", "b", "c", "z", None)]
    np.testing.assert_allclose(found, [44 / 15, 14 / 3, 56 / 9, 13 / 3, 13 / 3], rtol=1e-15)
    training = hr.Pipeline([step], dtype="float64").fit_transform(hr.from_polars(frame), progress=False)
    expected = [29 / 6, 29 / 6, 3.125, 31 / 6, 3.0, 2.5]
    np.testing.assert_allclose(training.to_polars()["c"], expected, rtol=1e-15)


@pytest.mark.parametrize("target", ["amount", "small", "bought", "count"])
@pytest.mark.parametrize("smooth", ["auto", 0.0, 3.5])
def test_parity_with_scikit_learn(target: str, smooth: Any) -> None:
    """The same encodings, missing values a category of their own; rtol 1e-12, for its sums are rounded."""
    train, test = samples(), samples(300, seed=1)
    names = ["city", "code"]
    goal = train[target].cast(pl.Float64).to_numpy()
    oracle = SkTarget(smooth=smooth, target_type="continuous").fit(as_objects(train, names), goal)
    pipe = fit(train, hr.TargetEncoder(target=target, smooth=smooth, columns=names))
    expected = oracle.transform(as_objects(test, names))
    np.testing.assert_allclose(pipe.transform(test).select(names).to_numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("smooth", ["auto", 2.0])
@pytest.mark.parametrize("target", ["amount", "bought"])
def test_cross_fitting_as_in_scikit_learn(target: str, smooth: Any) -> None:
    """Given scikit-learn's folds, training sees scikit-learn's encodings; rtol 1e-12."""
    train, names = samples(400), ["city", "code"]
    goal = train[target].to_numpy()
    kind = "binary" if target == "bought" else "continuous"
    splitter: Any = StratifiedKFold(4) if target == "bought" else KFold(4)
    fold = np.zeros(len(train), np.int64)
    for number, (_, rows) in enumerate(splitter.split(goal, goal)):
        fold[rows] = number * 10
    oracle = SkTarget(smooth=smooth, target_type=kind, cv=splitter)
    expected = oracle.fit_transform(as_objects(train, names), goal)
    step = hr.TargetEncoder(target=target, smooth=smooth, columns=names, fold_column="fold")
    dataset = hr.from_polars(train.with_columns(fold=fold))
    found = hr.Pipeline([step], dtype="float64").fit_transform(dataset, progress=False).to_polars()
    np.testing.assert_allclose(found.select(names).to_numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("row_groups", [1, 3, 97])
def test_row_groups_and_forms_do_not_matter(tmp_path: Path, row_groups: int) -> None:
    """Encodings have the same bits for any row groups, and in any order; folds follow the samples."""
    frame, new = samples(), samples(60, seed=1)
    steps = [hr.TargetEncoder(target="amount", columns=["city", "code"])]
    pipe, size = fit(frame, *steps), -(-len(frame) // row_groups)
    dataset = opened(tmp_path / "data", frame, 3, size)
    other = fit(dataset, *steps)
    assert_frame_equal(other[0].encodings_["city"], pipe[0].encodings_["city"], check_exact=True)
    shuffled = fit(
        opened(tmp_path / "mixed", frame.sample(fraction=1.0, shuffle=True, seed=1), 2, size), *steps
    )
    for name in ("city", "code"):
        both = [it[0].encodings_[name].select("value", "encoding") for it in (pipe, shuffled)]
        assert_frame_equal(*both, check_exact=True)

    whole = pipe.transform(new)
    rows = pl.concat([pipe.transform(new[k : k + 1]) for k in range(len(new))])
    assert_frame_equal(rows, whole, check_exact=True)
    assert_frame_equal(
        pipe.transform(opened(tmp_path / "new", new, 2, 7)).to_polars(), whole, check_exact=True
    )
    expected = hr.Pipeline(steps).fit_transform(hr.from_polars(frame), progress=False).to_polars()
    training = hr.Pipeline(steps).fit_transform(dataset, progress=False)
    assert_frame_equal(training.to_polars(), expected, check_exact=True)
    for batch in training.pack(x=["city", "code"]).loader(64, shuffle=True, output="numpy", with_ids=True):
        np.testing.assert_array_equal(
            batch["x"], expected.select("city", "code").to_numpy()[batch["sample_id"]]
        )


def test_folds_follow_the_sample_in_any_selection(tmp_path: Path) -> None:
    """In a part of the data, of which a loader may read single rows, each sample is without its own fold."""
    dataset = opened(tmp_path, samples(), 3, 50)
    part = dataset.split(train=0.6, test=0.4, seed=2)["train"]
    pipe = hr.Pipeline([hr.TargetEncoder(target="amount", columns="city", smooth=5.0)], dtype="float64")
    training = pipe.fit_transform(part, progress=False).to_polars()
    fold = folds_of(pl.DataFrame({SAMPLE_ID: part.sample_ids}), 5, 0, None)
    frame = part.to_polars().with_columns(fold=fold)
    for number in range(5):
        others, own = frame.filter(pl.col("fold") != number), frame.filter(pl.col("fold") == number)
        mean = others["amount"].mean()
        sums = others.group_by("city").agg((pl.col("amount").sum() + 5 * mean) / (pl.len() + 5))
        expected = own.select("city").join(
            sums, on="city", how="left", nulls_equal=True, maintain_order="left"
        )
        found = training.filter(frame["fold"] == number)["city"]
        np.testing.assert_allclose(found, expected["amount"].fill_null(mean), rtol=1e-12)
    assert pipe[0].encodings_["city"].columns == ["value", "encoding", *(f"fold_{it}" for it in range(5))]


def test_saved_and_loaded(tmp_path: Path) -> None:
    """A loaded encoder gives the same bits."""
    frame = samples()
    pipe = fit(frame, hr.TargetEncoder(target="amount", columns=["city", "code"]))
    pipe.save(tmp_path / "pipe.json")
    loaded = hr.Pipeline.load(tmp_path / "pipe.json")
    assert_frame_equal(loaded.transform(frame), pipe.transform(frame), check_exact=True)


def test_a_refit_reads_what_has_moved(tmp_path: Path) -> None:
    """States with folds are kept for a shard in its place: further on, its samples have other folds."""
    frame = samples(600)
    steps = [hr.TargetEncoder(target="amount", columns="city")]
    dataset = opened(tmp_path / "data", frame, 3, 50)
    fit(dataset, *steps, cache=tmp_path / "cache")
    again = fit(dataset, *steps, cache=tmp_path / "cache")
    assert again.fit_report is not None
    assert again.fit_report.row_groups == 0
    (tmp_path / "data" / "0000.parquet").unlink()
    fewer = hr.open(tmp_path / "data")
    refit = fit(fewer, *steps, cache=tmp_path / "cache")
    plain = fit(fewer, *steps)
    assert_frame_equal(refit[0].encodings_["city"], plain[0].encodings_["city"], check_exact=True)


def test_missing_targets_have_no_part() -> None:
    """Null and NaN targets are left out; a category that has no others is not known."""
    frame = pl.DataFrame({"c": ["a", "a", "b", "a"], "y": [1.0, None, float("nan"), 3.0]})
    pipe = fit(frame, hr.TargetEncoder(target="y", folds=None))
    assert pipe[0].encodings_["c"].rows() == [("a", 2.0)]
    assert pipe.transform({"c": "b"}) == {"c": 2.0}
    found = pipe.report(hr.from_polars(pl.DataFrame({"c": ["b", None, "a"]})))
    assert found.filter(pl.col("step") != "input").rows() == [
        ("1: TargetEncoder", "c", "missing", 1),
        ("1: TargetEncoder", "c", "unseen", 1),
    ]


def test_only_needed_columns_are_read(tmp_path: Path) -> None:
    """In training the target is not read for the encodings, a column of folds is."""
    frame = samples(90).with_columns(fold=pl.int_range(pl.len()) % 3)
    dataset = opened(tmp_path, frame, 1, 30)
    for step, read in (
        (hr.TargetEncoder(target="amount", columns="city"), ("city",)),
        (hr.TargetEncoder(target="amount", columns="city", fold_column="fold"), ("city", "fold")),
    ):
        training = hr.Pipeline([step]).fit_transform(dataset, progress=False).pack(x="city")
        assert training.recipe.columns == read
        assert sum(len(batch["x"]) for batch in training.loader(32, shuffle=True, output="numpy")) == 90


FRAME = pl.DataFrame({"c": ["a", "b"], "y": [1.0, 2.0], "text": ["yes", "no"], "fold": [0, None]})


@pytest.mark.parametrize(
    ("step", "frame", "error", "message"),
    [
        (hr.TargetEncoder(target="z"), FRAME, hr.UnknownColumnError, "z"),
        (hr.TargetEncoder(target="text"), FRAME, hr.SchemaError, "`text`.*one at a time as 0 and 1"),
        (
            hr.TargetEncoder(target="y", columns=["y"]),
            FRAME,
            hr.SchemaError,
            "`y` cannot be encoded by itself",
        ),
        (hr.TargetEncoder(target="y", fold_column="text"), FRAME, hr.SchemaError, "`text` must hold whole"),
        (
            hr.TargetEncoder(target="y", columns="c", fold_column="fold"),
            FRAME,
            hr.PrepareError,
            "needs a fold",
        ),
        (
            hr.TargetEncoder(target="y", columns="c"),
            FRAME.with_columns(y=float("inf")),
            hr.PrepareError,
            "`y`: 2 targets are infinite",
        ),
        (
            hr.TargetEncoder(target="y"),
            FRAME.with_columns(y=float("nan")),
            hr.PrepareError,
            "`y`: all targets",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    step: Any, frame: pl.DataFrame, error: type[Exception], message: str
) -> None:
    """The message names the column."""
    with pytest.raises(error, match=message):
        fit(frame, step)


def test_training_needs_folds_and_the_data_set() -> None:
    """Without folds, with all samples in one, or on a frame, there is no encoding out of fold."""
    frame = FRAME.select("c", "y")
    with pytest.raises(hr.StateError, match="no folds"):
        fit(frame, hr.TargetEncoder(target="y", folds=None))[0].for_training()
    with pytest.raises(hr.PrepareError, match="one fold"):
        fit(frame[:1], hr.TargetEncoder(target="y"))[0].for_training()
    step = fit(samples(), hr.TargetEncoder(target="amount", columns="city"))[0].for_training()
    with pytest.raises(hr.StateError, match="the data set that it was fitted to"):
        step.apply(samples())


@pytest.mark.parametrize(
    "settings", [{"smooth": "much"}, {"smooth": -1.0}, {"smooth": float("nan")}, {"folds": 1}]
)
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    """A setting that cannot be right is named."""
    with pytest.raises(hr.OptionError, match=next(iter(settings))):
        hr.TargetEncoder(target="y", **settings)
