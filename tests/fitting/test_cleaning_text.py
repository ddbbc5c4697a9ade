"""Steps that clean text and read dates."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared import assert_foretold, assert_same_everywhere, columns_read, events, fit, transform

import headrace as hr

CENSUS = Path(__file__).parents[2] / "examples" / "census" / "raw"
TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=8)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_casefold_is_that_of_unicode(values: list[str | None]) -> None:
    """Any text is folded as Python folds it, which is Unicode's full case folding."""
    frame = pl.DataFrame({"x": values}, schema={"x": pl.String})

    expected = [None if value is None else value.casefold() for value in values]
    assert transform(frame, hr.Casefold())["x"].to_list() == expected


def test_casefold_goes_further_than_lower_case() -> None:
    """Sharp s, final sigma, ligatures and the dotted I are folded; null stays null."""
    frame = pl.DataFrame({"x": ["Straße", "STRASSE", "ΣΊΣΥΦΟΣ", "σίσυφος", "ﬁn", "İ", None, ""]})

    after = transform(frame, hr.Casefold())["x"].to_list()

    assert after == ["strasse", "strasse", "σίσυφοσ", "σίσυφοσ", "fin", "i̇", None, ""]


def test_strip_takes_white_space_or_characters() -> None:
    """All of Unicode's white space is taken from both ends, or exactly the characters that are named."""
    frame = pl.DataFrame({"x": [" a b\t", "\u2003c\u00a0\n", "", None, "..d.x."]})

    assert transform(frame, hr.Strip())["x"].to_list() == ["a b", "c", "", None, "..d.x."]
    assert transform(frame, hr.Strip(". "))["x"].to_list() == ["a b\t", "\u2003c\u00a0\n", "", None, "d.x"]


def test_regex_replaces_every_match() -> None:
    """All matches are replaced, groups by number and name, a dollar by two."""
    frame = pl.DataFrame({"x": ["ab-12", "cd-3 ef-4", None, "é-5"]})

    after = transform(frame, hr.RegexReplace(r"(\w+)-(?P<n>[0-9]+)", "${n}$$${1}"))["x"].to_list()

    assert after == ["12$ab", "3$cd 4$ef", None, "5$é"]
    assert transform(frame, hr.RegexReplace("z*$", "!"))["x"][0] == "ab-12!"


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [("(", ""), ("a(?=b)", ""), ("a", "$1"), ("(a)", "$1x"), ("(a)", "${b}"), (1, "")],
)
def test_expressions_that_cannot_be_meant_are_refused(pattern: Any, replacement: Any) -> None:
    """A pattern must be one, and a replacement name groups that it has, in one line."""
    with pytest.raises(hr.OptionError, match=r"^[^\n]+$"):
        hr.RegexReplace(pattern, replacement)


def test_no_characters_to_strip_are_refused() -> None:
    """An empty text would strip nothing."""
    with pytest.raises(hr.OptionError, match="`characters`"):
        hr.Strip("")


# Dates


