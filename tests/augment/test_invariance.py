"""Augmented samples are the same bytes in any batch, rank, thread and process, after any resume and cache."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from augment_data import COUNT, PARTNERS, epoch_of, in_files, in_memory, mixing_chain, plain_chain, rendered
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import headrace as hr
from headrace.testing import Fail, FaultySource
from headrace.testing.contents import contents

CHAINS = {"plain": plain_chain(), **{partner: mixing_chain(partner) for partner in PARTNERS}}
REPEATED = [5, 5, 3, 40, 5, 12, 3, *range(20, 30), 5]

datasets = st.sampled_from(["memory", "repeated"])


def chosen(kind: str) -> hr.Dataset:
    """Samples once each, or some of them several times."""
    return in_memory() if kind == "memory" else in_memory().rows(REPEATED)


@settings(max_examples=30, deadline=None)
@given(
    kind=datasets,
    chain=st.sampled_from(sorted(CHAINS)),
    shuffle=st.sampled_from([True, "global", hr.BlockShuffle(lanes=3, window=3)]),
    epoch=st.integers(0, 3),
    options=st.fixed_dictionaries(
        {
            "batch_size": st.integers(1, COUNT),
            "world_size": st.integers(1, 4),
            "threads": st.integers(0, 3),
            "ahead": st.integers(0, 3),
            "tail": st.sampled_from(["keep", "pad"]),
        }
    ),
)
def test_samples_do_not_depend_on_how_they_are_delivered(
    kind: str, chain: str, shuffle: Any, epoch: int, options: dict[str, Any]
) -> None:
    """Any batch size, world size, threads, depth and tail deliver what batches of one sample hold."""
    dataset = chosen(kind).augment(*CHAINS[chain])
    if options["world_size"] > 1:
        options["batch_size"] = min(options["batch_size"], 4)

    expected = epoch_of(dataset, epoch, shuffle=shuffle, batch_size=1)
    assert epoch_of(dataset, epoch, shuffle=shuffle, **options) == expected


@pytest.mark.parametrize("chain", ["plain", "id"])
def test_the_order_has_no_part_in_it(chain: str) -> None:
    """Shuffled in whichever way or not at all, a sample is changed in the same way, by itself or by id."""
    dataset = in_memory().augment(*CHAINS[chain])
    orders = [epoch_of(dataset, shuffle=shuffle) for shuffle in (False, True, "global")]

    assert orders[0] == orders[1] == orders[2]


@pytest.mark.parametrize("chain", sorted(CHAINS))
def test_sources_and_caches_have_no_part_in_it(tmp_path: Path, chain: str) -> None:
    """Decoded, gathered from arrays, cold and warm cache: the same bytes for the same ids."""
    (tmp_path / "data").mkdir()
    files = in_files(tmp_path / "data").augment(*CHAINS[chain])
    expected = epoch_of(files)
    cached = files.cache(str(tmp_path / "cache"))

    assert epoch_of(files, threads=2, batch_size=9) == expected
    assert [epoch_of(cached, threads=threads) for threads in (0, 2)] == [expected] * 2
    if chain != "order":  # whose partners follow the order, and that the row groups
        assert epoch_of(in_memory().augment(*CHAINS[chain])) == expected


def test_a_host_process_has_no_part_in_it() -> None:
    """Batches of another process are those of threads."""
    dataset = in_memory().augment(*CHAINS["id"])

    assert epoch_of(dataset, host="process", threads=1) == epoch_of(dataset)


def test_workers_of_a_dataloader_have_no_part_in_it() -> None:
    """Batches of torch's workers are those of threads."""
    dataset = in_memory().augment(*CHAINS["order"])
    loader = dataset.loader(6, shuffle=True, seed=3, with_ids=True)
    batches = DataLoader(loader.to_torch(), batch_size=None, num_workers=2, multiprocessing_context="fork")
    tensors = [{name: tensor.numpy() for name, tensor in batch.items()} for batch in batches]

    assert rendered(tensors) == epoch_of(dataset)


