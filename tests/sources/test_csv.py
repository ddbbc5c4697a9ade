"""CSV: dialects, types, nulls, ragged and broken records, faults."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.sources.base import Source
from headrace.testing import SourceTests

NUMBERS = np.random.default_rng(0).integers(-(1 << 60), 1 << 60, 3000)
TEXTS = [None if number % 7 == 0 else f'line\n"{number}", ü' + "x" * 4000 for number in NUMBERS]


def put(folder: Path, content: bytes | str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(folder: Path, content: bytes | str, name: str = "a.csv", **options: Any) -> dict[str, list[Any]]:
    ds = hr.open(put(folder, content, name), format="csv", options=hr.CsvOptions(**options))
    return ds.to_arrow().to_pydict()


class TestCsv(SourceTests):
    """Two files, several row groups, quoted newlines and nulls."""

    @pytest.fixture
    def source(self, tmp_path: Path, expected: pa.Table) -> Source:
        for part, begin in enumerate((0, 2500)):
            frame = pl.from_arrow(expected.slice(begin, 2500))
            frame.write_csv(tmp_path / f"{part}.csv")
        source = hr.open(tmp_path).recipe.source
        assert len(source.manifest) > 2
        return source

    @pytest.fixture
    def expected(self) -> pa.Table:
        columns = {"n": NUMBERS, "t": TEXTS, "b": NUMBERS % 2 == 0, "f": NUMBERS / 3}
        return pa.table({**columns, "maybe": pa.array([None if n % 3 == 0 else int(n) for n in NUMBERS])})


FIELDS = st.text(st.sampled_from(['"', ",", "\n", "\r", "a", "é", " ", "1", "#"]), max_size=5)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(FIELDS, min_size=width, max_size=width))))
def test_any_text_comes_back(tmp_path: Path, rows: list[list[str]]) -> None:
    """Fields of any text, as Python's `csv` writes them, come back as they were; empty ones as null."""
    width = len(rows[0]) if rows else 1
    names = [f"c{place}" for place in range(width)]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(names)
    writer.writerows(rows)
    found = read(tmp_path, stream.getvalue(), types=dict.fromkeys(names, "string"))

    is_single = width == 1  # there, `csv` quotes an empty field, which makes it text
    expected = [[field or ("" if is_single else None) for field in row] for row in rows]
    assert list(map(list, zip(*found.values(), strict=True))) == expected


