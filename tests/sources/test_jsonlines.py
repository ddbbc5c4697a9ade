"""JSON Lines: types, nested values, N-d arrays, missing and unknown fields, broken lines, faults."""

from __future__ import annotations

import json
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

ROWS = 3000
NUMBERS = np.random.default_rng(0).integers(-(1 << 60), 1 << 60, ROWS).tolist()


def put(folder: Path, content: bytes | str, name: str = "a.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(folder: Path, content: bytes | str, name: str = "a.jsonl", **options: Any) -> list[dict[str, Any]]:
    put(folder, content, name)
    return hr.open(folder / name, options=hr.JsonLinesOptions(**options)).to_arrow().to_pylist()


class TestJsonLines(SourceTests):
    """Two files, several row groups, nested values, missing fields and arrays."""

    @pytest.fixture
    def source(self, tmp_path: Path, expected: pa.Table) -> Source:
        arrays = expected["t"].combine_chunks().to_numpy_ndarray().tolist()
        lines = [
            json.dumps(
                {**{key: value for key, value in row.items() if value is not None}, "t": arrays[place]}
            )
            for place, row in enumerate(expected.drop_columns(["t"]).to_pylist())
        ]
        put(tmp_path, "\n".join(lines[:2500]) + "\n", "1.jsonl")
        put(tmp_path, "\r\n".join(lines[2500:]) + "\r\n\r\n", "2.ndjson")
        source = hr.open(tmp_path, options=hr.JsonLinesOptions(types={"t": TENSOR})).recipe.source
        assert len(source.manifest) > 2
        return source

    @pytest.fixture
    def expected(self) -> pa.Table:
        nested = [{"x": number / 2, "y": [{"z": f"{number}"}] * (number % 3)} for number in NUMBERS]
        values = pa.array(np.arange(ROWS * 6, dtype=np.float32))
        tensors = pa.ExtensionArray.from_storage(TENSOR, pa.FixedSizeListArray.from_arrays(values, 6))
        return pa.table(
            {
                "n": NUMBERS,
                "s": [None if number % 5 == 0 else "ü\n" + "x" * 4000 for number in NUMBERS],
                "o": nested,
                "b": [number % 2 == 0 for number in NUMBERS],
                "t": tensors,
            }
        )


TENSOR = pa.fixed_shape_tensor(pa.float32(), [2, 3])
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "i": st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1)),
    "f": st.one_of(st.none(), st.floats(allow_nan=False)),
    "b": st.one_of(st.none(), st.booleans()),
    "s": st.one_of(st.none(), TEXT),
    "l": st.one_of(st.none(), st.lists(st.one_of(st.none(), TEXT), max_size=3)),
    "o": st.one_of(
        st.none(), st.fixed_dictionaries({"x": st.one_of(st.none(), st.lists(st.integers(0, 9)))})
    ),
}
SCHEMA = {
    "i": pl.Int64,
    "f": pl.Float64,
    "b": pl.Boolean,
    "s": pl.String,
    "l": pl.List(pl.String),
    "o": pl.Struct({"x": pl.List(pl.Int64)}),
}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries({}, optional=VALUES), min_size=1, max_size=12), st.booleans())
def test_any_values_come_back(tmp_path: Path, rows: list[dict[str, Any]], is_ascii: bool) -> None:
    """Whatever Python's `json` writes comes back, missing fields as null."""
    text = "".join(json.dumps(row, ensure_ascii=is_ascii) + "\n" for row in rows)
    found = read(tmp_path, text, types=SCHEMA)

    assert found == [{name: row.get(name) for name in SCHEMA} for row in rows]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            '{"a":1}\n{"a":null,"b":"x"}\n{}\n',
            [{"a": 1, "b": None}, {"a": None, "b": "x"}, {"a": None, "b": None}],
        ),
        ('\ufeff{"a":1}\r\n\r\n  \n{"a":2}\n', [{"a": 1}, {"a": 2}]),
        (f'{{"a":{2**53 + 1}}}\n{{"a":null}}\n', [{"a": 2**53 + 1}, {"a": None}]),
        (f'{{"a":{2**64 - 1}}}\n{{"a":1}}\n', [{"a": 2**64 - 1}, {"a": 1}]),
        ('{"a":1}\n{"a":2.5}\n', [{"a": 1.0}, {"a": 2.5}]),
        ('{"a":[1,null]}\n{"a":[]}\n{"a":[0.5]}\n', [{"a": [1.0, None]}, {"a": []}, {"a": [0.5]}]),
        ('{"a":{"x":1}}\n{"a":{"y":"u"}}\n', [{"a": {"x": 1, "y": None}}, {"a": {"x": None, "y": "u"}}]),
        ('{"a":null,"b":[]}\n', [{"a": None, "b": []}]),
        ('{"a":"2020-01-01"}\n', [{"a": "2020-01-01"}]),
        ('{"a":"\\u00e9\\ud834\\udd1e\\u0000"}\n', [{"a": "é𝄞\0"}]),
        ('{"a":Infinity}\n', [{"a": float("inf")}]),
    ],
)
def test_types_follow_from_the_values(tmp_path: Path, content: str, expected: list[dict[str, Any]]) -> None:
    """Numbers stay exact, text stays text, lists and objects nest, what is missing is null."""
    assert read(tmp_path, content) == expected


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "empty (0 bytes)"),
        ('{"a":1}', "does not end with a newline"),
        ('{"a":1}\n{"a":\n', "row group 0, line 2: is no JSON: Expecting value"),
        ('{"a":1}\n\n[1]\n', "line 3: an object must stand on each line, got [1]"),
        ('{"a":1}\n{"a":2} {"a":3}\n', "line 2: is no JSON: Extra data"),
        ('{"a":1}\n{"a":"x"}\n', "field `a` of"),
        ('{"a":1}\n{"a":1,"a":2}\n', "line 2, column `a`: is no int64: 2"),
        (b'{"a":"x"}\n{"a":"\xff"}\n', "line 2: is no JSON: 'utf-8' codec"),
        ('{"a":"x"}\n{"a":"\\ud800"}\n', 'line 2, column `a`: is no string: "\\ud800"'),
        ('{"a":"x\0y"}\n{"a":"x"}\n', "line 1: is no JSON"),
        (f'{{"a":{2**64}}}\n', f"line 1, column `a`: is no uint64: {2**64}"),
        ('{"a":1}\n{"a":1e999}\n{"a":0.5}\n', "line 2, column `a`"),
        ("12\n", "none of the first 1 lines holds an object with fields; line 1: an object must"),
        ("{}\n", "line 1: an object without fields"),
        ('{"a":' + "[" * 70 + "]" * 70 + "}\n", "at most 64 deep"),
        ('{"a":1}\n{"a":' + "[" * 200_000 + "]" * 200_000 + "}\n", "line 2: is no JSON: maximum recursion"),
        (b"\x1f\x8b\x08 compressed", "compressed by gzip"),
    ],
)
def test_what_is_no_json_lines(tmp_path: Path, content: bytes | str, what: str) -> None:
    """Each broken file is one error that says what is wrong, and where."""
    path = put(tmp_path, content)
    with pytest.raises((hr.SourceError, hr.SchemaError)) as caught:
        hr.open(path, format="jsonlines").to_arrow()
    assert str(path) in str(caught.value)
    assert what in str(caught.value)