@pytest.mark.parametrize("chain", sorted(CHAINS))
@pytest.mark.parametrize("kind", ["memory", "repeated"])
def test_resumes_leave_no_trace(chain: str, kind: str) -> None:
    """From every step on, what follows is what an epoch without interruption delivers, at any batch size."""
    dataset = chosen(kind).augment(*CHAINS[chain])

    def loader(batch_size: int) -> hr.Loader:
        return dataset.loader(batch_size, shuffle=True, threads=0, output="numpy", with_ids=True)

    states = [(saver := loader(6)).state_dict(), *(saver.state_dict() for _ in saver)]
    whole = contents(loader(6))
    for done, state in enumerate(states[:-1]):
        again, other = loader(6), loader(4)
        again.load_state_dict(state)
        other.load_state_dict(state)
        rest = list(again)

        assert contents(rest) == whole[done:]
        assert rendered(other) == rendered(rest)


@pytest.mark.parametrize("chain", sorted(CHAINS))
def test_the_order_of_calls_has_no_part_in_it(chain: str) -> None:
    """Batches by step, in any order and between others, are those of the iteration."""
    dataset = chosen("repeated").augment(*CHAINS[chain])
    loader = dataset.loader(4, shuffle=True, threads=0, output="numpy", with_ids=True)
    expected = contents(dataset.loader(4, shuffle=True, threads=2, output="numpy", with_ids=True))
    iterator = iter(loader)
    next(iterator)
    steps = list(range(len(loader)))
    random.Random(1).shuffle(steps)
    got = {step: contents([loader.batch(step)])[0] for step in steps}

    assert [got[step] for step in sorted(got)] == expected
    assert contents(iterator) == expected[1:]


@pytest.mark.parametrize("chain", sorted(CHAINS))
def test_epochs_seeds_and_names_differ(chain: str) -> None:
    """Nearly all samples change with the epoch, the seed and the names; the same settings repeat them."""
    dataset = in_memory().augment(*CHAINS[chain])
    renamed = in_memory().augment(*(replace(op, name=f"other {n}") for n, op in enumerate(CHAINS[chain])))
    epochs = [
        epoch_of(dataset, shuffle=False),
        epoch_of(dataset, 1, shuffle=False),
        epoch_of(dataset, shuffle=False, seed=4),
        epoch_of(renamed, shuffle=False),
    ]

    assert epoch_of(dataset, shuffle=False) == epochs[0]
    for one, other in ((a, b) for number, a in enumerate(epochs) for b in epochs[:number]):
        assert sum(one[sample] != other[sample] for sample in one) > 0.9 * COUNT


def test_copies_of_a_sample_differ() -> None:
    """A sample that a selection holds four times is changed in four ways; its first copy as if alone."""
    dataset = chosen("repeated").augment(*CHAINS["plain"])
    copies = epoch_of(dataset)[5]
    alone = epoch_of(in_memory().augment(*CHAINS["plain"]))[5]

    assert len(set(copies)) == 4
    assert alone[0] in copies


@pytest.mark.parametrize("options", [{}, {"bucket_by": hr.Buckets("label", chunk=4, window=2)}], ids=str)
def test_turns_of_a_part_of_a_mix_differ(options: dict[str, Any]) -> None:
    """With `stop="cycle"` a small part begins anew, and its samples are changed anew, in any batch size."""
    small, large = in_memory().rows(range(4)), in_memory().rows(range(20, 40))
    mix = hr.mix({"a": small, "b": large}, weights={"a": 0.5, "b": 0.5}, stop="cycle")
    delivered = epoch_of(mix.augment(hr.augment.Jitter("series")), **options)

    assert {len(copies) for copies in delivered.values()} == {1, 5}
    assert all(len(set(copies)) == len(copies) for copies in delivered.values())
    assert epoch_of(mix.augment(hr.augment.Jitter("series")), batch_size=9, **options) == delivered


def test_an_augmentation_of_another_class_shifts_nobodys_draws() -> None:
    """With a flip put before it, noise stays the noise it was."""
    noise = hr.augment.Jitter("series", sigma=0.5)
    alone = in_memory().augment(noise)
    both = in_memory().augment(hr.augment.HorizontalFlip("image"), hr.augment.Reverse("series", p=0), noise)

    for one, other in zip(_column(alone, "series"), _column(both, "series"), strict=True):
        assert np.array_equal(one, other)


