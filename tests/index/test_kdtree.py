"""The kdtree answers as looking at every point does, ties and duplicates included."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_data import check_answer, cut

import headrace as hr

KINDS = {"grid": np.int8, "float32": np.float32, "float64": np.float64}


def distances(points: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The definition: the square root of the sum of squares, column after column."""
    total = np.zeros(len(points))
    for column in range(points.shape[1]):
        total += (points[:, column] - query[column]) ** 2
    return np.sqrt(total)


@st.composite
def clouds(draw: st.DrawFn) -> tuple[hr.Dataset, np.ndarray, np.ndarray, list[str]]:
    """A data set; the points that are whole and take part, their ids, and the columns."""
    width, kind = draw(st.integers(1, 5)), draw(st.sampled_from(sorted(KINDS)))
    rows = draw(st.integers(1, 60))
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    spread = draw(st.sampled_from([1, 2, 50]))
    values = generator.integers(-spread, spread + 1, (rows, width)).astype(np.float64)
    if kind != "grid":
        values = np.where(generator.random((rows, 1)) < 0.5, values, generator.normal(size=(rows, width)))
    values = values.astype(KINDS[kind])
    names = [f"c{place}" for place in range(width)]
    odd = generator.random((rows, width)) < draw(st.sampled_from([0, 0, 0.1]))
    frame = pl.DataFrame(
        {
            name: pl.Series(
                [None if hidden else value for value, hidden in zip(column, mask, strict=True)], dtype=pl.Int8
            )
            if kind == "grid"
            else np.where(mask, generator.choice([np.nan, np.inf, -np.inf], rows), column)
            for name, column, mask in zip(names, values.T.tolist(), odd.T, strict=True)
        }
    )
    ds = cut(frame, draw(st.integers(0, rows)))
    ids = np.arange(rows)
    if draw(st.booleans()):
        ids = np.sort(generator.choice(rows, draw(st.integers(1, rows)), replace=False))
        ds = ds.rows(generator.permutation(ids))
    ids = ids[~odd[ids].any(axis=1)]
    return ds, values[ids].astype(np.float64), ids, names


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.data())
def test_answers_are_those_of_looking_at_every_point(data: st.DataObject) -> None:
    """Nearest with ties by id, within a radius, in a box, and at a point, in memory and in a folder."""
    ds, points, ids, names = data.draw(clouds())
    generator = np.random.default_rng(0)
    # On points, between them, and anywhere.
    queries = np.concatenate(
        [points[:4], (points[:2] + points[-2:]) / 2, generator.normal(size=(2, len(names)))]
    )
    radius = data.draw(st.sampled_from([0, 0.5, 1, 2**0.5, 2, 3, 1e9, np.inf]))
    with tempfile.TemporaryDirectory() as folder:
        path = data.draw(st.sampled_from([None, Path(folder) / "index"]))
        with ds.index(names, kind="kdtree", path=path) as index:
            for k in sorted({1, min(2, len(ids)), len(ids) // 2, len(ids)} - {0}) if len(ids) else []:
                found, far = index.nearest(queries, k)
                assert found.shape == far.shape == (len(queries), k)
                assert (found.dtype, far.dtype) == (np.int64, np.float64)
                for row, query in enumerate(queries):
                    expected = distances(points, query)
                    order = np.lexsort((ids, expected))[:k]
                    assert found[row].tolist() == ids[order].tolist()
                    assert far[row].tolist() == expected[order].tolist()
            for query, near in zip(queries, index.within(queries, radius), strict=True):
                check_answer(near, ids[distances(points, query) <= radius].tolist())
            low, high = data.draw(corners(points, len(names))), data.draw(corners(points, len(names)))
            inside = np.ones(len(ids), np.bool_)
            for column, (least, largest) in enumerate(zip(low, high, strict=True)):
                inside &= points[:, column] >= (-np.inf if least is None else least)
                inside &= points[:, column] <= (np.inf if largest is None else largest)
            check_answer(index.box(low, high), ids[inside].tolist())
            check_answer(index.range(low, high), ids[inside].tolist())
            same = (points[:, None] == queries[None]).all(axis=2).any(axis=1)
            check_answer(index.lookup(queries), ids[same].tolist())
            assert len(index) == len(ids)


def corners(points: np.ndarray, width: int) -> st.SearchStrategy[list[float | None]]:
    values = [None, 0.0, 1.0, -1.0, np.inf, -np.inf, *points.ravel().tolist()]
    return st.lists(st.sampled_from(values), min_size=width, max_size=width)


def test_thousands_of_equal_points() -> None:
    """Where everything is equally near, the lowest ids come first."""
    ds = hr.from_arrays({"x": np.zeros(20_000), "y": np.zeros(20_000)}).rows(np.arange(19_999, 5, -1))
    index = ds.index(["x", "y"], kind="kdtree")
    ids, far = index.nearest([[0, 0], [3, 4]], k=3)

    assert ids.tolist() == [[6, 7, 8]] * 2
    assert far.tolist() == [[0.0] * 3, [5.0] * 3]
    check_answer(index.within([3, 4], 5)[0], list(range(6, 20_000)))
    check_answer(index.box([0, 0], [0, 0]), list(range(6, 20_000)))


def test_boxes_among_many_points() -> None:
    """A box, half of it open, among points that fill many leaves."""
    points = np.random.default_rng(2).random((50_000, 3))
    ds = hr.from_arrays({name: points[:, place] for place, name in enumerate("xyz")})
    index = ds.index(["x", "y", "z"], kind="kdtree")

    inside = (points[:, 0] >= 0.2) & (points[:, 1] <= 0.3) & (points[:, 2] >= 0.9) & (points[:, 2] <= 0.95)
    check_answer(index.box([0.2, None, 0.9], [None, 0.3, 0.95]), np.flatnonzero(inside).tolist())
    check_answer(index.box(None, [1, 1, 0.5]), np.flatnonzero(points[:, 2] <= 0.5).tolist())


def test_one_column_takes_plain_numbers() -> None:
    """With one column a number is a point, and an array of them are points."""
    index = hr.from_arrays({"x": [5, 1, 3]}).index("x", kind="kdtree")

    assert index.nearest(2, k=1)[0].tolist() == [[1]]
    assert index.nearest([2, 6], k=1)[0].tolist() == [[1], [0]]
    check_answer(index.box(1, 3), [1, 2])
    check_answer(index.lookup([3, 5, 4]), [0, 2])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda index: index.nearest([0, 0], k=4), "at most the number of points, which is 3, got 4"),
        (lambda index: index.nearest([0, 0], k=0), "at least 1, got 0"),
        (lambda index: index.nearest([0, 0], k=1.5), "whole number"),
        (lambda index: index.nearest([0, 0, 0]), r"shape \[2\] or \[n, 2\].*got \[3\]"),
        (lambda index: index.nearest([0, np.nan]), "finite"),
        (lambda index: index.nearest([0, np.inf]), "finite"),
        (lambda index: index.within([0, 0], -1), "`radius`"),
        (lambda index: index.within([0, 0], float("nan")), "`radius`"),
        (lambda index: index.within([0, 0], "1"), "`radius`"),
        (lambda index: index.box([0], [1, 1]), "a corner must hold one number or None"),
        (lambda index: index.box([0, np.nan], None), "a corner must hold one number or None"),
    ],
)
def test_bad_questions_are_refused(ask: Any, message: str) -> None:
    """What cannot be meant is an error that says what can."""
    index = hr.from_arrays({"x": [0.0, 1, 2, np.nan], "y": [0, 1, 2, 3]}).index(["x", "y"], kind="kdtree")
    with pytest.raises(hr.OptionError, match=message):
        ask(index)


def test_values_that_are_no_numbers_are_refused_by_name() -> None:
    """Text in a question or a column is named; so are numbers that no distance can be told of."""
    ds = hr.from_arrays({"x": [1, 2**60], "word": ["a", "b"], "far": [1e200, 0]})
    with pytest.raises(hr.SchemaError, match="column `word` of type string"):
        ds.index(["x", "word"], kind="kdtree")
    with pytest.raises(hr.SchemaError, match=r"memory, row group 0, column `x`: .*9.01e\+15, got 1.15e\+18"):
        ds.index("x", kind="kdtree")
    with pytest.raises(hr.SchemaError, match="column `far`"):
        ds.index("far", kind="kdtree")
    index = hr.from_arrays({"x": [1]}).index("x", kind="kdtree")
    with pytest.raises(hr.SchemaError, match=r"columns `x` \(int64\) are looked up by numbers, got 'one'"):
        index.nearest("one")
    with pytest.raises(hr.SchemaError, match="looked up by numbers"):
        index.within([["1"]], 1)