def test_unknown_fields(tmp_path: Path) -> None:
    """A field that appears late is an error with its path, or left out; types given name it."""
    rows = '{"a":{"x":1}}\n' * 100_000
    path = put(tmp_path, rows + '{"a":{"x":1,"late":2}}\n')

    with pytest.raises(hr.CorruptSourceError, match=r"line 100,001: has the field `a\.late`, which .* lack"):
        hr.open(path).to_arrow()
    ignored = hr.open(path, options=hr.JsonLinesOptions(unknown="ignore"))
    assert ignored.to_arrow()["a"].to_pylist()[-1] == {"x": 1}
    types = {"a": pa.struct({"x": pa.int8(), "late": pa.int8()})}
    given = hr.open(path, options=hr.JsonLinesOptions(types=types)).to_arrow()["a"].to_pylist()
    assert (given[0], given[-1]) == ({"x": 1, "late": None}, {"x": 1, "late": 2})


def test_late_value_that_does_not_fit(tmp_path: Path) -> None:
    """A value of another type after the first MiB is an error with line, field and the way out."""
    path = put(tmp_path, '{"a":1,"b":"x"}\n' * 100_000 + '{"a":0.5,"b":"x"}\n')

    with pytest.raises(hr.CorruptSourceError, match=r"line 100,001, column `a`: is no int64: 0\.5") as caught:
        hr.open(path).to_arrow()
    assert "pass `JsonLinesOptions(types=" in str(caught.value)
    assert isinstance(caught.value.__cause__, pa.ArrowInvalid)
    ds = hr.open(path, options=hr.JsonLinesOptions(types={"a": float}))
    assert ds.to_arrow()["a"].to_pylist()[-2:] == [1.0, 0.5]


