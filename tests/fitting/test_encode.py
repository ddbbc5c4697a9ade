"""Encoders of categories: held against scikit-learn, and the same for one row and for a million."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from census import opened
from polars.testing import assert_frame_equal
from sklearn.preprocessing import MultiLabelBinarizer
from sklearn.preprocessing import OneHotEncoder as SkOneHot
from sklearn.preprocessing import OrdinalEncoder as SkOrdinal

import headrace as hr
from headrace.hashing.kernels import reference


def fit(frame: pl.DataFrame, *steps: Any) -> hr.Pipeline:
    return hr.Pipeline(steps, dtype="float64").fit(hr.from_polars(frame), progress=False)


def numbers(pipe: hr.Pipeline, values: list[Any], dtype: Any = None) -> list[int]:
    return pipe.transform(pl.DataFrame({"c": pl.Series(values, dtype=dtype)}))["c"].to_list()


def mixed(rows: int = 900, seed: int = 0) -> pl.DataFrame:
    """Columns of every kind of category, with missing values and some that are rare."""
    draw = np.random.default_rng(seed)
    code = np.minimum(draw.zipf(1.5, rows), 60)
    is_null = pl.Series(draw.random(rows) < 0.1)
    day = pl.Series(np.datetime64("2020-01-01") + code).cast(pl.Date)
    columns = {
        "text": pl.Series([f"wörd {it}" for it in code]),
        "whole": pl.Series(code - 30, dtype=pl.Int32),
        "float": pl.Series(code / 8),
        "day": day,
        "truth": pl.Series(code > 3),
        "category": pl.Series([f"k{it}" for it in code], dtype=pl.Categorical),
        "bytes": pl.Series([bytes([it]) for it in code.tolist()]),
    }
    frame = pl.DataFrame({name: column.set(is_null, None) for name, column in columns.items()})
    return frame.with_columns(pl.Series("tags", [[f"t{it}", f"t{it % 7}"][: it % 3] for it in code.tolist()]))


# The cases of the table of expected values


def test_case_25_one_hot_with_missing_and_unknown() -> None:
    """Categories in order, missing its own column, unseen all zeros, which go back to null."""
    frame = pl.DataFrame({"c": ["b", "a", None, "b"]})
    pipe = fit(frame, hr.OneHotEncoder())
    assert pipe.transform({"c": "z"}) == {"c=a": 0, "c=b": 0, "c=null": 0}
    assert pipe.transform({"c": None}) == {"c=a": 0, "c=b": 0, "c=null": 1}
    assert pipe.inverse_transform(pipe.transform({"c": "z"})) == {"c": None}
    assert_frame_equal(pipe.inverse_transform(pipe.transform(frame)), frame)
    with pytest.raises(hr.PrepareError, match=r"column `c`: 1 values are not in the vocabulary.*'z'"):
        fit(frame, hr.OneHotEncoder(on_unseen="raise")).transform({"c": "z"})


def test_case_26_infrequent_categories() -> None:
    """With `min_frequency`, infrequent and unseen categories share a column, or a number."""
    frame = pl.DataFrame({"c": list("aabcdd")})
    pipe = fit(frame, hr.OneHotEncoder(min_frequency=2))
    prepared = pipe.transform(pl.DataFrame({"c": ["a", "b", "d", "z"]}))
    assert prepared.columns == ["c=a", "c=d", "c=infrequent"]
    assert prepared.rows() == [(1, 0, 0), (0, 0, 1), (0, 1, 0), (0, 0, 1)]
    assert numbers(fit(frame, hr.OrdinalEncoder(min_frequency=2)), ["a", "b", "d", "z", None]) == [
        2,
        1,
        3,
        1,
        0,
    ]


def test_case_27_ordinal_of_floats_with_nan() -> None:
    """1, 3 and NaN: known from 2 on, unseen 1, missing 0."""
    pipe = fit(pl.DataFrame({"c": [1.0, 3.0, float("nan")]}), hr.OrdinalEncoder())
    assert numbers(pipe, [3.0, 2.0, float("nan"), None]) == [3, 1, 0, 0]
    assert pipe.transform({"c": 3}) == {"c": 3}
    assert pipe.inverse_transform({"c": 3}) == {"c": 3.0}


# Parity with scikit-learn


@pytest.mark.parametrize("name", ["text", "whole", "float", "truth", "category"])
@pytest.mark.parametrize("settings", [{}, {"min_frequency": 5}, {"min_frequency": 0.02}])
def test_parity_with_scikit_learn(name: str, settings: dict[str, Any]) -> None:
    """The same categories in the same order; numbers differ by what stands before them."""
    train, test = mixed().select(name).drop_nulls(), mixed(seed=1).select(name).drop_nulls()
    fitted, asked = (np.array(it[name].to_list(), object)[:, None] for it in (train, test))
    oracle = SkOneHot(sparse_output=False, handle_unknown="infrequent_if_exist", **settings).fit(fitted)
    pipe = fit(train, hr.OneHotEncoder(**settings))
    np.testing.assert_array_equal(pipe.transform(test).to_numpy(), oracle.transform(asked))
    sparse = fit(train, hr.OneHotEncoder(**settings, sparse=True)).transform(hr.from_polars(test))
    (batch,) = sparse.loader(len(test), output="numpy")
    np.testing.assert_array_equal(batch[name].to_dense(), oracle.transform(asked))

    ordinal = SkOrdinal(handle_unknown="use_encoded_value", unknown_value=-1, **settings).fit(fitted)
    expected = ordinal.transform(asked)[:, 0] + 2
    infrequent = ordinal.infrequent_categories_[0] if settings else None
    if infrequent is not None:
        expected[expected == len(oracle.get_feature_names_out()) + 1] = 1
    found = fit(train, hr.OrdinalEncoder(**settings)).transform(test)[name].to_numpy()
    np.testing.assert_array_equal(found, expected)


def test_first_dropped_as_in_scikit_learn() -> None:
    """`drop="first"` leaves out one column, and its category can still be told."""
    train = mixed().select("text", "whole").drop_nulls()
    oracle = SkOneHot(sparse_output=False, drop="first").fit(train.to_pandas())
    pipe = fit(train, hr.OneHotEncoder(drop="first"))
    np.testing.assert_array_equal(pipe.transform(train).to_numpy(), oracle.transform(train.to_pandas()))
    assert_frame_equal(pipe.inverse_transform(pipe.transform(train)), train)


def test_multi_hot_as_in_scikit_learn() -> None:
    """Lists of categories are marked in a column each, dense or sparse."""
    frame = mixed().select("tags")
    oracle = MultiLabelBinarizer().fit(frame["tags"].to_list())
    expected = oracle.transform(frame["tags"].to_list())
    prepared = fit(frame, hr.MultiHot()).transform(frame)
    assert prepared.columns == [f"tags={it}" for it in oracle.classes_]
    np.testing.assert_array_equal(prepared.to_numpy(), expected)
    sparse = fit(frame, hr.MultiHot(sparse=True)).transform(hr.from_polars(frame))
    (batch,) = sparse.loader(len(frame), output="numpy")
    np.testing.assert_array_equal(batch["tags"].to_dense(), expected)


# What does not matter

STEPS: list[Any] = [
    [hr.OrdinalEncoder(columns=pl.exclude("tags"))],
    [
        hr.OrdinalEncoder(
            columns=pl.exclude("tags"), min_frequency=3, max_size=9, oov_buckets=3, dtype="int32"
        )
    ],
    [hr.OneHotEncoder(columns=pl.exclude("tags"), max_size=12), hr.MultiHot()],
    [hr.OneHotEncoder(columns=["text", "day"], sparse=True), hr.MultiHot(min_frequency=4, sparse=True)],
    [hr.HashEncoder(columns=pl.exclude("tags"), buckets=97, seed=5)],
]


@pytest.mark.parametrize("steps", STEPS)
def test_row_groups_and_forms_do_not_matter(tmp_path: Path, steps: list[Any]) -> None:
    """1, 3 or 97 row groups, shards in any order: one vocabulary; one row, a frame, a batch: one code."""
    frame, new = mixed(), mixed(120, seed=1)
    pipes = [fit(frame, *steps)]
    for row_groups in (1, 3, 97):
        shuffled = frame.sample(fraction=1.0, shuffle=True, seed=row_groups)
        dataset = opened(tmp_path / str(row_groups), shuffled, 2, -(-len(frame) // row_groups))
        pipes.append(hr.Pipeline(steps, dtype="float64").fit(dataset, progress=False))
    whole = pipes[0].transform(new)
    prints = {hr.from_polars(new).prepare(pipe).fingerprint for pipe in pipes}
    assert len(prints) == 1
    rows = pl.concat([pipes[0].transform(new[k : k + 1]) for k in range(len(new))])
    assert_frame_equal(rows, whole, check_exact=True)
    dataset = pipes[0].transform(opened(tmp_path / "new", new, 3, 7))
    assert_frame_equal(dataset.to_polars(), whole, check_exact=True)
    pipes[0].save(tmp_path / "pipe.json")
    loaded = hr.Pipeline.load(tmp_path / "pipe.json")
    assert_frame_equal(loaded.transform(new), whole, check_exact=True)


@pytest.mark.parametrize("step", [hr.OrdinalEncoder(), hr.OneHotEncoder(max_size=100)])
def test_there_and_back(step: Any) -> None:
    """Every kind of category comes back as it was, in its own type; categoricals as texts."""
    frame = mixed().drop("tags")
    pipe = fit(frame, step)
    expected = frame.with_columns(pl.col("category").cast(pl.String))
    assert_frame_equal(pipe.inverse_transform(pipe.transform(frame)), expected)


# Policies


def test_the_most_frequent_stay_and_ties_go_to_the_smaller() -> None:
    """`max_size` decides equal counts by value, whatever came first."""
    frame = pl.DataFrame({"c": list("zzyyxxw")})
    pipe = fit(frame, hr.OrdinalEncoder(max_size=2))
    assert pipe[0].categories_["c"].to_list() == ["x", "y"]
    assert pipe[0].sizes_ == {"c": 4}
    assert pipe[0].is_cut_ == {"c": True}


def test_buckets_of_unseen_values_are_hashes() -> None:
    """Out-of-vocabulary buckets are XXH64 of the value's bytes, behind missing and before the known."""
    pipe = fit(pl.DataFrame({"c": ["a", "b"]}), hr.OrdinalEncoder(oov_buckets=7))
    words = [f"word {number}" for number in range(50)]
    assert numbers(pipe, words) == [1 + reference(word.encode(), 0) % 7 for word in words]
    assert numbers(pipe, ["a", "b", None]) == [8, 9, 0]


