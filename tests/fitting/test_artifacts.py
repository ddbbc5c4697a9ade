"""Any setting and anything that is learned can be saved, and identifies a prepared data set."""

from __future__ import annotations

import datetime as dt
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
from polars.testing import assert_frame_equal

import headrace as hr


def samples() -> pl.DataFrame:
    moments = [dt.datetime(2020, 1, 1, 3), None, dt.datetime(2020, 1, 1, 3), dt.datetime(2021, 1, 1)]
    return pl.DataFrame(
        {
            "number": [1.5, None, 2.5, 1.5],
            "text": ["a", None, "b", "a"],
            "category": pl.Series(["a", None, "b", "a"], dtype=pl.Categorical),
            "level": pl.Series(["low", None, "high", "low"], dtype=pl.Enum(["low", "high"])),
            "bytes": [b"\x00\xff", None, b"", b"\x00\xff"],
            "price": pl.Series(
                [Decimal("1.10"), None, Decimal("2.00"), Decimal("1.10")], dtype=pl.Decimal(9, 2)
            ),
            "day": pl.Series(moments).cast(pl.Date),
            "moment": moments,
            "zoned": pl.Series(moments).dt.replace_time_zone("Europe/Berlin"),
            "hour": pl.Series(moments).dt.time(),
            "length": pl.Series(moments) - dt.datetime(2019, 1, 1),
            "flag": [True, None, False, True],
        }
    )


@pytest.mark.parametrize(
    "step",
    [
        hr.FillMissing("mode"),
        hr.FillMissing("constant", value=b"\xff", columns="bytes"),
        hr.Replace({b"\x00\xff": b"\x01"}),
        hr.Replace({dt.time(3): None}, columns=re.compile("^HOUR$", re.IGNORECASE)),
        hr.Replace({None: 0.0}, columns=cs.float()),
        hr.OrdinalEncoder(columns=cs.exclude("price")),
        hr.OneHotEncoder(columns=["text", "category", "level", "bytes", "day", "zoned", "hour", "length"]),
        hr.DropConstant(),
    ],
    ids=lambda step: type(step).__name__,
)
def test_any_setting_is_saved(tmp_path: Path, step: Any) -> None:
    """A loaded pipeline gives the same, saves to the same bytes and has the same fingerprint."""
    frame, ds = samples(), hr.from_polars(samples())
    pipe = hr.Pipeline([step]).fit(ds, progress=False)
    pipe.save(tmp_path / "pipe.json")
    loaded = hr.Pipeline.load(tmp_path / "pipe.json")
    assert_frame_equal(loaded.transform(frame), pipe.transform(frame), check_exact=True)
    assert ds.prepare(loaded).fingerprint == ds.prepare(pipe).fingerprint
    (tmp_path / "again").mkdir()
    loaded.save(tmp_path / "again" / "pipe.json")
    for path in tmp_path.glob("pipe.*"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "broken",
    [
        {"$decimal": "one"},
        {"$bytes": "no"},
        {"$regex": ["(", 0]},
        {"$expression": "{}"},
        {"$series": ["Int8", [999]]},
    ],
    ids=lambda broken: next(iter(broken)),
)
def test_a_broken_value_is_refused(tmp_path: Path, broken: dict[str, Any]) -> None:
    """What no value can be read of is a damaged file."""
    path = tmp_path / "pipe.json"
    hr.Pipeline([hr.OrdinalEncoder(columns="text")]).fit(hr.from_polars(samples()), progress=False).save(path)
    content = json.loads(path.read_text())
    content["steps"][0]["settings"]["columns"] = broken
    path.write_text(json.dumps(content))
    with pytest.raises(hr.CorruptSourceError, match=r"pipe\.json"):
        hr.Pipeline.load(path)


def test_names_that_differ_behind_a_dot_are_two_pipelines(tmp_path: Path) -> None:
    """Each has long arrays of its own, whatever its name ends in."""
    names = ("prep.json", "prep.v1", "prep.v2", "prep")
    for name in names:
        ds = hr.from_arrays({"c": [f"{name} {number:03}" for number in range(300)]})
        hr.Pipeline([hr.OrdinalEncoder()]).fit(ds, progress=False).save(tmp_path / name)
    for name in names:
        assert hr.Pipeline.load(tmp_path / name).transform({"c": f"{name} 007"}) == {"c": 9}
    with pytest.raises(hr.OptionError, match=r"prep\.json\.arrow: arrays"):
        hr.Pipeline.load(tmp_path / "prep").save(tmp_path / "prep.json.arrow")
