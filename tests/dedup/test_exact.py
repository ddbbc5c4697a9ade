"""Exact duplicates against Polars: all types, nulls, floats, forms of text, and keys that collide."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.dedup.exact import exact
from headrace.errors import OptionError, SchemaError
from headrace.manifest import RowGroup
from headrace.testing.strategies import manifest_of

CENSUS = Path(__file__).parents[2] / "examples" / "census"
FASHION = Path(__file__).parents[1] / "data" / "fashion-mnist"

some = settings(max_examples=80, deadline=None, derandomize=True)

NAN = float("nan")
FLOATS = [0.0, -0.0, NAN, 1.5, float("-inf"), None]
TEXTS = ["é", "e\u0301", "E\u0301", "", " é", "ﬁ", "fi", "straße", "STRASSE", None]
MOMENTS = [dt.datetime(1969, 3, 1, 12, 0, 1), dt.datetime(2013, 1, 1), None]
POOLS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int8(), [-1, 0, 127, None]),
    (pa.int64(), [-1, 0, 2**63 - 1, -(2**63), None]),
    (pa.uint64(), [0, 2**63, 2**64 - 1, None]),
    (pa.float32(), FLOATS),
    (pa.float64(), FLOATS),
    (pa.bool_(), [True, False, None]),
    (pa.null(), [None]),
    (pa.string(), TEXTS),
    (pa.large_string(), TEXTS),
    (pa.dictionary(pa.int8(), pa.string()), TEXTS),
    (pa.binary(), [b"", b"\0", b"\0\0", b"a" * 40, None]),
    (pa.date32(), [moment and moment.date() for moment in MOMENTS]),
    (pa.timestamp("us"), MOMENTS),
    (pa.timestamp("ms", "UTC"), MOMENTS),
    (pa.time64("us"), [dt.time(1), dt.time(0, 0, 1), None]),
    (pa.duration("ms"), [dt.timedelta(0), dt.timedelta(days=-1), None]),
    (pa.decimal128(20, 2), [Decimal("-1.50"), Decimal("1.5"), Decimal(0), None]),
    (pa.list_(pa.float64()), [None, [], [None], [0.0], [-0.0], [NAN], [0.0, 0.0], [0.0, None]]),
    (pa.list_(pa.int16()), [None, [], [None], [0], [0, None], [None, 0], [1, 2]]),
    (pa.list_(pa.float32(), 2), [None, [0.0, NAN], [-0.0, NAN], [None, 1.0], [1.0, None]]),
    (
        pa.list_(pa.list_(pa.int32(), 2), 2),
        [None, [[1, 2], [3, 4]], [[1, 2], None], [None, [1, 2]], [[1, 2], [None, 4]]],
    ),
    (
        pa.list_(pa.list_(pa.bool_())),
        [None, [], [[]], [None], [[True]], [[True], []], [[], [True]], [[False, None]]],
    ),
    (pa.list_(pa.string()), [None, [], [None], [""], ["a", "b"], ["ab"]]),
    (
        pa.struct({"x": pa.float64(), "y": pa.string()}),
        [None, {"x": 0.0, "y": None}, {"x": -0.0, "y": None}, {"x": None, "y": None}, {"x": NAN, "y": "a"}],
    ),
    (
        pa.list_(pa.struct({"x": pa.int8()})),
        [None, [], [{"x": 1}], [{"x": None}], [None], [{"x": 1}, {"x": 1}]],
    ),
]


class TableSource:
    """A table in row groups of these sizes."""

    def __init__(self, table: pa.Table, rows: Sequence[int]) -> None:
        self.table = table
        self.schema = table.schema
        self.manifest = manifest_of(list(rows))

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        part = self.table.slice(row_group.first, row_group.rows).select(list(columns))
        return part.combine_chunks().to_batches()[0]


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Table, list[int]]:
    """A table of one to three columns with few values each, and sizes of row groups."""
    pools = draw(st.lists(st.sampled_from(POOLS), min_size=1, max_size=3))
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    columns = {
        f"{number}": pa.array(
            draw(st.lists(st.sampled_from(values), min_size=sum(sizes), max_size=sum(sizes))), kind
        )
        for number, (kind, values) in enumerate(pools)
    }
    return pa.table(columns), sizes


def expected_ids(table: pa.Table, keep: Any, nulls_equal: bool) -> list[int]:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    names = frame.columns
    frame = frame.with_row_index("id")
    has_null = pl.any_horizontal(pl.col(names).is_null()) if not nulls_equal else pl.lit(False)
    single = frame.filter(has_null)["id"].to_list()
    compared = frame.filter(~has_null).unique(names, keep=keep, maintain_order=True)
    return sorted(single + compared["id"].to_list())


def kept(dataset: hr.Dataset, method: hr.Exact | None = None, **settings: Any) -> list[int]:
    return hr.find_duplicates(dataset, method=method, progress=False, **settings).selection.ids.tolist()


@some
@given(tables(), st.sampled_from(["first", "last", "none"]), st.booleans(), st.booleans())
def test_what_stays_equals_polars_unique(
    data: tuple[pa.Table, list[int]], keep: Any, nulls_equal: bool, verify: bool
) -> None:
    """Any columns, over any row groups, by keys alone and by values."""
    table, sizes = data
    dataset = hr.Dataset.of(TableSource(table, sizes))
    method = hr.Exact(nulls_equal=nulls_equal, verify=verify)

    assert kept(dataset, method, keep=keep) == expected_ids(table, keep, nulls_equal)


@pytest.mark.parametrize(("kind", "values"), POOLS, ids=[str(kind) for kind, _ in POOLS])
def test_every_type_alone_equals_polars_unique(kind: pa.DataType, values: list[Any]) -> None:
    """All values of each type, twice, in one row group and in many."""
    table = pa.table({"x": pa.array([*values, *values], kind)})
    whole, cut = (hr.Dataset.of(TableSource(table, sizes)) for sizes in ([len(table)], [1] * len(table)))

    for nulls_equal in (True, False):
        expected = expected_ids(table, "first", nulls_equal)
        for verify in (False, True):
            method = hr.Exact(nulls_equal=nulls_equal, verify=verify)
            assert kept(whole, method) == expected
            assert kept(cut, method) == expected


def random_table(rows: int) -> pa.Table:
    random = np.random.default_rng(5)
    texts = np.array(["a", "b", "c", "d", "e", "f"])[random.integers(0, 6, rows)]
    numbers = random.integers(0, 5, rows).astype(np.float64)
    return pa.table({"text": texts.tolist(), "number": numbers, "pair": [[x, None] for x in numbers]})


def weaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave three bits of each key."""
    sound = exact.row_keys

    def weak(columns: Any, names: Any) -> Any:
        keys, has_null = sound(columns, names)
        return keys & np.array([7, 0], np.uint64), has_null

    monkeypatch.setattr(exact, "row_keys", weak)


