"""Every answer of `hash`, `btree` and `bloom` is the one that Polars gives."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_data import KINDS, asked, check_answer, columns, cut, ids_where, literal, some

import headrace as hr
from headrace.index import kernels


@pytest.mark.parametrize("kind", ["hash", "btree", "bloom"])
@pytest.mark.parametrize("name", KINDS)
def test_lookup_finds_what_polars_finds(name: str, kind: str) -> None:
    """One value and several, in memory and in a folder; nulls and foreign values find nothing."""

    @settings(some, max_examples=15)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        ds, frame, values = data.draw(columns(name))
        wanted = data.draw(st.lists(values, max_size=4))
        with tempfile.TemporaryDirectory() as folder:
            path = data.draw(st.sampled_from([None, Path(folder) / "index"]))
            with ds.index("x", kind=kind, path=path) as index:
                conditions = [asked(frame) == literal(frame, value) for value in wanted]
                for value, condition in zip(wanted, conditions, strict=True):
                    check_answer(index.lookup(value), ids_where(frame, condition))
                anywhere = pl.any_horizontal(conditions) if conditions else pl.lit(False)
                expected = ids_where(frame, anywhere)
                check_answer(index.lookup([*wanted, None]), expected)
                series = pl.Series(wanted, dtype=frame.schema["x"])
                check_answer(index.lookup(series), expected)
                check_answer(index.lookup(series.to_arrow()), expected)
                check_answer(index.lookup(None), [])
                check_answer(index.lookup([]), [])

    check()


@pytest.mark.parametrize("name", KINDS)
def test_range_finds_what_polars_finds(name: str) -> None:
    """Both ends included, either one open; NaN above all floats, and text in the order of its bytes."""

    @settings(some, max_examples=25)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        ds, frame, values = data.draw(columns(name))
        with tempfile.TemporaryDirectory() as folder:
            path = data.draw(st.sampled_from([None, Path(folder) / "index"]))
            with ds.index("x", kind="btree", path=path) as index:
                for _ in range(3):
                    low, high = data.draw(st.none() | values), data.draw(st.none() | values)
                    condition = pl.col("x").is_not_null()
                    if low is not None:
                        condition &= asked(frame) >= literal(frame, low)
                    if high is not None:
                        condition &= asked(frame) <= literal(frame, high)
                    check_answer(index.range(low, high), ids_where(frame, condition))

    check()


@some
@given(st.data(), st.sampled_from(["text", "category", "bytes"]))
def test_prefix_finds_what_begins_so(data: st.DataObject, name: str) -> None:
    """Text and bytes by how they begin; everything that is not null begins with nothing."""
    ds, frame, values = data.draw(columns(name))
    begin = data.draw(values.map(lambda value: value[: max(1, len(value) - 1)]))
    held = frame["x"].to_list()
    with tempfile.TemporaryDirectory() as folder:
        path = data.draw(st.sampled_from([None, Path(folder) / "index"]))
        with ds.index("x", kind="btree", path=path) as index:
            expected = [
                place for place, value in enumerate(held) if value is not None and value.startswith(begin)
            ]
            check_answer(index.prefix(begin), expected)
            check_answer(
                index.prefix(begin[:0]), [place for place, value in enumerate(held) if value is not None]
            )


def test_long_keys_of_one_beginning_are_told_apart(tmp_path: Path) -> None:
    """LMDB cuts keys off at 511 bytes; what differs beyond is found and ordered all the same."""
    texts = [
        "y",
        *("z" * 505 + "x" * length + end for length in (0, 3, 4, 5, 6, 7, 300) for end in ("", "a", "b")),
    ]
    frame = pl.DataFrame({"x": np.random.default_rng(0).permutation(texts * 3)}).with_row_index("id")
    with cut(frame.select("x"), 5).index("x", kind="btree", path=tmp_path / "index") as index:
        for text in texts:
            check_answer(index.lookup(text), ids_where(frame, pl.col("x") == text))
            check_answer(index.range(text, None), ids_where(frame, pl.col("x") >= text))
            check_answer(
                index.range("y", text), ids_where(frame, pl.col("x").is_between(pl.lit("y"), pl.lit(text)))
            )
            check_answer(index.prefix(text), ids_where(frame, pl.col("x").str.starts_with(text)))
        check_answer(index.lookup("z" * 700), [])
        check_answer(index.range("z" * 700, None), [])


def test_many_keys_fill_many_pages(tmp_path: Path) -> None:
    """A tree of several levels and transactions answers like Polars, unsorted time stamps included."""
    generator = np.random.default_rng(1)
    times = generator.integers(0, 10**6, 200_000).astype("datetime64[ms]")
    frame = pl.DataFrame({"x": times}).with_row_index("id")
    with cut(frame.select("x"), 70_000, 1).index("x", kind="btree", path=tmp_path / "index") as index:
        for low in generator.choice(times, 5):
            high = low + np.timedelta64(2000, "ms")
            check_answer(index.lookup(low), ids_where(frame, pl.col("x") == low))
            check_answer(index.range(low, high), ids_where(frame, pl.col("x").is_between(low, high)))


def test_texts_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every second text has the same hash, no other text's samples are found."""

    def collide(data: np.ndarray, starts: np.ndarray, out: np.ndarray) -> None:
        out[:] = np.diff(starts) % 2

    monkeypatch.setattr(kernels, "hash_bytes", collide)
    texts = ["a", "b", "cc", "a", "", "ddd", "e", "b"]
    ds = hr.from_arrays({"x": texts})
    for kind in ("hash", "bloom"):
        index = ds.index("x", kind=kind)
        for text in ["a", "b", "cc", "", "ddd", "e", "f", "gg"]:
            check_answer(index.lookup(text), [place for place, held in enumerate(texts) if held == text])
        check_answer(index.lookup(["b", "e", "zz", "f"]), [1, 6, 7])