@pytest.mark.parametrize(
    ("values", "dtype", "data"),
    [
        (["abc"], None, [b"abc"]),
        (["é"], pl.Categorical, ["é".encode()]),
        ([b"\0\1"], None, [b"\0\1"]),
        ([-1, 7], pl.Int8, [(2**64 - 1).to_bytes(8, "little"), (7).to_bytes(8, "little")]),
        ([2**63], pl.UInt64, [(2**63).to_bytes(8, "little")]),
        ([True], None, [(1).to_bytes(8, "little")]),
        ([0.0, -0.0, 1.5], None, [bytes(8), bytes(8), np.float64(1.5).tobytes()]),
        ([1.5], pl.Float32, [np.float64(1.5).tobytes()]),
        ([dt.date(1970, 1, 3)], None, [(2).to_bytes(8, "little")]),
    ],
)
def test_hashes_are_xxh64_of_stated_bytes(values: list[Any], dtype: Any, data: list[bytes]) -> None:
    """A hash encoder's numbers can be computed by anyone."""
    for seed in (0, 2**64 - 1):
        pipe = fit(
            pl.DataFrame({"c": pl.Series(values, dtype=dtype)}), hr.HashEncoder(buckets=10**6, seed=seed)
        )
        assert numbers(pipe, values, dtype) == [reference(it, seed) % 10**6 for it in data]
        assert numbers(pipe, [None], dtype) == [10**6]