@pytest.mark.parametrize("keep", ["first", "last", "none"])
@pytest.mark.parametrize("limit", [None, 1])
def test_colliding_keys_are_told_apart_by_values(
    monkeypatch: pytest.MonkeyPatch, keep: Any, limit: int | None
) -> None:
    """Each value keeps its own preferred sample, even if memory holds one row group at a time."""
    weaken(monkeypatch)
    table = random_table(120)
    dataset = hr.Dataset.of(TableSource(table, [30, 50, 1, 39]))
    expected = expected_ids(table, keep, False)

    assert kept(dataset, hr.Exact(verify=True), keep=keep, memory_limit=limit) == expected
    assert kept(dataset, keep=keep) != expected


def test_colliding_keys_with_a_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample of highest value is kept of each value, not of each key."""
    weaken(monkeypatch)
    values, quality = [1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 9, 1, 2, 8, 2, 1, 1, 1, 1, 1, 1]
    dataset = hr.from_arrays({"x": values, "quality": quality})
    report = hr.find_duplicates(dataset, "x", hr.Exact(verify=True), priority="quality")

    assert report.pairs.rows() == [(0, 3, 1.0), (2, 5, 1.0), (4, 1, 1.0)]


def test_colliding_texts_are_compared_as_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are held against each other in the form in which they were hashed."""
    weaken(monkeypatch)
    texts = ["Ab", "aB ", "b", "B", *"cdefghijkl"]
    dataset = hr.from_arrays({"x": texts})

    report = hr.find_duplicates(dataset, method=hr.Exact(["strip", "casefold"], verify=True))
    assert report.pairs.rows() == [(1, 0, 1.0), (3, 2, 1.0)]