@some
@given(st.lists(st.binary(max_size=20), max_size=20))
def test_compiled_hash_is_its_twin(texts: list[bytes]) -> None:
    """The kernel and its NumPy twin agree on every text."""
    data = np.frombuffer(b"".join(texts), np.uint8)
    starts = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    fast, slow = np.empty((2, len(texts)), np.uint64)
    kernels.hash_bytes(data, starts, fast)
    kernels.hash_bytes_slowly(data, starts, slow)

    assert fast.tolist() == slow.tolist()


def test_hashes_are_the_published_ones() -> None:
    """A stored index is read by later versions, so its hashes never change: FNV-1a and SplitMix64."""
    out = np.empty(3, np.uint64)
    kernels.hash_bytes(np.frombuffer(b"afoobar", np.uint8), np.array([0, 0, 1, 7]), out)

    assert out.tolist() == [0xCBF29CE484222325, 0xAF63DC4C8601EC8C, 0x85944171F73967E8]
    assert kernels.mix(np.array([0], np.uint64)).tolist() == [0xE220A8397B1DCDAF]


@pytest.mark.parametrize("kind", ["hash", "btree", "bloom"])
def test_answers_take_part_in_the_data_set(kind: str) -> None:
    """Ids stay those of the source; samples that are filtered out, order and repeats do not show."""
    frame = pl.DataFrame({"x": [5, 7, 5, None, 5, 7]})
    ds = cut(frame, 2, 2).rows([4, 2, 2, 5, 3])
    with ds.index("x", kind=kind) as index:
        check_answer(index.lookup(5), [2, 4])
        check_answer(index.lookup([7, 5]), [2, 4, 5])
        assert ds.rows(index.lookup(5)).to_polars()["x"].to_list() == [5, 5]


def test_range_and_prefix_take_part_in_the_data_set() -> None:
    """The same for what `btree` alone answers."""
    ds = hr.from_arrays({"x": ["ab", "b", "aa", "a"]}).rows([3, 2, 3])
    index = ds.index("x", kind="btree")

    check_answer(index.range("a", "b"), [2, 3])
    check_answer(index.prefix("a"), [2, 3])


@pytest.mark.parametrize("kind", ["hash", "btree", "bloom"])
def test_computed_columns_are_indexed(kind: str) -> None:
    """What the recipe computes is what is looked up, also behind `rename`, `map` and `pack`."""
    ds = hr.from_arrays({"a": [1, 2, 3], "b": [1, 1, 2]})
    ds = (
        ds.with_columns(c=pl.col("a") * pl.col("b"))
        .rename({"c": "d"})
        .map(lambda frame: frame.reverse().reverse())
    )
    with ds.pack(y="a").index("d", kind=kind) as index:
        check_answer(index.lookup([6, 1]), [0, 2])


@pytest.mark.parametrize("kind", ["hash", "btree", "bloom", "kdtree"])
def test_no_samples_at_all(kind: str, tmp_path: Path) -> None:
    """An index over nothing, and over nulls alone, finds nothing."""
    for values in ([], [None, None]):
        ds = hr.from_polars(pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)}))
        for path in (None, tmp_path / f"{len(values)}"):
            with ds.index("x", kind=kind, path=path) as index:
                check_answer(index.lookup(1.0), [])
                assert index.columns == ("x",)