def test_a_whole_number_that_comes_as_a_float_has_its_hash() -> None:
    """Where missing values made floats of whole numbers, as in pandas, the hash is that of the fit."""
    pipe = fit(pl.DataFrame({"c": [1, 2]}), hr.HashEncoder(buckets=1000))
    assert numbers(pipe, [2.0, float("nan")]) == [*numbers(pipe, [2]), 1000]


def test_unseen_and_missing_values_are_counted() -> None:
    """The report says what the policies met; what the fit left out cannot be told from unseen."""
    train = pl.DataFrame({"c": list("aab"), "d": list("aab"), "t": [["x"], ["x"], ["y"]]})
    pipe = fit(
        train, hr.OrdinalEncoder(columns="c"), hr.OneHotEncoder(columns="d", min_frequency=2), hr.MultiHot()
    )
    test = pl.DataFrame({"c": ["a", "q", None], "d": ["a", "b", "q"], "t": [["q", "q"], None, ["x", "p"]]})
    found = pipe.report(hr.from_polars(test)).filter(pl.col("step") != "input").rows()
    assert found == [
        ("1: OrdinalEncoder", "c", "missing", 1),
        ("1: OrdinalEncoder", "c", "unseen", 1),
        ("2: OneHotEncoder", "d", "unseen_or_infrequent", 2),
        ("3: MultiHot", "t", "missing", 1),
        ("3: MultiHot", "t", "unseen", 3),
    ]


def test_null_lists_and_null_members() -> None:
    """A list that is null or holds a null is marked as such, an empty one not at all."""
    frame = pl.DataFrame({"c": [["a", None], None, [], ["a", "a"]]})
    prepared = fit(frame, hr.MultiHot()).transform(frame)
    assert prepared.columns == ["c=a", "c=null"]
    assert prepared.rows() == [(1, 1), (0, 1), (0, 0), (1, 0)]
    wide = frame[3:].with_columns(pl.col("c").cast(pl.Array(pl.String, 2)))
    assert fit(frame, hr.MultiHot()).transform(wide).rows() == [(1, 0)]