def test_arrays_of_a_fixed_shape(tmp_path: Path) -> None:
    """Nested lists become N-d arrays, null samples included; another shape is an error."""
    lines = '{"t":[[1,2,3],[4,5,6]]}\n{"t":null}\n{}\n{"t":[[7,8,9],[1,2,3.5]]}\n'
    put(tmp_path, lines)
    ds = hr.open(tmp_path, options=hr.JsonLinesOptions(types={"t": TENSOR}))
    assert ds.schema.field("t").type == TENSOR
    assert ds.to_arrow()["t"].to_pylist() == [[1, 2, 3, 4, 5, 6], None, None, [7, 8, 9, 1, 2, 3.5]]
    assert ds.rows([3, 0]).pack(t="t").take([0]).columns["t"].shape == (1, 2, 3)

    for wrong in ("[[1,2,3],[4,5]]", "[[1,2,3]]", "[1]", "[[1,2,3],null]"):
        put(tmp_path, lines + f'{{"t":{wrong}}}\n')
        with pytest.raises(
            hr.CorruptSourceError, match=r"line 5, column `t`: is no extension.*shape=\[2,3\]"
        ):
            hr.open(tmp_path, options=hr.JsonLinesOptions(types={"t": TENSOR})).to_arrow()


def test_given_types(tmp_path: Path) -> None:
    """Types of other widths, dates and lists are made of what JSON has; others are refused."""
    types: dict[str, Any] = {
        "a": pl.UInt8,
        "b": np.float16,
        "c": "date32",
        "d": pa.large_list(pa.int8()),
        "e": pa.list_(pa.float32(), 2),
        "f": pa.timestamp("us"),
        "g": pa.decimal128(5, 2),
    }
    line = '{"a":255,"b":1.5,"c":"2020-02-29","d":[1],"e":[1,2],"f":"2020-01-01T05:00:00","g":1.25}\n'
    put(tmp_path, line)
    ds = hr.open(tmp_path, options=hr.JsonLinesOptions(types=types))
    assert str(ds.to_arrow().to_pylist()[0]) == (
        "{'a': 255, 'b': 1.5, 'c': datetime.date(2020, 2, 29), 'd': [1], 'e': [1.0, 2.0], "
        "'f': datetime.datetime(2020, 1, 1, 5, 0), 'g': Decimal('1.25')}"
    )
    assert ds.schema.types[3:5] == [types["d"], types["e"]]
    put(tmp_path, line.replace("255", "256"))
    with pytest.raises(hr.CorruptSourceError, match=r"column `a`: is no uint8: 256"):
        hr.open(tmp_path, options=hr.JsonLinesOptions(types=types)).to_arrow()
    for wrong in (pa.map_(pa.string(), pa.int8()), pa.list_(pa.binary()), "int9", object):
        with pytest.raises(hr.OptionError, match="column `a`"):
            hr.JsonLinesOptions(types={"a": wrong})
    with pytest.raises(hr.OptionError, match='"error" or "ignore", got'):
        hr.JsonLinesOptions(unknown="drop")  # type: ignore[arg-type]