def day(*numbers: int) -> datetime.datetime:
    return datetime.datetime(*numbers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2013-01-02", day(2013, 1, 2)),
        ("2012-02-29 10:30", day(2012, 2, 29, 10, 30)),
        ("2013-01-02T10:30:05", day(2013, 1, 2, 10, 30, 5)),
        ("2013-01-02T10:30:05.25", day(2013, 1, 2, 10, 30, 5, 250000)),
        ("0001-01-01", day(1, 1, 1)),
        ("9999-12-31 23:59:59.999999", day(9999, 12, 31, 23, 59, 59, 999999)),
        *(
            (text, None)
            for text in ("2013-02-29", "2013-13-01", "2013-01-02 24:00", "2013-01-02 10", "2013-1-2")
        ),
        *((text, None) for text in ("01/02/2013", " 2013-01-02", "2013-01-02\n", "", "today", "20130102")),
        *(
            (text, None)
            for text in ("2013-01-02T10:00Z", "2013-01-02 10:00+02:00", "\uff12013-01-02", "2013-01-02Z")
        ),
    ],
)
def test_dates_of_one_meaning_are_read(text: str, expected: datetime.datetime | None) -> None:
    """ISO 8601 is read to the digit; what else might be meant is refused, by itself as among others."""
    frame = pl.DataFrame({"x": [text, None]})
    step = hr.ParseDates(on_error="null")

    for rows in (frame, frame.head(1), pl.concat([frame] * 3)):
        after = transform(rows, step)["x"]
        assert after[0] == expected
        assert after.dtype == pl.Datetime("us")
    assert events(frame, step) == {"x": {"invalid": int(expected is None)}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2013-01-02 10:30", "2013-01-02T10:30:00+01:00"),
        ("2013-07-02", "2013-07-02T00:00:00+02:00"),
        ("2013-01-02T10:30:05Z", "2013-01-02T11:30:05+01:00"),
        ("2013-01-02T10:30:05-0530", "2013-01-02T17:00:05+01:00"),
        ("2013-10-27 02:30+01:00", "2013-10-27T02:30:00+01:00"),
        ("2013-10-27 02:30+02:00", "2013-10-27T02:30:00+02:00"),
        ("2013-10-27 02:30", None),  # comes twice
        ("2013-03-31 02:30", None),  # never comes
        ("2013-01-02T10:30+24:00", None),
    ],
)
def test_times_get_their_zone(text: str, expected: str | None) -> None:
    """Times without an offset were taken in the zone, those with one are converted to it."""
    frame = pl.DataFrame({"x": [text]})

    after = transform(frame, hr.ParseDates(time_zone="Europe/Berlin", on_error="null"))["x"]

    assert after.dtype == pl.Datetime("us", "Europe/Berlin")
    assert (None if after[0] is None else after[0].isoformat()) == expected


def test_a_format_is_taken_literally() -> None:
    """With a format, day and month are where it says; nothing else is guessed."""
    frame = pl.DataFrame({"x": ["31/01/2013", "01/02/2013", "2013-01-31", "01/13/2013", " 01/02/2013", None]})
    step = hr.ParseDates("%d/%m/%Y", into="date", on_error="null")

    after = transform(frame, step)["x"]

    assert after.to_list() == [datetime.date(2013, 1, 31), datetime.date(2013, 2, 1), None, None, None, None]
    assert events(frame, step) == {"x": {"invalid": 3}}
    times = transform(pl.DataFrame({"x": ["31.1.13 5:07"]}), hr.ParseDates("%d.%m.%y %H:%M"))["x"]
    assert times.to_list() == [day(2013, 1, 31, 5, 7)]
    zoned = hr.ParseDates("%Y-%m-%d %H:%M %z", time_zone="UTC")
    assert transform(pl.DataFrame({"x": ["2013-01-31 05:07 +0200"]}), zoned)["x"][0].hour == 3


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "01/02/2013"),
        ({"into": "date"}, "2013-01-02 10:00"),
        ({"format": "%d/%m/%Y"}, "01/13/2013"),
        ({"time_zone": "Europe/Berlin"}, "2013-10-27 02:30"),
    ],
)
def test_a_date_that_cannot_be_read_is_named(settings: dict[str, Any], text: str) -> None:
    """The error tells column, text and count."""
    frame = pl.DataFrame({"x": [None, text, text]})

    with pytest.raises(
        hr.PrepareError, match=f"column `x`: 2 of 3 values cannot be read as .*first of them '{text}'"
    ):
        transform(frame, hr.ParseDates(**settings))


@pytest.mark.parametrize(
    "settings",
    [
        *({"format": text} for text in ("%Q", "abc", "%H:%M", "%Y", "%m/%d", "%Y-%m-%d %z")),
        {"time_zone": "Mars"},
        {"time_zone": "UTC", "into": "date"},
        {"into": "time"},
        {"on_error": "skip"},
    ],
)
def test_settings_that_read_no_date_are_refused(settings: dict[str, Any]) -> None:
    """A format must tell the whole date; offsets and zones belong to times."""
    with pytest.raises(hr.OptionError):
        hr.ParseDates(**settings)


