"""Scalers to and from scikit-learn: the same numbers on both sides, and a name for what has no equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import pipeline, preprocessing

import headrace as hr

DRAWS = np.random.default_rng(0)
DATA = {"a": DRAWS.normal(5, 3, 200), "b": DRAWS.lognormal(0, 2, 200), "c": np.full(200, 7.0)}
FRAME = pd.DataFrame(DATA)
SAMPLES = hr.from_arrays(DATA)

STEPS = [
    hr.StandardScaler(),
    hr.StandardScaler(with_mean=False),
    hr.StandardScaler(with_std=False),
    hr.MinMaxScaler((-1, 2)),
    hr.MinMaxScaler(clip=True),
    hr.MaxAbsScaler(),
    hr.RobustScaler(),
    hr.RobustScaler((10, 90), with_centering=False),
    hr.RobustScaler(with_scaling=False),
    hr.Normalizer("l1"),
]


def estimators() -> list[Any]:
    return [
        preprocessing.StandardScaler(),
        preprocessing.StandardScaler(with_mean=False),
        preprocessing.StandardScaler(with_std=False),
        preprocessing.MinMaxScaler((-1, 2)),
        preprocessing.MinMaxScaler(clip=True),
        preprocessing.MaxAbsScaler(),
        preprocessing.RobustScaler(),
        preprocessing.RobustScaler(quantile_range=(10, 90), with_centering=False),
        preprocessing.RobustScaler(with_scaling=False),
        preprocessing.Normalizer("l1"),
    ]


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_both_ways(number: int) -> None:
    """Fitted here and there, handed over and back: equal to rtol 1e-12."""
    fresh = {name: values * 1.7 - 3 for name, values in DATA.items()}
    pipe = hr.Pipeline([STEPS[number]], dtype="float64").fit(SAMPLES, progress=False)
    theirs = estimators()[number].fit(FRAME)

    for transform in (pipe.to_sklearn().transform, theirs.transform):
        expected = np.column_stack(list(pipe.transform(fresh).values()))
        np.testing.assert_allclose(transform(pd.DataFrame(fresh)), expected, rtol=1e-12, atol=1e-12)
    read = hr.Pipeline.from_sklearn(theirs)
    ours = np.column_stack(list(read.transform(fresh).values()))
    np.testing.assert_allclose(ours, theirs.transform(pd.DataFrame(fresh)), rtol=1e-12, atol=1e-12)
    assert read.to_sklearn().steps[0][1].get_params() == pipe.to_sklearn().steps[0][1].get_params()


def test_a_chain_both_ways() -> None:
    """Several steps after each other, with names given for an array."""
    chain = pipeline.make_pipeline(preprocessing.RobustScaler(), preprocessing.MinMaxScaler())
    chain.fit(FRAME.to_numpy())
    read = hr.Pipeline.from_sklearn(chain, columns=["a", "b", "c"])

    found = np.column_stack(list(read.transform(DATA).values()))
    np.testing.assert_allclose(found, chain.transform(FRAME.to_numpy()), rtol=1e-12)
    np.testing.assert_allclose(read.to_sklearn().transform(FRAME), found, rtol=1e-12)


def test_what_has_no_equal_is_named() -> None:
    """Nothing is handed over that would do something else."""
    fitted = {
        "OrdinalEncoder": hr.Pipeline([hr.OrdinalEncoder(columns="a")]),
        "different|same": hr.Pipeline([hr.StandardScaler(columns="a"), hr.MaxAbsScaler(columns="b")]),
        "ddof": hr.Pipeline([hr.StandardScaler(ddof=1)]),
    }
    for message, pipe in fitted.items():
        with pytest.raises(hr.OptionError, match=message):
            pipe.fit(SAMPLES, progress=False).to_sklearn()
    with pytest.raises(hr.StateError, match="fit"):
        hr.Pipeline([hr.StandardScaler()]).to_sklearn()
    with pytest.raises(hr.OptionError, match="OneHotEncoder"):
        hr.Pipeline.from_sklearn(preprocessing.OneHotEncoder().fit(FRAME))
    with pytest.raises(hr.OptionError, match="fitted"):
        hr.Pipeline.from_sklearn(preprocessing.StandardScaler())
    with pytest.raises(hr.OptionError, match="3 columns"):
        hr.Pipeline.from_sklearn(preprocessing.StandardScaler().fit(FRAME), columns=["a"])


def test_what_scikit_learn_fitted_can_be_saved(tmp_path: Path) -> None:
    """It serves from a file like any other pipeline."""
    scaler = preprocessing.StandardScaler().fit(np.array([[1.0], [3.0]]))
    hr.Pipeline.from_sklearn(scaler, columns=["x"]).save(tmp_path / "pipe.json")
    assert hr.Pipeline.load(tmp_path / "pipe.json").transform({"x": 3}) == {"x": 1.0}
