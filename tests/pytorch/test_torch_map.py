"""`ds.to_torch_map()`: random access for torch's own samplers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler
from torch_data import numbers

import headrace as hr
from headrace.errors import UnknownSampleError
from headrace.execution.remember import RememberingRecipe
from headrace.testing import FaultySource


@pytest.fixture
def dataset(tmp_path: Path) -> hr.Dataset:
    """Files with uneven row groups, numbers and text, of which some samples are chosen."""
    number = np.arange(60)
    table = pa.table({"x": number * 3, "half": number / 2, "text": [f"row {row}" for row in number]})
    pq.write_table(table.slice(0, 23), tmp_path / "a.parquet", row_group_size=7)
    pq.write_table(table.slice(23), tmp_path / "b.parquet", row_group_size=20)
    return hr.open(tmp_path).rows([5, 4, 59, 0, 5, *range(20, 50)])


def assert_sample(sample: dict[str, Any], id: int) -> None:
    assert sample["x"].item() == id * 3
    assert sample["x"].shape == ()
    assert sample["half"].dtype == torch.float64
    assert sample["half"].item() == id / 2
    assert sample["text"] == f"row {id}"


def test_every_sample_is_that_of_take(dataset: hr.Dataset) -> None:
    """Index i gives the i-th selected sample, repeats included, from both ends."""
    samples = dataset.to_torch_map()
    ids = dataset.sample_ids.tolist()

    assert len(samples) == len(ids)
    for index, id in enumerate(ids):
        assert_sample(samples[index], id)
        assert_sample(samples[index - len(ids)], id)
        assert samples[index]["x"].item() == dataset.take([id])["x"][0]


def test_several_samples_at_once(dataset: hr.Dataset) -> None:
    """`__getitems__` gives the samples in the order asked for, repeats and negative indices included."""
    wanted = [3, -1, 3, 0, 17]
    samples = dataset.to_torch_map().__getitems__(wanted)

    assert [sample["x"].item() // 3 for sample in samples] == dataset.sample_ids[wanted].tolist()
    assert dataset.to_torch_map().__getitems__([]) == []


def test_tensors_and_numpy_numbers_are_indices(dataset: hr.Dataset) -> None:
    """Samplers may yield whole numbers of any library."""
    samples = dataset.to_torch_map()

    assert samples[np.int64(2)]["text"] == samples[torch.tensor(2)]["text"] == "row 59"


@pytest.mark.parametrize("index", [35, -36, 10**9])
def test_an_index_out_of_range_is_refused(dataset: hr.Dataset, index: int) -> None:
    """An index beyond either end is an `IndexError` that names it, which also ends iteration."""
    with pytest.raises(UnknownSampleError, match=f"got {index}"):
        dataset.to_torch_map()[index]
    assert len(list(dataset.to_torch_map())) == 35


@pytest.mark.parametrize(("count", "context"), [(0, None), (2, "fork"), (1, "spawn")])
def test_samplers_of_torch(dataset: hr.Dataset, count: int, context: str | None) -> None:
    """Two ranks of a `DistributedSampler`, with and without workers, share the samples."""
    samples = dataset.to_torch_map()
    seen: list[int] = []
    for rank in range(2):
        sampler = DistributedSampler(samples, 2, rank, shuffle=True, seed=1, drop_last=True)
        batches = DataLoader(samples, 5, sampler=sampler, num_workers=count, multiprocessing_context=context)
        for batch in batches:
            assert batch["text"] == [f"row {value // 3}" for value in batch["x"].tolist()]
            seen += (batch["x"] // 3).tolist()

    assert len(seen) == 34
    assert set(seen) <= set(dataset.sample_ids.tolist())


def test_packed_arrays_and_images() -> None:
    """Samples of packed columns and N-d arrays have the shape of one row."""
    image = np.arange(10 * 6, dtype=np.uint8).reshape(10, 2, 3)
    samples = hr.from_arrays({"image": image, "a": np.arange(10.0)}).to_torch_map()
    packed = numbers(10).pack(pair=["x", "x"]).to_torch_map()

    assert samples[4]["image"].tolist() == image[4].tolist()
    assert packed[4]["pair"].tolist() == [12, 12]


def test_rows_that_a_loader_would_copy(tmp_path: Path) -> None:
    """Rows that a loader copies right out of their file are remembered like others."""
    images = np.random.default_rng(0).random((20, 8, 32))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = images
    samples = hr.open(tmp_path / "a.h5").to_torch_map()

    assert samples[7]["image"].tolist() == images[7].tolist()
    assert [sample["image"][0, 0].item() for sample in samples.__getitems__([3, -1])] == [
        images[3, 0, 0],
        images[19, 0, 0],
    ]


def test_row_groups_are_read_once_while_they_fit() -> None:
    """Samples taken one by one read their row group once, not each time."""
    source = FaultySource(hr.from_arrays({"x": np.arange(100)}).recipe.source, {})
    samples = hr.Dataset.of(source).to_torch_map()
    for index in range(100):
        assert samples[index]["x"].item() == index

    assert source.reads == {0: 1}


def test_memory_of_row_groups_is_bounded(tmp_path: Path) -> None:
    """What does not fit the limit is forgotten, the longest unused first, and read again."""
    pq.write_table(pa.table({"x": np.arange(40)}), tmp_path / "a.parquet", row_group_size=10)
    source = FaultySource(hr.open(tmp_path).recipe.source, {})
    recipe = RememberingRecipe.of(hr.Dataset.of(source).recipe, limit=2 * 10 * 8)
    groups = list(source.manifest)
    for number in (0, 1, 0, 2, 0, 1):  # 1 makes room for 2, and 2 for 1
        assert recipe.arrays(groups[number])[0]["x"][0] == number * 10

    assert source.reads == {0: 1, 1: 2, 2: 1}
    small = RememberingRecipe.of(hr.Dataset.of(source).recipe, limit=10)
    small.arrays(groups[3])
    small.arrays(groups[3])
    assert source.reads[3] == 2