# All of them


STEPS = [
    hr.Strip(),
    hr.Casefold(),
    hr.RegexReplace("[aß]", "<$0>"),
    hr.ParseDates(on_error="null"),
    hr.ParseDates(time_zone="America/New_York", on_error="null"),
    hr.ParseDates("%d/%m/%Y", on_error="null", into="date"),
]
FRAME = pl.DataFrame(
    {
        "x": [" Straße", "a", None, "", "2013-01-02", "01/02/2013", "2013-01-02T10:00Z"],
        "y": ["B", "b", "2013-03-10 02:30", "x", None, "2013-01-02 10:30", "ẞ"],
        "n": [1, 2, 3, 4, 5, 6, None],
    }
)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: repr(step)[:40])
def test_one_text_is_as_many_texts(step: Any, tmp_path: Path) -> None:
    """Rows by themselves, frames, files of any row groups and batches give the same."""
    assert_same_everywhere(FRAME, step, folder=tmp_path)
    assert_foretold(FRAME, step)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: repr(step)[:40])
def test_texts_that_nobody_wants_are_not_read(step: Any) -> None:
    """One column out is one column in."""
    assert columns_read(FRAME, step, "y") == ("y",)
    assert columns_read(FRAME, step, "n") == ("n",)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: repr(step)[:40])
def test_numbers_are_no_text(step: Any) -> None:
    """A named column of numbers is refused."""
    named = type(step)(**{**{key: getattr(step, key) for key in step.__match_args__}, "columns": "n"})

    with pytest.raises(hr.SchemaError, match="cannot treat column `n` of type Int64"):
        transform(FRAME, named)


# The census


NUMBERS = ["age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week"]


def test_the_census_is_cleaned_to_its_documented_counts() -> None:
    """Two files of one table: 3,620 samples miss a value, and labels are of two classes."""
    train, test = (hr.open(CENSUS / f"adult-{part}.parquet") for part in ("train", "test"))
    clean = [
        hr.Strip(),
        hr.Replace({"?": None}),
        hr.RegexReplace(r"[.]$", "", columns="income"),
        hr.Cast("int32", columns=NUMBERS),
        hr.Replace({"<=50K": 0, ">50K": 1}, others="raise", columns="income"),
    ]
    pipe = hr.Pipeline(clean).fit(train, progress=False)

    frames = [ds.prepare(pipe).to_polars() for ds in (train, test)]

    assert [frame.height for frame in frames] == [32_561, 16_281]
    missing = [frame.select(pl.any_horizontal(pl.all().is_null()).sum()).item() for frame in frames]
    assert missing == [2_399, 1_221]
    report = pipe.report(train).filter(step="2: Replace", event="replaced")
    nulls = {name: frames[0][name].null_count() for name in frames[0].columns}
    assert dict(report.select("column", "count").rows()) == {name: n for name, n in nulls.items() if n}
    both = pl.concat(frames)
    assert {name for name in both.columns if both[name].null_count()} == {
        "workclass",
        "occupation",
        "native_country",
    }
    assert both["income"].value_counts().sort("income").rows() == [(0, 37_155), (1, 11_687)]
    assert both["capital_gain"].max() == 99_999
    assert both.select(pl.col(pl.String).str.contains(r"^\s|\s$|\?").any()).row(0) == (False,) * 8


def test_without_cleaning_the_labels_are_four() -> None:
    """The oracle of the test above: as published, the two files have different labels and no nulls."""
    raw = pl.concat([pl.read_parquet(path) for path in sorted(CENSUS.glob("*.parquet"))])
    step = hr.Replace({" <=50K": 0, " >50K": 1}, others="null", columns="income")

    assert raw["income"].n_unique() == 4
    assert raw.null_count().sum_horizontal().item() == 0
    assert fit(raw, step).steps[0].events(raw) == {"income": {"replaced": 32_561, "other": 16_281}}