def test_names_that_would_be_taken_for_special_ones() -> None:
    """A text "null" beside missing values is put in quotes; two equal names are refused."""
    frame = pl.DataFrame({"c": ["null", None, "x", "infrequent"]})
    assert fit(frame, hr.OneHotEncoder()).transform(frame).columns == [
        "c=infrequent", 'c="null"', "c=x", "c=null"
    ]  # fmt: skip
    frame = pl.DataFrame({"a": ["b=c"], "a=b": ["c"]})
    with pytest.raises(hr.PrepareError, match="two columns `a=b=c`"):
        fit(frame, hr.OneHotEncoder())


def test_only_wanted_columns_are_made() -> None:
    """A recipe that packs some of the columns makes no others, and reads only what they need."""
    dataset = hr.from_polars(mixed().drop("category", "bytes"))
    pipe = hr.Pipeline([hr.OneHotEncoder(columns=["text", "whole", "day"])]).fit(dataset, progress=False)
    packed = pipe.transform(dataset).pack(x=["text=wörd 2", "whole=null"], y="truth", null_mask=True)
    (batch,) = packed.loader(len(dataset), output="numpy")
    frame = dataset.to_polars()
    expected = [frame["text"] == "wörd 2", frame["whole"].is_null()]
    np.testing.assert_array_equal(batch["x"], np.stack([it.fill_null(False) for it in expected], 1))
    assert packed.recipe.columns == ("text", "whole", "truth")


def test_later_steps_see_the_columns_of_categories() -> None:
    """A step behind an encoder is fitted to what it makes, without being told the names."""
    frame = pl.DataFrame({"c": ["a", "b", "b", "b"], "x": [1.0, 2.0, 3.0, 4.0]})
    pipe = fit(frame, hr.OneHotEncoder(columns="c"), hr.StandardScaler())
    assert pipe[1].mean_ == {"c=a": 0.25, "c=b": 0.75, "x": 2.5}
    assert pipe.fit_report is not None
    assert pipe.fit_report.scans == 2


def test_a_column_that_is_all_missing() -> None:
    """It has no categories: every value that comes later is unseen."""
    for frame in (pl.DataFrame({"c": pl.Series([None, None], dtype=kind)}) for kind in (pl.String, pl.Null)):
        pipe = fit(frame, hr.OrdinalEncoder())
        assert numbers(pipe, [None, None]) == [0, 0]
        assert fit(frame, hr.OneHotEncoder()).transform(frame).to_dict(as_series=False) == {"c=null": [1, 1]}


def test_too_many_columns_are_refused() -> None:
    """A column of names or numbers does not become one column for each of them unless a limit is given."""
    frame = pl.DataFrame({"c": np.arange(20_000)})
    with pytest.raises(hr.PrepareError, match="column `c` has 20000 categories"):
        fit(frame, hr.OneHotEncoder())
    assert fit(frame, hr.OneHotEncoder(max_size=2)).transform({"c": 0}).keys() == {
        "c=0",
        "c=1",
        "c=infrequent",
    }
    assert fit(frame, hr.OneHotEncoder(sparse=True)).transform(frame)["c"].list.len().unique().to_list() == [
        1
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hr.OrdinalEncoder(min_frequency=0), "min_frequency"),
        (lambda: hr.OrdinalEncoder(min_frequency=1.5), "min_frequency"),
        (lambda: hr.OneHotEncoder(max_size=0), "max_size"),
        (lambda: hr.OrdinalEncoder(oov_buckets=0), "oov_buckets"),
        (lambda: hr.OrdinalEncoder(dtype="float32"), "int64"),  # pyright: ignore[reportArgumentType]
        (lambda: hr.OneHotEncoder(dtype="int64"), "uint8"),  # pyright: ignore[reportArgumentType]
        (lambda: hr.OneHotEncoder(drop="last"), "first"),  # pyright: ignore[reportArgumentType]
        (lambda: hr.MultiHot(on_unseen="ignore"), "raise"),  # pyright: ignore[reportArgumentType]
        (lambda: hr.HashEncoder(buckets=0), "buckets"),
        (lambda: hr.HashEncoder(buckets=2**31, dtype="int32"), "buckets"),
        (lambda: hr.HashEncoder(buckets=2, seed=-1), "seed"),
    ],
)
def test_settings_are_checked(make: Any, message: str) -> None:
    """A setting that cannot be right is named."""
    with pytest.raises(hr.OptionError, match=message):
        make()


@pytest.mark.parametrize(
    ("step", "column"),
    [
        (hr.OrdinalEncoder(columns="c"), [[1], [2]]),
        (hr.MultiHot(columns="c"), ["a", "b"]),
        (hr.HashEncoder(buckets=3, columns="c"), [{"a": 1}]),
    ],
)
def test_types_are_checked(step: Any, column: list[Any]) -> None:
    """A column of another type is named."""
    with pytest.raises(hr.SchemaError, match="cannot treat column `c`"):
        fit(pl.DataFrame({"c": column}), step)
