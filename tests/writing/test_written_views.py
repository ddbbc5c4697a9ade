"""Augmented and packed samples offline: what a loader delivers online."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr


def images(count: int = 37) -> hr.Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 6, 5, 1), dtype=np.uint8)
    label = np.arange(count) % 3
    return hr.from_arrays({"image": pixels, "label": label, "number": np.arange(count)})


def epochs_of(ds: hr.Dataset, epochs: int, **arguments: Any) -> dict[str, np.ndarray]:
    loader = ds.loader(1, output="numpy", **arguments)
    batches = [batch for _ in range(epochs) for batch in loader]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def arrays_in(folder: Path) -> dict[str, np.ndarray]:
    ds = hr.open(folder)
    batch = ds.take(range(len(ds)))
    return {name: np.asarray(batch[name]) for name in batch.columns}


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


LABEL = {"label": "label", "num_classes": 3}
OPS = {
    "flips": [hr.augment.HorizontalFlip("image"), hr.augment.RandomCrop("image", 4)],
    "mixed with the next": [
        hr.augment.HorizontalFlip("image"),
        hr.augment.MixUp("image", **LABEL),
    ],
    "mixed with any": [hr.augment.MixUp("image", **LABEL, partner="id")],
}


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("shuffle", [False, "global"])
def test_views_are_the_online_epochs(tmp_path: Path, name: str, shuffle: Any) -> None:
    """Three views are what a loader delivers in epochs 0, 1 and 2, bit for bit."""
    ds = images().augment(*OPS[name])
    ds.write(tmp_path / "out", views=3, seed=5, shuffle=shuffle or None, rows_per_shard=17, row_group_rows=6)
    expected = epochs_of(ds, 3, seed=5, shuffle=shuffle)
    assert_equal(arrays_in(tmp_path / "out"), expected)
    count = len(ds)
    first, second = expected["image"][:count], expected["image"][count : 2 * count]
    assert not np.array_equal(first, second)


def test_views_do_not_depend_on_the_cut(tmp_path: Path) -> None:
    """The same rows come in whatever shards and row groups."""
    ds = images().augment(*OPS["flips"])
    ds.write(tmp_path / "one", views=2, shards=1)
    ds.write(tmp_path / "many", views=2, rows_per_shard=3)
    assert_equal(arrays_in(tmp_path / "one"), arrays_in(tmp_path / "many"))


def test_repeated_samples_draw_apart(tmp_path: Path) -> None:
    """A selection's repeats are augmented apart, as online."""
    ds = images().rows([4, 4, 4, 4, 9]).augment(hr.augment.GaussianNoise("image", sigma=20.0))
    ds.write(tmp_path / "out")
    found = arrays_in(tmp_path / "out")
    assert_equal(found, epochs_of(ds, 1))
    assert len({row.tobytes() for row in found["image"][:4]}) == 4


def test_packed_arrays_are_written_as_they_are_delivered(tmp_path: Path) -> None:
    """`pack` lays columns out, and the layout is what comes back."""
    ds = hr.from_arrays({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0], "t": [[1], [2, 3], []]})
    packed = ds.pack(x=["a", "b"], t="t", pad_to=2, dtype={"x": "float32"})
    packed.write(tmp_path / "out", row_group_rows=2)
    batch = packed.take([0, 1, 2])
    assert_equal(arrays_in(tmp_path / "out"), {name: np.asarray(batch[name]) for name in batch.columns})


def test_no_samples_keep_the_types_of_arrays(tmp_path: Path) -> None:
    """An empty selection of packed samples is a data set of zero rows, with the arrays' types."""
    packed = hr.from_arrays({"a": [1.0, 2.0], "b": [3.0, 4.0]}).pack(x=["a", "b"])
    packed.rows([]).write(tmp_path / "out")
    packed.write(tmp_path / "full")
    assert len(hr.open(tmp_path / "out")) == 0
    assert hr.open(tmp_path / "out").schema == hr.open(tmp_path / "full").schema


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda ds: ds, {"views": 2}, "2 views of samples that nothing changes"),
        (lambda ds: ds, {"views": 0}, "`views` must be a whole number of at least 1, got 0"),
        (
            lambda ds: ds.augment(hr.augment.HorizontalFlip("image", same_on_batch=True)),
            {},
            "`same_on_batch` needs the batches of a loader",
        ),
        (
            lambda ds: ds.augment(hr.augment.HorizontalFlip("image")),
            {"partition_by": "number"},
            "not with the arrays of `pack` and `augment`",
        ),
    ],
)
def test_views_that_cannot_be_are_refused(tmp_path: Path, change: Any, arguments: Any, message: str) -> None:
    """The message says what must hold; nothing is written."""
    with pytest.raises(hr.OptionError, match=message):
        change(images()).write(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_lists_as_long_as_the_longest_of_a_batch_are_refused(tmp_path: Path) -> None:
    """Their width would differ from row group to row group."""
    ds = hr.from_arrays({"t": [[1], [2, 3], [4]]}).pack(t="t", pad_to="longest")
    with pytest.raises(hr.JobError, match="`pad_to` of one length"):
        ds.write(tmp_path / "out", row_group_rows=1)