@pytest.mark.parametrize(
    ("normalize", "classes"),
    [
        (None, [["ﬁ"], ["fi"], ["FI"], ["é"], ["e\u0301"], ["É"], [" a\u00a0\t b "], ["a b"]]),
        ("nfc", [["ﬁ"], ["fi"], ["FI"], ["é", "e\u0301"], ["É", "E\u0301"]]),
        ("nfkc", [["ﬁ", "fi"], ["FI"], ["é", "e\u0301"], ["a\u00a0b", "a b"]]),
        ("casefold", [["ﬁ", "fi", "FI"], ["é", "É"], ["e\u0301", "E\u0301"], ["ß", "SS", "ẞ"]]),
        (["casefold", "nfc"], [["é", "e\u0301", "É", "E\u0301"], ["ǰ", "J\u030c", "j\u030c"]]),
        ("strip", [["a  b", " a  b\n", "\u3000a  b"], ["a b"]]),
        ("whitespace", [["a b", " a\u00a0\t b ", "a\nb"], ["ab"], ["", " "]]),
        (["strip", "whitespace", "casefold", "nfkc"], [["ﬁ x", "FI\u3000 X ", "fi\u00a0x"]]),
    ],
)
@pytest.mark.parametrize(
    "kind", [pa.string(), pa.string_view(), pa.dictionary(pa.int32(), pa.large_string())]
)
def test_texts_are_normalised_as_told(normalize: Any, classes: list[list[str]], kind: pa.DataType) -> None:
    """Texts of one class are duplicates of its first, in text columns and categories; the data stays."""
    texts = [text for members in classes for text in members]
    firsts = [0, *accumulate(len(members) for members in classes)][:-1]
    dataset = hr.from_arrow(pa.table({"x": pa.array([*texts, None, None], kind)}))

    for verify in (False, True):
        found = kept(dataset, hr.Exact(normalize, verify=verify))
        assert found == [*firsts, len(texts), len(texts) + 1]
    assert dataset.dedup(method=hr.Exact(normalize)).to_polars()["x"].to_list()[0] == texts[0]


def test_only_text_columns_are_normalised() -> None:
    """Texts inside of lists, and bytes, are compared as they are."""
    dataset = hr.from_arrow(pa.table({"list": [["a"], ["A"]], "bytes": [b"a", b"A"], "text": ["a", "A"]}))

    assert kept(dataset, hr.Exact("casefold"), on="list") == [0, 1]
    assert kept(dataset, hr.Exact("casefold"), on="bytes") == [0, 1]
    assert kept(dataset, hr.Exact("casefold"), on="text") == [0]


@pytest.mark.parametrize(
    "settings",
    [
        {"normalize": "lower"}, {"normalize": 3}, {"normalize": ["nfc", 3]}, {"normalize": ["nfc", "nfkc"]},
        {"nulls_equal": 1}, {"verify": "yes"},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_right_are_refused(settings: dict[str, Any]) -> None:
    """The message names the setting and shows what was got."""
    with pytest.raises(OptionError, match=f"`{next(iter(settings))}`.* got"):
        hr.Exact(**settings)


@pytest.mark.parametrize("nest", ["{}", "list", "struct"])
def test_types_without_a_hash_are_refused(nest: str) -> None:
    """Before anything is read, with the name of the column."""
    union = pa.UnionArray.from_dense(
        pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["a"])]
    )
    column = {
        "{}": union,
        "list": pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), union),
        "struct": pa.StructArray.from_arrays([union], ["member"]),
    }[nest]
    dataset = hr.from_arrow(pa.table({"fine": [1, 2], "odd": column}))

    with pytest.raises(SchemaError, match="`odd`"):
        hr.find_duplicates(dataset)


def test_shards_and_executors_make_no_difference(tmp_path: Path) -> None:
    """Rows in several files, read one by one and by several threads."""
    table = random_table(200)
    for number in range(4):
        pq.write_table(table.slice(number * 50, 50), tmp_path / f"{number}.parquet", row_group_size=17)
    dataset = hr.open(tmp_path)

    for executor in (hr.Serial(), hr.Threads(3)):
        for keep in ("first", "last", "none"):
            assert kept(dataset, keep=keep, executor=executor) == expected_ids(table, keep, False)


@pytest.mark.parametrize("verify", [False, True])
def test_images_as_arrays_and_as_bytes(verify: bool) -> None:
    """Planted copies are found among real images, and one pixel makes another image."""
    from PIL import Image

    images = hr.open(FASHION / "t10k-images-idx3-ubyte.gz").select(["image"]).take(np.arange(500))["image"]
    near = images[[7]].copy()
    near[0, 3, 3] ^= 1
    images = np.concatenate([images, images[[5, 499]], near])
    encoded: list[bytes] = []
    for image in images:
        file = BytesIO()
        Image.fromarray(image).save(file, "png")
        encoded.append(file.getvalue())
    expected = [(500, 5, 1.0), (501, 499, 1.0)]

    for values in (images, images.astype(np.float32) / 255, encoded, images.reshape(-1, 784)):
        report = hr.find_duplicates(hr.from_arrays({"image": values}), method=hr.Exact(verify=verify))
        assert report.pairs.rows() == expected