VALUES = {
    "i": st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1)),
    "f": st.one_of(st.none(), st.floats(allow_nan=False)),
    "b": st.one_of(st.none(), st.booleans()),
    "s": st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)),
}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=20))
def test_what_polars_writes_comes_back(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """Numbers, flags, text and nulls that Polars wrote are those that Polars had."""
    schema = {"i": pl.Int64, "f": pl.Float64, "b": pl.Boolean, "s": pl.String}
    frame = pl.DataFrame(rows, schema=schema)
    path = tmp_path / "a.csv"
    frame.write_csv(path)

    assert hr.open(path, options=hr.CsvOptions(types=schema)).to_polars().equals(frame)


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("a,b\n1,x\n", {}, {"a": [1], "b": ["x"]}),
        ("a,b\n", {}, {"a": [], "b": []}),
        ("\ufeffa,b\r\n1,x\r\n", {}, {"a": [1], "b": ["x"]}),
        ("a,b\r1,x\r2,y\r", {}, {"a": [1, 2], "b": ["x", "y"]}),
        ("a,b\n1,x\n\n\r\n2,y\n\n", {}, {"a": [1, 2], "b": ["x", "y"]}),
        ("a\n1\n\n3\n", {}, {"a": [1, None, 3]}),
        ('a,b\n"",\n,"x"\n', {}, {"a": ["", None], "b": [None, "x"]}),
        ('a,b\n1," x ""y"" "\n', {}, {"a": [1], "b": [' x "y" ']}),
        ('a,b\n1,5" disk\n2,6"\n', {}, {"a": [1, 2], "b": ['5" disk', '6"']}),
        ("a\tb\n1\tx,y\n", {"delimiter": "\t"}, {"a": [1], "b": ["x,y"]}),
        ("a;b\n'1;2';x\n", {"delimiter": ";", "quote": "'"}, {"a": ["1;2"], "b": ["x"]}),
        ('a,b\n",x\n', {"quote": None}, {"a": ['"'], "b": ["x"]}),
        ("a,b\nNA,-\n1,x\n", {"null_values": ["NA", "-"]}, {"a": [None, 1], "b": [None, "x"]}),
        ('a,b\n1,"NA"\n', {"null_values": ["NA"]}, {"a": [1], "b": ["NA"]}),
        ("1,x\n", {"has_header": False, "columns": ["n", "t"]}, {"n": [1], "t": ["x"]}),
        ("a,b\n1,x\n", {"columns": ["n", "t"]}, {"n": [1], "t": ["x"]}),
        ("made by\nus, 'x\na,b\n1,x\n", {"skip_rows": 2}, {"a": [1], "b": ["x"]}),
        ('# "no\na,b\n1,x\n#,,\n2,"#y"\n', {"comment": "#"}, {"a": [1, 2], "b": ["x", "#y"]}),
        ("a,b\n1,x", {"require_final_newline": False}, {"a": [1], "b": ["x"]}),
        ("01,02\n1,2\n", {}, {"01": [1], "02": [2]}),
        ("a,b\n1,x\0y\n", {}, {"a": [1], "b": ["x\0y"]}),
    ],
)
def test_dialects(tmp_path: Path, content: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    """Ends of lines, quotes, nulls, headers, comments: each has its one right reading."""
    assert read(tmp_path, content, **options) == expected


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "empty (0 bytes)"),
        ("\n", "no header ends"),
        ("a,b", "does not end with a newline"),
        ("a,b\n1,x\n2\n", "row group 0, line 3: every record must have 2 fields, got 1"),
        ("a,b\n1,x\n2,y,z\n", "row group 0, line 3: every record must have 2 fields, got 3"),
        ("a,b\n1,x\n\n\n2,3,4\n", "line 5"),
        ('a,b\n1,"x\ny"\n2\n', "line 4"),
        ("a,a\n1,2\n", "must be unique, got ['a']"),
        ("a,\n1,2\n", "column 2 has no name"),
        (b"a,b\n1,\xff\n", "line 2, column `b`: conversion error to string: invalid UTF8"),
        ('a,b\n1,x\n2,"y\n3,z\n', "line 3: a quote in the record that begins here is never closed"),
        (b"\x1f\x8b\x08 compressed", "compressed by gzip"),
        (b"\x28\xb5\x2f\xfd compressed", "compressed by zstd"),
        ("a,b\n".encode("utf-16"), "UTF-16"),
        (b"\0\0\0\n", "zero bytes"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes | str, what: str) -> None:
    """Each broken file is one error that says what is wrong, and where."""
    path = put(tmp_path, content)
    with pytest.raises(hr.SourceError) as caught:
        hr.open(path, format="csv").to_arrow()
    assert f"{path}" in str(caught.value)
    assert what in str(caught.value)


def test_types_are_told_by_all_files_together(tmp_path: Path) -> None:
    """Whole numbers in one file and floats in another are floats; a column without values is text."""
    put(tmp_path, "a,b,c,d\n1,,1,true\n", "1.csv")
    put(tmp_path, "d,c,b,a\nfalse,x,,2.5\n", "2.csv")
    ds = hr.open(tmp_path)

    assert ds.schema.types == [pa.float64(), pa.string(), pa.string(), pa.bool_()]
    assert ds.to_polars().rows() == [(1.0, None, "1", True), (2.5, None, "x", False)]


