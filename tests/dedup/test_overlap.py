"""What two data sets share: every pair that a comparison of all with all finds, and nothing else."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from distance_data import cut, edited, long_text, some
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import headrace as hr

FEW = st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=12)
EXACT: list[Any] = [None, hr.Exact(verify=True), hr.Bloom(), hr.MinHash(), hr.SimHash()]


def check_ids(found: hr.Overlap, train: set[int], test: set[int], samples: int) -> None:
    """The ids are those of samples with a duplicate on the other side, and fit the pairs."""
    assert found.train_ids.tolist() == sorted(train)
    assert found.test_ids.tolist() == sorted(test)
    assert found.train_ids.dtype == found.test_ids.dtype == np.int64
    assert found.share == len(test) / max(samples, 1)
    assert set(found.pairs["test_id"]) == test
    assert set(found.pairs["train_id"]) <= train
    assert found.pairs.equals(found.pairs.sort("test_id", "train_id"))


@some
@given(FEW, FEW, st.sampled_from(EXACT))
def test_equal_samples_are_those_of_a_join(
    train: list[str | None], test: list[str | None], method: Any
) -> None:
    """Each test sample with the first train sample of its value; null equals nothing."""
    one, other = ({"x": pa.array(values, pa.string())} for values in (train, test))

    found = hr.overlap(cut(one, 3), cut(other, 4), method)

    frames = [pl.DataFrame(values).with_row_index("id").cast({"id": pl.Int64}) for values in (one, other)]
    firsts = frames[0].unique("x", keep="first", maintain_order=True)
    joined = frames[1].join(firsts, on="x", suffix="_of_train").sort("id")
    assert found.pairs.rows() == [
        (row["id_of_train"], row["id"], 1.0) for row in joined.iter_rows(named=True)
    ]
    semi = frames[0].join(frames[1], on="x", how="semi")
    check_ids(found, set(semi["id"]), set(joined["id"]), len(test))


def codes_of(dataset: hr.Dataset, method: hr.SimHash) -> list[int]:
    batch = dataset.to_arrow().combine_chunks().to_batches()[0]
    return method.signer(batch.schema)(batch).arrays["codes"].tolist()


def bits_between(one: str, other: str) -> int:
    first, second = codes_of(cut({"text": [one, other]}), hr.SimHash())
    return (first ^ second).bit_count()


@pytest.mark.parametrize("distance", [0, 2, 6])
@pytest.mark.parametrize("seed", range(4))
def test_similar_samples_are_those_of_all_with_all(distance: int, seed: int) -> None:
    """Repeats on either side do not hide what is similar across: every test sample is listed."""
    random = np.random.default_rng(seed)
    texts = [long_text(80, number) for number in range(12)]
    every = texts + [edited(text, 1 + number % 4, number) for number, text in enumerate(texts)]
    train, test = (cut({"text": random.choice(every, 40).tolist()}) for _ in range(2))
    method = hr.SimHash(distance)

    found = hr.overlap(train, test, method, executor=hr.Threads(2))

    codes, others = codes_of(train, method), codes_of(test, method)
    near = {
        (one, other): 1 - (codes[one] ^ others[other]).bit_count() / 64
        for one, other in product(range(40), range(40))
        if (codes[one] ^ others[other]).bit_count() <= distance
    }
    firsts = {pair: score for pair, score in near.items() if codes.index(codes[pair[0]]) == pair[0]}
    assert {(one, other): score for one, other, score in found.pairs.rows()} == firsts
    assert len(found.pairs) == len(firsts)
    check_ids(found, {one for one, _ in near}, {other for _, other in near}, 40)


def shingles_of(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[place : place + 3]) for place in range(len(words) - 2)}


def test_texts_of_shared_shingles_are_those_of_all_with_all() -> None:
    """MinHash: every pair of train and test at the threshold, by the sets of shingles themselves."""
    random = np.random.default_rng(0)
    texts = [long_text(60, number) for number in range(12)]
    every = texts + [edited(text, 1 + number % 2, number) for number, text in enumerate(texts)]
    sides = [random.choice(every, 40).tolist() for _ in range(2)]

    found = hr.overlap(*(cut({"text": side}) for side in sides), hr.MinHash(0.7, ngram=3))

    sets, others = ([shingles_of(text) for text in side] for side in sides)
    near = {
        (one, other): len(sets[one] & others[other]) / len(sets[one] | others[other])
        for one, other in product(range(40), range(40))
    }
    near = {pair: score for pair, score in near.items() if score >= 0.7}
    firsts = {pair: score for pair, score in near.items() if sets.index(sets[pair[0]]) == pair[0]}
    assert {(one, other): score for one, other, score in found.pairs.rows()} == pytest.approx(firsts)
    assert 0 < sum(score < 1 for score in firsts.values()) < len(firsts)
    check_ids(found, {one for one, _ in near}, {other for _, other in near}, 40)


def test_images_are_compared_however_they_are_held() -> None:
    """Encoded images with arrays of another size, by what they show."""
    random = np.random.default_rng(1)
    images = [
        Image.fromarray(random.integers(0, 256, (6, 8), np.uint8)).resize((96, 72), Image.Resampling.BICUBIC)
        for _ in range(6)
    ]
    files = [io.BytesIO() for _ in images]
    for image, file in zip(images, files, strict=True):
        image.save(file, "PNG")
    train = hr.from_arrays({"image": np.stack([np.asarray(image.resize((48, 36))) for image in images[:4]])})
    test = hr.from_arrays({"image": [file.getvalue() for file in files[2:]]})

    found = hr.overlap(train, test, hr.ImageHash(distance=4))

    assert [row[:2] for row in found.pairs.rows()] == [(2, 0), (3, 1)]


def test_a_repeat_within_test_is_listed_with_what_is_similar_to_the_other() -> None:
    """Two equal test samples, a train sample that is merely similar to them: both are listed."""
    text = long_text(600, 0)
    near = next(copy for seed in range(50) if 0 < bits_between(text, copy := edited(text, 1, seed)) <= 3)

    found = hr.overlap(cut({"text": [near]}), cut({"text": ["other words here", text, text]}), hr.SimHash())

    assert [row[:2] for row in found.pairs.rows()] == [(0, 1), (0, 2)]
    assert (found.pairs["score"] < 1).all()


def test_parts_of_one_data_set_are_compared() -> None:
    """A sample that is in both is its own duplicate, duplicates within a part do not matter."""
    ds = cut({"x": ["a", "b", "a", "c", "b", "b"]}, 2)

    assert hr.overlap(ds.rows([0, 1, 3]), ds.rows([2, 4, 5])).pairs.rows() == [
        (0, 2, 1.0),
        (1, 4, 1.0),
        (1, 5, 1.0),
    ]
    assert hr.overlap(ds.rows([0, 2]), ds.rows([2, 3])).pairs.rows() == [(0, 2, 1.0)]
    assert hr.overlap(ds.rows([0, 2]), ds.rows([1, 3, 4])).pairs.is_empty()
    assert hr.overlap(ds.rows([]), ds).share == hr.overlap(ds, ds.rows([])).share == 0


def test_what_is_shared_can_be_left_out() -> None:
    """Without the shared samples there is no overlap, whichever side is cleaned."""
    train = cut({"x": [1, 2, 3, 3, 4]})
    test = cut({"x": [3, 5, 2, 3]})
    found = hr.overlap(train, test)

    assert found.train_ids.tolist() == [1, 2, 3]
    assert hr.overlap(train, test.minus(test.rows(found.test_ids))).pairs.is_empty()
    assert hr.overlap(train.minus(train.rows(found.train_ids)), test).pairs.is_empty()
    assert str(found).splitlines() == [
        "test      3 of 4 samples (75.0 %) have a duplicate in train",
        "train     3 of 5 samples (60.0 %) have a duplicate in test",
        "found by  " + found.method,
    ]


@pytest.mark.parametrize("executor", [hr.Serial(), hr.Threads(3)], ids=["serial", "threads"])
def test_every_executor_finds_the_same(tmp_path: Path, executor: hr.Executor) -> None:
    """Executors, memory, row groups and kept signatures do not matter."""
    every = [long_text(80, number % 30) for number in range(90)]
    train, test = hr.from_arrays({"text": every[:50]}), hr.from_arrays({"text": every[45:]})
    small = cut({"text": every[:50]}, 9), cut({"text": every[45:]}, 8)
    expected = hr.overlap(*small, hr.SimHash(4), executor=executor).pairs.rows()
    assert expected

    for _ in range(2):
        found = hr.overlap(
            train, test, hr.SimHash(4), executor=executor, memory_limit=4_000, cache=tmp_path, progress=False
        )
        assert found.pairs.rows() == expected


WIDE = {
    "whole numbers": ([1, 2], pa.int8(), pa.uint64()),
    "floats": ([1.0, 2.0], pa.float32(), pa.float64()),
    "texts": (["x", "y"], pa.dictionary(pa.int8(), pa.string()), pa.string_view()),
    "bytes": ([b"x", b"y"], pa.binary(), pa.binary(1)),
    "lists": ([[1], [2]], pa.list_(pa.int8()), pa.large_list(pa.int8())),
    "lists of texts": ([["x"], ["y"]], pa.list_(pa.string()), pa.large_list(pa.string_view())),
    "instants": ([0, 10**9], pa.timestamp("ms"), pa.timestamp("ns")),
    "structs": ([{"a": 1}, {"a": 2}], pa.struct({"a": pa.int8()}), pa.struct({"a": pa.int16()})),
}


@pytest.mark.parametrize("name", WIDE)
def test_values_are_compared_however_they_are_held(name: str) -> None:
    values, one, other = WIDE[name]
    scale = 10**6 if name == "instants" else 1
    train = hr.from_arrow(
        pa.table({"x": pa.array([v // scale for v in values] if scale > 1 else values, one)})
    )
    test = hr.from_arrow(pa.table({"x": pa.array(values[::-1], other)}))

    assert hr.overlap(train, test).pairs.rows() == [(1, 0, 1.0), (0, 1, 1.0)]


def test_data_sets_that_do_not_fit_are_refused() -> None:
    """Types that can never be equal are named, both; so are columns and arguments."""
    whole, texts = hr.from_arrays({"x": [1]}), hr.from_arrays({"x": ["1"]})

    with pytest.raises(hr.SchemaError, match=r"column `x` .* got int64 in train and .*string in test"):
        hr.overlap(whole, texts)
    lists = hr.from_arrow(pa.table({"x": pa.array([[1]])}))
    with pytest.raises(hr.SchemaError, match=r"list<.*int64>"):
        hr.overlap(whole, lists)
    with pytest.raises(hr.SchemaError, match=r"list<.*double>"):
        hr.overlap(lists, hr.from_arrow(pa.table({"x": pa.array([[1.0]])})))
    with pytest.raises(hr.SchemaError, match=r"list<.*int8>"):
        hr.overlap(lists, hr.from_arrow(pa.table({"x": pa.array([[1]], pa.list_(pa.int8()))})))
    shapes = [hr.from_arrays({"x": np.zeros((1, *shape), np.uint8)}) for shape in ((2, 3), (2, 4))]
    with pytest.raises(hr.SchemaError, match=r"shape=\[2,3\].* in train and .*shape=\[2,4\]"):
        hr.overlap(*shapes)
    with pytest.raises(hr.UnknownColumnError, match="no column `x`"):
        hr.overlap(whole, hr.from_arrays({"y": [1]}))
    with pytest.raises(hr.OptionError, match="data set, got DataFrame"):
        hr.overlap(whole, pl.DataFrame({"x": [1]}))  # type: ignore[arg-type]
    with pytest.raises(hr.OptionError, match="a size must be"):
        hr.overlap(whole, whole, memory_limit="much")
    with pytest.raises(hr.SchemaError, match="must hold texts"):
        hr.overlap(whole, whole, hr.SimHash(), on="x")