def test_types_are_told_by_all_files_together(tmp_path: Path) -> None:
    """A file that lacks a field has nulls there; whole numbers in one and floats in another are floats."""
    put(tmp_path, '{"a":1}\n', "1.jsonl")
    put(tmp_path, '{"b":"x","a":0.5}\n', "2.jsonl")
    ds = hr.open(tmp_path)

    assert ds.schema.names == ["a", "b"]
    assert ds.to_polars().rows() == [(1.0, None), (0.5, "x")]


@pytest.mark.parametrize("kept", [0, 1, 0.5, -1, -2])
def test_cut_off_file_is_an_error(tmp_path: Path, kept: float) -> None:
    """A file cut within a record is refused when it is opened."""
    content = "".join(json.dumps({"a": row, "b": f"text {row}"}) + "\n" for row in range(1001)).encode()
    path = put(tmp_path, content[: int(len(content) * kept) if isinstance(kept, float) else kept])

    with pytest.raises(hr.CorruptSourceError, match=r"a\.jsonl"):
        hr.open(path)
    if kept == -1:
        options = hr.JsonLinesOptions(require_final_newline=False)
        assert len(hr.open(path, options=options).to_arrow()) == 1001


def test_flipped_bits_are_rows_or_one_error(tmp_path: Path) -> None:
    """Whatever bit flips, as many rows come as were promised, or one error that names the file."""
    random = np.random.default_rng(1)
    lines = (json.dumps({"a": row, "b": f"t {row}", "c": [row / 7], "d": {"e": None}}) for row in range(40))
    content = ("\n".join(lines) + "\n").encode()
    outcomes: set[str] = set()
    for bit in random.integers(0, len(content) * 8, 300).tolist():
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path = put(tmp_path, bytes(flipped))
        try:
            ds = hr.open(path, format="jsonlines")
            assert ds.to_arrow().num_rows == len(ds)
            outcomes.add("read")
        except hr.HeadraceError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_memory_limit(tmp_path: Path) -> None:
    """What a row group parses to is judged by its rows and lists before it is parsed."""
    types: dict[str, Any] = {f"c{place}": "float64" for place in range(20)}
    path = put(tmp_path, "{}\n" * 100_000)
    with pytest.raises(
        hr.MemoryLimitError, match=r"a\.jsonl, row group 0: .*800,000 \(`c0`\).*limit of 5,000,000"
    ):
        hr.open(path, memory_limit="5MB", options=hr.JsonLinesOptions(types=types)).to_arrow()
    path = put(tmp_path, '{"a":[' + "1," * 500_000 + "1]}\n")
    with pytest.raises(hr.MemoryLimitError, match=r"4,000,0\d\d \(`a`\)"):
        hr.open(path, memory_limit="3MB").to_arrow()
    with pytest.raises(
        hr.MemoryLimitError, match=r"a\.jsonl, line 1: the record that begins here takes more"
    ):
        hr.open(put(tmp_path, '{"a":"' + "x" * 20_000_000 + '"}\n'), memory_limit="9MB")


def test_few_columns_are_quicker_where_unknown_fields_are_left_out(tmp_path: Path) -> None:
    """With `unknown="ignore"`, damage in a field that is not wanted is of no concern."""
    path = put(tmp_path, '{"a":1,"b":2}\n' * 100_000 + '{"a":1,"b":"x"}\n')

    with pytest.raises(hr.CorruptSourceError, match="column `b`"):
        hr.open(path).select(["a"]).to_arrow()
    ignored = hr.open(path, options=hr.JsonLinesOptions(unknown="ignore"))
    assert ignored.select(["a"]).to_arrow().num_rows == 100_001