def test_large_whole_numbers_stay_exact(tmp_path: Path) -> None:
    """No whole number becomes a float: beyond int64 it is uint64, beyond that text."""
    found = read(tmp_path, f"a,b,c\n{2**64 - 1},{2**64},{2**53 + 1}\n1,2,\n")
    assert found == {"a": [2**64 - 1, 1], "b": [str(2**64), "2"], "c": [2**53 + 1, None]}


def test_late_value_that_does_not_fit(tmp_path: Path) -> None:
    """A value of another type after the first MiB is an error with line, column and the way out."""
    rows = "".join(f'{row},"two\nlines"\n' for row in range(200_000))
    path = put(tmp_path, f"a,b\n{rows}x7,end\n")
    ds = hr.open(path)
    assert len(ds) == 200_001

    with pytest.raises(hr.CorruptSourceError) as caught:
        ds.to_arrow()
    assert str(caught.value) == (
        f"{path}, row group {len(ds.manifest) - 1}, line 400,002, column `a`: conversion error to int64: "
        "invalid value 'x7'; pass `CsvOptions(types={\"a\": ...})` to read it as another type"
    )
    assert isinstance(caught.value.__cause__, pa.ArrowInvalid)
    assert ds.select(["b"]).to_arrow().num_rows == 200_001
    texts = hr.open(path, options=hr.CsvOptions(types={"a": str})).select(["a"]).to_arrow()
    assert texts["a"].to_pylist()[-1] == "x7"


def test_given_types(tmp_path: Path) -> None:
    """Types are taken from Arrow, Polars, NumPy, Python and by name; others are refused."""
    types: dict[str, Any] = {
        "a": pa.int8(),
        "b": pl.UInt16,
        "c": np.float32,
        "d": "date32",
        "e": float,
        "f": "f2",
    }
    put(tmp_path, "a,b,c,d,e,f\n1,2,3,2020-01-02,5,1.5\n")
    types["f"] = np.float16
    ds = hr.open(tmp_path, options=hr.CsvOptions(types=types))
    assert list(map(str, ds.schema.types)) == [
        "int8",
        "uint16",
        "float",
        "date32[day]",
        "double",
        "halffloat",
    ]
    assert ds.to_arrow().to_pylist()[0]["f"] == 1.5

    with pytest.raises(hr.UnknownColumnError, match=r"no column `zz`"):
        hr.open(tmp_path, options=hr.CsvOptions(types={"zz": int}))
    for wrong in (pa.list_(pa.int8()), "int9", object, pl.List(pl.Int8)):
        with pytest.raises(hr.OptionError, match="column `a`"):
            hr.CsvOptions(types={"a": wrong})


@pytest.mark.parametrize(
    "options",
    [
        {"delimiter": ""},
        {"delimiter": "ab"},
        {"delimiter": "\n"},
        {"delimiter": "é"},
        {"quote": ",", "delimiter": ","},
        {"comment": ""},
        {"skip_rows": -1},
        {"columns": "ab"},
        {"columns": ["a", "a"]},
        {"columns": []},
        {"null_values": "NA"},
        {"has_header": False},
        {"types": ["int8"]},
    ],
)
def test_options_that_cannot_be_right(options: dict[str, Any]) -> None:
    """Options are checked when they are made."""
    with pytest.raises(hr.OptionError):
        hr.CsvOptions(**options)


def test_shards_fit_together(tmp_path: Path) -> None:
    """Columns may come in any order, a missing one is an error; `.tsv` has tabs; folders are columns."""
    (tmp_path / "k=1").mkdir()
    put(tmp_path / "k=1", "a\tb\n1\tx\n", "1.tsv")
    assert hr.open(tmp_path).to_polars().rows() == [(1, "x", 1)]
    put(tmp_path / "k=1", "a\tc\n1\tx\n", "2.tsv")
    with pytest.raises(hr.SchemaError, match=r"column `b` is missing in .*2\.tsv"):
        hr.open(tmp_path)
    put(tmp_path / "k=1", "a,b\n1,x\n", "2.csv")
    with pytest.raises(hr.OptionError, match="delimiter"):
        hr.open(str(tmp_path / "k=1" / "*[12].?sv"))