def _column(dataset: hr.Dataset, name: str) -> list[Any]:
    return [batch[name] for batch in dataset.loader(5, output="numpy", threads=0)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_is_drawn_for_a_batch_is_that_of_the_global_batch(size: int) -> None:
    """`same_on_batch` changes all samples of a step alike, on all ranks, and steps apart."""
    images = hr.from_arrays({"x": np.tile(np.arange(2, dtype=np.uint8), (COUNT, 1, 1))})
    dataset = images.augment(hr.augment.HorizontalFlip("x", same_on_batch=True))
    steps: list[list[int]] = []
    for rank in range(size):
        loader = dataset.loader(
            global_batch_size=6, shuffle=True, output="numpy", threads=0, world=hr.World(rank, size)
        )
        steps.append([])
        for batch in loader:
            assert len({row.tobytes() for row in batch["x"]}) == 1
            steps[-1].append(int(batch["x"][0, 0, 0]))

    assert all(step == steps[0] for step in steps)
    assert set(steps[0]) == {0, 1}


@pytest.mark.parametrize("partner", PARTNERS)
def test_a_sample_whose_partner_is_lost_is_not_mixed(tmp_path: Path, partner: Any) -> None:
    """With `on_error="skip"`, the others are as ever, and those without a partner stay unmixed."""
    number = np.arange(30, dtype=np.float32).reshape(30, 1)
    mixed = hr.augment.MixUp("x", alpha=1.0, partner=partner)
    with pq.ParquetWriter(tmp_path / "x.parquet", pa.schema({"x": pa.list_(pa.float32(), 1)})) as writer:
        for begin in range(0, 30, 10):
            part = pa.FixedSizeListArray.from_arrays(pa.array(number[begin : begin + 10, 0]), 1)
            writer.write_table(pa.table({"x": part}))
    whole = hr.open(tmp_path)
    broken = hr.Dataset.of(FaultySource(whole.recipe.source, {1: [Fail()]}))

    expected = epoch_of(whole.augment(mixed), shuffle="global")
    got = epoch_of(broken.augment(mixed), shuffle="global", on_error="skip")

    assert sorted(got) == [*range(10), *range(20, 30)]
    changed = [sample for sample in got if got[sample] != expected[sample]]
    assert 0 < len(changed) < 20
    assert all(got[sample] == [(number[sample].tobytes(),)] for sample in changed)


@pytest.mark.parametrize("op", [hr.augment.GaussianJitter("x"), hr.augment.SwapNoise("x")])
def test_steps_that_are_lost_as_a_whole_are_empty(op: hr.augment.Augmentation) -> None:
    """Also where nothing has said yet what the columns hold; the steps after them are as ever."""
    whole = hr.from_arrays({"x": np.arange(6, dtype=np.float32)})
    source = FaultySource(whole.recipe.source, {0: [Fail()]})
    lost = hr.Dataset.of(source).augment(op).loader(2, output="numpy", on_error="skip", threads=0)

    assert [{name: len(column) for name, column in batch.items()} for batch in lost] == [{}, {}, {}]


def test_a_step_whose_partners_are_all_lost_is_not_mixed(tmp_path: Path) -> None:
    """A rank that reads no other partner cannot even tell what their columns hold."""
    for name, values in (("a", [1.0, 2.0]), ("b", [3.0, 4.0])):
        pq.write_table(pa.table({"x": pa.array(values, pa.float32())}), tmp_path / f"{name}.parquet")
    broken = hr.Dataset.of(FaultySource(hr.open(tmp_path).recipe.source, {1: [Fail()]}))
    mixed = broken.rows([0, 2]).augment(hr.augment.MixUp("x"))
    loader = mixed.loader(1, output="numpy", on_error="skip", threads=0, world=hr.World(0, 2))

    assert [batch["x"].tolist() for batch in loader] == [[1.0]]
