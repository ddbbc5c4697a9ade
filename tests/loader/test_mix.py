"""`hr.mix`: data sets in exact proportions, resumable and elastic like any other data set."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from loader_data import parquet

import headrace as hr
from headrace.testing import LoaderTests


def numbers(begin: int, end: int) -> hr.Dataset:
    return hr.from_arrays(
        {"x": np.arange(begin, end), "name": [f"n{number}" for number in range(begin, end)]}
    )


def mixed(**options: object) -> hr.Dataset:
    return hr.mix({"a": numbers(0, 30), "b": numbers(100, 112)}, {"a": 2, "b": 1}, **options)  # type: ignore[arg-type]


class TestMixed(LoaderTests):
    """Until all samples were delivered once, the contract of any data set holds."""

    @pytest.fixture
    def dataset(self) -> hr.Dataset:
        return mixed(stop="all", seed=3)

    def source_order(self, dataset: hr.Dataset) -> list[int]:
        """Two of `a` and one of `b`, each in its own order, while both last."""
        ids = [
            int(id) for batch in dataset.loader(3, output="numpy", with_ids=True) for id in batch["sample_id"]
        ]
        for begin in range(0, 36, 3):
            assert sorted(id >= 30 for id in ids[begin : begin + 3]) == [False, False, True]
        assert [id for id in ids if id < 30] == list(range(30))
        assert [id for id in ids if id >= 30] == list(range(30, 42))
        return ids


class ShuffledTests(LoaderTests):
    """The contract for the order that users choose most."""

    @pytest.fixture(params=[True], ids=str)
    def shuffle(self, request: pytest.FixtureRequest) -> Any:
        return request.param


class TestMixedFiles(ShuffledTests):
    """Parts in files, prepared and selected each in its own way."""

    batch_size = 7

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> hr.Dataset:
        one, two = tmp_path / "one", tmp_path / "two"
        one.mkdir()
        two.mkdir()
        left = parquet(one)
        right = parquet(two).rows(range(5, 25))
        column = left.schema.names[0]
        return hr.mix(
            {"left": left.select([column]), "right": right.with_columns(pl.col(column) * 1).select([column])},
            stop="all",
        )

    def source_order(self, dataset: hr.Dataset) -> list[int]:
        ids = [
            int(id) for batch in dataset.loader(1, output="numpy", with_ids=True) for id in batch["sample_id"]
        ]
        assert sorted(ids) == dataset.sample_ids.tolist()
        return ids


@pytest.mark.parametrize("shuffle", [False, True, "global"])
def test_stop_first(shuffle: object) -> None:
    """Every window of three holds two of `a` and one of `b`; `b` has 12, so that there are 12 windows."""
    loader = mixed().loader(3, shuffle=shuffle, output="numpy")  # type: ignore[arg-type]
    batches = [batch["x"] for batch in loader]
    assert len(batches) == len(loader) == 12
    assert all(sorted(values >= 100) == [False, False, True] for values in batches)


def test_stop_cycle() -> None:
    """`b` begins anew, in another order, until `a` was delivered once."""
    batches = list(mixed(stop="cycle").loader(45, shuffle=True, output="numpy"))
    values = batches[0]["x"]
    assert sorted(values[values < 100].tolist()) == list(range(30))
    rare = values[values >= 100].tolist()
    assert sorted(rare[:12]) == list(range(100, 112))
    assert len(rare) == 15
    assert len(set(rare[12:])) == 3


def test_the_part_is_a_column() -> None:
    """`column=` names each sample's part; text and values stay together."""
    for batch in mixed(column="part").loader(5, shuffle=True, output="numpy"):
        assert batch["part"] == ["b" if value >= 100 else "a" for value in batch["x"]]
        assert batch["name"] == [f"n{value}" for value in batch["x"]]


def test_verbs_follow() -> None:
    """What comes after a mix applies to all parts: expressions, pack, sets of samples."""
    ds = mixed(stop="all").with_columns(twice=pl.col("x") * 2).pack(y="twice", x=["x", "twice"])
    assert len(ds) == 42
    for batch in ds.loader(4, shuffle=True):
        assert batch["y"].tolist() == (batch["x"][:, 0] * 2).tolist()
    assert ds.take([41, 0])["y"].tolist() == [222, 0]
    assert ds.rows([40, 2]).take([40])["y"].tolist() == [220]


def test_a_mix_is_a_value() -> None:
    """It survives pickling; weights, seed and parts are in its fingerprint, and in a state."""
    ds = mixed()
    copy = pickle.loads(pickle.dumps(ds))
    assert copy.fingerprint == ds.fingerprint
    others = [mixed(seed=1), mixed(stop="all"), mixed(column="part")]
    assert len({ds.fingerprint, *(other.fingerprint for other in others)}) == 4
    state = ds.loader(3, shuffle=True).state_dict()
    with pytest.raises(hr.StateError, match="shuffle"):
        mixed(seed=1).loader(3, shuffle=True).load_state_dict(state)


@pytest.mark.parametrize(
    ("parts", "weights", "message"),
    [
        ({}, None, "at least one data set"),
        ([numbers(0, 3)], None, "takes mappings"),
        ({"a": numbers(0, 3)}, [1], "takes mappings"),
        ({"a": numbers(0, 3)}, {"b": 1}, "must name each part once"),
        ({"a": numbers(0, 3).pack(x="x")}, None, "part `a` of a mix must not be packed"),
        ({"a": mixed()}, None, "part `a` of a mix must not be packed, augmented or a mix"),
        ({"a": numbers(0, 3), "b": numbers(0, 3).drop(["name"])}, None, "column `name` must be the same"),
        (
            {"a": numbers(0, 3), "b": numbers(0, 3).with_columns(pl.col("x").cast(pl.Int8))},
            None,
            "int64 in `a` and int8 in `b`",
        ),
    ],
)
def test_mixes_that_cannot_be(
    parts: dict[str, hr.Dataset], weights: dict[str, float] | None, message: str
) -> None:
    """What does not fit together is named when the mix is made."""
    with pytest.raises(hr.HeadraceError, match=message):
        hr.mix(parts, weights)


def test_a_part_that_cannot_fill_a_window() -> None:
    """With `stop="first"` such a mix has no step, which is said before a batch is asked for."""
    ds = hr.mix({"a": numbers(0, 30), "b": numbers(0, 5).rows([])})
    with pytest.raises(hr.OptionError, match="at least one sample"):
        ds.loader(3)