@pytest.mark.parametrize("kept", [0, 1, 0.5, -1])
def test_cut_off_file_is_an_error(tmp_path: Path, kept: float) -> None:
    """A file cut within a record is refused when it is opened."""
    content = ("a,b\n" + "".join(f'{row},"text {row}"\n' for row in range(1001))).encode()
    path = put(tmp_path, content[: int(len(content) * kept) if isinstance(kept, float) else kept])

    with pytest.raises(hr.CorruptSourceError, match=r"a\.csv"):
        hr.open(path)


def test_cut_between_records_cannot_be_seen(tmp_path: Path) -> None:
    """What no reader can notice, `explain` says."""
    ds = hr.open(put(tmp_path, "a,b\n1,x\n"))
    assert len(ds) == 1
    assert any(
        "neither length nor checksum" in note for note in ds.loader(1, output="numpy").explain().advice
    )


def test_flipped_bits_are_rows_or_one_error(tmp_path: Path) -> None:
    """Whatever bit flips, as many rows come as were promised, or one error that names the file."""
    random = np.random.default_rng(1)
    content = ("a,b,c\n" + "".join(f'{row},"te,xt\n{row}",{row / 7}\n' for row in range(40))).encode()
    outcomes: set[str] = set()
    for bit in random.integers(0, len(content) * 8, 250).tolist():
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path = put(tmp_path, bytes(flipped))
        try:
            ds = hr.open(path, format="csv")
            assert ds.to_arrow().num_rows == len(ds)
            outcomes.add("read")
        except hr.HeadraceError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_limits_of_memory(tmp_path: Path) -> None:
    """What a row group parses to is judged before, and so is one record that never ends."""
    path = put(tmp_path, "a,b,c,d\n" + ",,,\n" * 200_000)
    types = dict.fromkeys("abcd", "float64")
    with pytest.raises(
        hr.MemoryLimitError, match=r"a\.csv, row group 0: .*1,048,576 \(`a`\).*the limit of 2,000,000"
    ):
        hr.open(path, memory_limit="2MB", options=hr.CsvOptions(types=types)).to_arrow()
    path = put(tmp_path, 'a,b\n1,"' + "x" * 20_000_000)
    with pytest.raises(hr.MemoryLimitError, match=r"a\.csv, line 2: .*more than the limit of 10,000,000"):
        hr.open(path, memory_limit="10MB", options=hr.CsvOptions(require_final_newline=False))


def test_rewrite_is_noticed_and_is_another_data_set(tmp_path: Path) -> None:
    """A file that changes after opening is an error at the next read, and has another fingerprint."""
    path = put(tmp_path, "a\n1\n")
    ds = hr.open(path)
    put(tmp_path, "a\n2\n")

    with pytest.raises(hr.ChangedSourceError, match=r"a\.csv"):
        ds.to_arrow()
    assert hr.open(path).fingerprint != ds.fingerprint
    other = hr.open(path, options=hr.CsvOptions(types={"a": "int8"}))
    assert other.fingerprint != hr.open(path).fingerprint


def test_broken_record_leaves_the_other_row_groups(tmp_path: Path) -> None:
    """With `on_error="skip"` a broken record costs its row group, and the types are told without it."""
    path = put(tmp_path, "a,b\n1\n" + "2,x\n" * 200_000)
    ds = hr.open(path)
    loader = ds.loader(1000, output="numpy", on_error="skip")
    rows = sum(len(batch["a"]) for batch in loader)

    assert ds.schema.field("a").type == pa.int64()
    assert rows == len(ds) - ds.manifest[0].rows > 0
    assert loader.stats()["skipped"] == ds.manifest[0].rows
