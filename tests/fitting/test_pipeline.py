"""A fitted pipeline gives the same numbers in every form, and survives being saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import polars.selectors as cs
import pyarrow.parquet as pq
import pytest
from census import opened, people
from polars.testing import assert_frame_equal

import headrace as hr


@pytest.fixture(scope="module")
def pipe() -> hr.Pipeline:
    steps = [hr.StandardScaler(), hr.StandardScaler(columns=["far"], with_std=False)]
    return hr.Pipeline(steps).fit(hr.from_polars(people()), progress=False)


def test_one_row_a_frame_and_a_batch_are_bit_equal(tmp_path: Path, pipe: hr.Pipeline) -> None:
    """Serving, frames, data sets and loaders give the same bits."""
    frame = people(200, seed=9)
    whole = pipe.transform(frame)
    assert_frame_equal(
        pl.concat([pipe.transform(frame[k : k + 1]) for k in range(200)]), whole, check_exact=True
    )
    rows = [pipe.transform(row) for row in frame.iter_rows(named=True)]
    assert_frame_equal(pl.DataFrame(rows, whole.schema), whole, check_exact=True)

    dataset = pipe.transform(opened(tmp_path, frame, 3, 7))
    assert_frame_equal(dataset.to_polars(), whole, check_exact=True)
    numbers = ["height", "far", "age"]
    for batch in dataset.pack(x=numbers).loader(64, shuffle=True, output="numpy", with_ids=True):
        np.testing.assert_array_equal(batch["x"], whole[numbers].to_numpy()[batch["sample_id"]])


def test_a_written_file_holds_the_same_bits(tmp_path: Path, pipe: hr.Pipeline) -> None:
    """Prepared, written to Parquet and opened again, samples are those of the frame."""
    frame = people(200, seed=9)
    prepared = pipe.transform(opened(tmp_path / "raw", frame, 3, 7)).to_arrow()
    pq.write_table(prepared, tmp_path / "ready.parquet", row_group_size=50)
    again = hr.open(tmp_path / "ready.parquet").to_polars()
    assert_frame_equal(again, pipe.transform(frame), check_exact=True)


def test_pandas_and_arrays(pipe: hr.Pipeline) -> None:
    """A frame of pandas keeps its index, a dict of arrays stays one."""
    frame = people(30, seed=2)
    expected = pipe.transform(frame)
    table = pd.DataFrame(frame.to_dict(as_series=False), index=range(100, 130))
    prepared = pipe.transform(table)
    assert list(prepared.index) == list(range(100, 130))
    np.testing.assert_array_equal(prepared["far"].to_numpy(), expected["far"].to_numpy())
    arrays = pipe.transform({name: frame[name].to_numpy() for name in frame.columns})
    np.testing.assert_array_equal(arrays["far"], expected["far"].to_numpy())


def test_only_wanted_columns_need_be_there(pipe: hr.Pipeline) -> None:
    """Serving names the columns that it wants, and gives only those that they follow from."""
    assert pipe.transform({"age": 30, "far": 1e8}, columns=["age"]).keys() == {"age"}
    with pytest.raises(hr.UnknownColumnError, match="income"):
        pipe.transform({"age": 30})


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"height": "tall"}, hr.SchemaError, "column `height` must hold Float32"),
        ({"height": [1.0], "age": 3}, hr.OptionError, "only `age` holds one value"),
        ({"height": [1.0], "age": [3, 4]}, hr.OptionError, "equally long"),
        ({}, hr.OptionError, "at least one column"),
        ([1.0], hr.OptionError, "dict of arrays"),
        (pl.LazyFrame({"height": [1.0]}), hr.OptionError, "collect"),
        (pl.DataFrame({"height": ["tall"]}), hr.SchemaError, "column `height` must hold Float32"),
    ],
)
def test_other_data_is_refused(pipe: hr.Pipeline, data: Any, error: type[Exception], message: str) -> None:
    """What does not fit is named."""
    with pytest.raises(error, match=message):
        pipe.transform(data)


def test_floats_have_the_wanted_dtype() -> None:
    """New floats are float32 unless another dtype is asked for; other columns keep theirs."""
    frame = people(30)
    for dtype, kind in (("float32", pl.Float32), ("float64", pl.Float64), ("float16", pl.Float16)):
        prepared = hr.Pipeline([hr.StandardScaler(columns=["far", "age"])], dtype=dtype).fit(
            hr.from_polars(frame)
        )
        schema = prepared.transform(frame).schema
        assert schema["far"] == schema["age"] == kind
        assert schema["height"] == pl.Float32
    with pytest.raises(hr.OptionError, match="float32"):
        hr.Pipeline([hr.StandardScaler()], dtype="int8")


def test_bfloat16_is_that_of_torch() -> None:
    """Numbers are rounded as torch rounds them, missing ones stay, and large ones do not become infinite."""
    torch = pytest.importorskip("torch")
    draws = np.random.default_rng(3)
    numbers = np.concatenate(
        [draws.normal(size=2000) * 10.0 ** draws.integers(-45, 38, 2000), [0.0, -0.0, 1.00390625]]
    )
    frame = pl.DataFrame({"x": [None, *numbers], "y": [3.4e38, -3.4e38, *numbers[1:]]})
    steps = [hr.MaxAbsScaler(columns="x"), hr.StandardScaler(columns="y", with_mean=False, with_std=False)]
    wide, short = (hr.Pipeline(steps, dtype=it).fit(hr.from_polars(frame)) for it in ("float32", "bfloat16"))

    rounded = short.transform(frame)
    assert rounded.schema == wide.transform(frame).schema
    assert rounded["x"][0] is None
    expected = torch.tensor(wide.transform(frame)["x"][1:].to_numpy().copy()).bfloat16().float().numpy()
    np.testing.assert_array_equal(rounded["x"][1:].to_numpy(), expected)
    largest = float(torch.finfo(torch.bfloat16).max)
    assert rounded["y"][:2].to_list() == [largest, -largest]
    assert short.transform({"x": 1.0, "y": 3.4e38})["y"] == largest


def test_saved_and_loaded(tmp_path: Path, pipe: hr.Pipeline) -> None:
    """A loaded pipeline is equal, and saved again it is the same file, byte for byte."""
    pipe.save(tmp_path / "a.json")
    loaded = hr.Pipeline.load(tmp_path / "a.json")
    loaded.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    frame = people(100, seed=4)
    assert_frame_equal(loaded.transform(frame), pipe.transform(frame), check_exact=True)
    dataset = hr.from_polars(frame)
    assert dataset.prepare(loaded).fingerprint == dataset.prepare(pipe).fingerprint
    provenance = json.loads((tmp_path / "a.json").read_text())["provenance"]
    assert provenance["data"] == hr.from_polars(people()).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(format="other"),
        lambda content: content.update(version=99),
        lambda content: content["steps"][0].update(step="os.system"),
        lambda content: content["steps"][0].pop("learned"),
        lambda content: content["steps"][0]["settings"].update(unknown=1),
        lambda content: content.pop("schema"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, pipe: hr.Pipeline, change: Any) -> None:
    """Whatever is wrong in a file is one error that names it."""
    path = tmp_path / "pipe.json"
    pipe.save(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(hr.CorruptSourceError, match="pipe"):
        hr.Pipeline.load(path)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    """Nothing there, and something else there."""
    with pytest.raises(hr.MissingSourceError, match="no such file"):
        hr.Pipeline.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("hello")
    with pytest.raises(hr.CorruptSourceError, match="text"):
        hr.Pipeline.load(tmp_path / "text.json")


def test_an_unfitted_pipeline_says_so(tmp_path: Path) -> None:
    """Everything that needs a fit asks for one."""
    plain = hr.Pipeline([hr.StandardScaler()])
    dataset = hr.from_polars(people(10))
    for use in (
        lambda: plain.transform(people(10)),
        lambda: dataset.prepare(plain),
        lambda: dataset.prepare(hr.StandardScaler()),
        lambda: plain.save(tmp_path / "x.json"),
        plain.report,
    ):
        with pytest.raises(hr.StateError, match="fit"):
            use()
    with pytest.raises(AttributeError, match="call `fit` first"):
        _ = plain[0].mean_


def test_a_later_fit_changes_no_data_set() -> None:
    """A data set keeps what the pipeline had learned when it was prepared."""
    pipe = hr.Pipeline([hr.StandardScaler(columns="far")]).fit(hr.from_polars(people(50)))
    dataset = hr.from_polars(people(10)).prepare(pipe)
    before = dataset.to_polars()
    pipe.fit(hr.from_polars(people(50, seed=8)))
    assert_frame_equal(dataset.to_polars(), before, check_exact=True)


def test_only_needed_columns_are_read(tmp_path: Path, pipe: hr.Pipeline) -> None:
    """Nothing is read or scaled that nobody wants."""
    dataset = opened(tmp_path, people(50)).prepare(pipe).select(["age"])
    assert dataset.recipe.columns == ("age",)


def test_inverse(pipe: hr.Pipeline) -> None:
    """What was scaled can be scaled back."""
    frame = people(50, seed=3)
    wide = hr.Pipeline(pipe.clone().steps, dtype="float64").fit(hr.from_polars(frame))
    back = wide.inverse_transform(wide.transform(frame))
    for name in ("height", "far", "age"):
        np.testing.assert_allclose(back[name].to_numpy(), frame[name].to_numpy(), rtol=1e-12)
    with pytest.raises(hr.OptionError, match="not a data set"):
        wide.inverse_transform(hr.from_polars(frame))


def test_report_counts_what_comes_in() -> None:
    """Nulls, NaN and infinities are counted, of any data set."""
    frame = people(100)
    report = hr.Pipeline([hr.StandardScaler()]).fit(hr.from_polars(frame)).report()
    found = {(column, event): count for _, column, event, count in report.iter_rows()}
    assert found["income", "null"] == frame["income"].null_count()
    assert found["income", "nan"] == frame["income"].is_nan().sum()
    assert found["city", "null"] == frame["city"].null_count()


def test_text_form(pipe: hr.Pipeline) -> None:
    """The text shows the chain, and which columns each step treats."""
    assert "  StandardScaler()  # income, height, far, age: mean_, var_, scale_, n_seen_\n" in repr(pipe)
    assert "  StandardScaler(with_std=False)  # far: mean_" in repr(pipe)
    assert "not fitted" in repr(pipe.clone())
    assert pipe.describe()[0]["mean_"] == pipe[0].mean_


def test_text_form_is_the_same_in_any_process() -> None:
    """No address of an expression is in it."""
    steps = [hr.Expression((pl.col("x") * 2).alias("y")), hr.StandardScaler(columns=cs.float())]
    pipe = hr.Pipeline(steps).fit(hr.from_arrays({"x": [1.0, 2.0]}), progress=False)
    assert "0x" not in repr(pipe)
    assert [it["step"].partition(", ")[0] for it in pipe.describe()] == [
        "Expression(columns=None",
        "StandardScaler(columns=cs.float()",
    ]
    assert "0x" not in pipe.describe()[0]["step"]
