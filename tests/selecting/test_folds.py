"""Folds beside scikit-learn's: sizes, balance of classes, whole groups, and folds along time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selecting_data import cut, skewed, some, values_of
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

import headrace as hr
from headrace.selecting.assigning import Groups
from headrace.selecting.group_kernels import assign_groups, assign_groups_reference


def fold_of(folds: hr.Folds[hr.Dataset], count: int) -> np.ndarray:
    """The fold of each sample; fails unless each is judged by exactly once, and learnt from otherwise."""
    found = np.full(count, -1)
    for fold in folds:
        ids = fold.validation.sample_ids
        assert (found[ids] == -1).all()
        found[ids] = fold.number
        assert np.array_equal(fold.train.sample_ids, np.setdiff1d(np.arange(count), ids))
    assert (found >= 0).all()
    return found


def theirs(splitter: Any, label: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
    """The fold of each sample by one of scikit-learn's splitters."""
    found = np.empty(len(label), np.int64)
    for number, (_, validation) in enumerate(splitter.split(label, label, group)):
        found[validation] = number
    return found


def spread(found: np.ndarray, label: np.ndarray, k: int) -> float:
    """How unevenly the classes lie in the folds: the mean over classes of the deviation of their shares."""
    counts = np.array([np.bincount(found[label == value], minlength=k) for value in np.unique(label)])
    return float((counts / counts.sum(axis=1, keepdims=True)).std(axis=1).mean())


# By sample


@some
@given(st.integers(2, 12), st.integers(0, 120), st.integers(0, 5))
def test_sizes_are_those_of_kfold(k: int, more: int, seed: int) -> None:
    """10 into 3 is 4, 3, 3; each sample is in one fold; a fold's train samples are all others."""
    count = k + more
    found = fold_of(cut({"x": np.arange(count)}).kfold(k, seed=seed), count)

    assert np.bincount(found).tolist() == np.bincount(theirs(KFold(k), np.arange(count))).tolist()


@some
@given(st.integers(2, 6), st.lists(st.integers(0, 4), min_size=6, max_size=150), st.integers(0, 5))
def test_classes_differ_by_at_most_one(k: int, label: list[int], seed: int) -> None:
    """Between any two folds, and so do their sizes, as with StratifiedKFold."""
    found = fold_of(cut({"y": label}).kfold(k, seed=seed, stratify="y"), len(label))

    for value in set(label):
        assert np.ptp(np.bincount(found[np.array(label) == value], minlength=k)) <= 1
    assert np.ptp(np.bincount(found, minlength=k)) <= 1


@pytest.mark.parametrize("k", [2, 3, 5])
def test_class_counts_are_those_of_scikit_learn(k: int) -> None:
    """As many folds have one sample more of a class as StratifiedKFold gives."""
    label = skewed(500, 10, 4, seed=k)[1]
    ours = fold_of(cut({"y": label}).kfold(k, stratify="y"), 500)
    expected = theirs(StratifiedKFold(k), label)

    for value in range(4):
        counts = [Counter(np.bincount(found[label == value]).tolist()) for found in (ours, expected)]
        assert counts[0] == counts[1]


def test_the_order_is_keyed() -> None:
    """The seed chooses the folds, neighbours are parted, and the same seed repeats."""
    dataset = cut({"x": np.arange(1000)})
    found = [fold_of(dataset.kfold(5, seed=seed), 1000) for seed in (0, 0, 1)]

    assert np.array_equal(found[0], found[1])
    for one, two in ((found[0], found[2]), (found[0][1:], found[0][:-1]), (found[0], np.arange(1000) // 200)):
        assert 0.14 < float((one == two).mean()) < 0.26  # a fifth, to within four deviations and more


# By group


@some
@given(st.integers(2, 5), st.lists(st.integers(1, 30), min_size=5, max_size=40), st.integers(0, 3))
def test_group_sizes_are_those_of_groupkfold(k: int, sizes: list[int], seed: int) -> None:
    """Whole groups, assigned as evenly as GroupKFold does."""
    group = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    found = fold_of(cut({"g": group}).kfold(k, seed=seed, by="g"), len(group))

    assert len(set(zip(group.tolist(), found.tolist(), strict=True))) == len(sizes)
    expected = np.bincount(theirs(GroupKFold(k), group, group), minlength=k)
    assert sorted(np.bincount(found, minlength=k).tolist()) == sorted(expected.tolist())


def test_stratified_groups_are_as_even_as_those_of_scikit_learn() -> None:
    """Over random groups and classes our folds are more even on the average, and never much less."""
    ours: list[float] = []
    expected: list[float] = []
    for seed in range(60):
        k = 2 + seed % 4
        group, label = skewed(400, 30 + seed, 2 + seed % 3, seed)
        if len(np.unique(group)) < k or np.bincount(label).max() < k:
            continue
        dataset = cut({"g": group, "y": label}, [400])
        found = fold_of(dataset.kfold(k, seed=seed, by="g", stratify="y"), 400)
        pairs = set(zip(group.tolist(), found.tolist(), strict=True))
        assert len(pairs) == len(np.unique(group))
        ours.append(spread(found, label, k))
        expected.append(spread(theirs(StratifiedGroupKFold(k), label, group), label, k))

    assert len(ours) > 50
    assert np.mean(ours) <= np.mean(expected)
    assert np.max(np.array(ours) - expected) < 0.03


@some
@given(st.integers(1, 4), st.integers(1, 200), st.integers(1, 60), st.integers(1, 4), st.integers(0, 50))
def test_the_kernel_equals_its_twin(parts: int, count: int, groups: int, classes: int, seed: int) -> None:
    """Compiled or in NumPy, groups go to the same parts."""
    group, label = skewed(count, groups, classes, seed)
    found = Groups.of(group.astype(np.uint64), label.astype(np.int32))
    shares = np.random.default_rng(seed).dirichlet(np.full(parts, 5.0))
    order = np.random.default_rng(seed).permutation(len(found.hashes))
    arguments = (order, found.offsets, found.classes, found.counts, shares)

    assert assign_groups(*arguments).tolist() == assign_groups_reference(*arguments).tolist()


def test_folds_by_content_and_with_nulls() -> None:
    """Equal samples stay together, those without a group are parted."""
    dataset = cut({"t": [f"text {number % 20}" for number in range(60)]})
    assert dataset.kfold(4, by=hr.Content()).report().shared_groups == 0
    alone = cut({"g": pa.array([None] * 30, pa.int64())}).kfold(3, by="g")
    assert [len(fold.validation) for fold in alone] == [10, 10, 10]


# What they are


def test_folds_share_one_recipe() -> None:
    """They are selections over one data set, and number, slices and the report come with them."""
    dataset = cut({"y": np.arange(40) % 2})
    folds = dataset.kfold(4, stratify="y")

    assert all(fold.train.recipe is fold.validation.recipe is dataset.recipe for fold in folds)
    assert (len(folds), [fold.number for fold in folds[1:]], folds[-1].number) == (4, [1, 2, 3], 3)
    report = folds.report(by="y")
    assert report.frame["samples"].to_list() == [10] * 4
    assert report.classes is not None
    assert report.classes["share"].to_list() == [0.5] * 8
    assert report.shared_groups == 2


def test_folds_of_a_part() -> None:
    """Folds of a part hold its samples alone; order and repeats of a list stay."""
    listed = np.random.default_rng(0).integers(0, 30, 80)
    part = cut({"x": np.arange(30)}).rows(listed)
    for fold in part.kfold(3, seed=1):
        assert sorted([*fold.train.sample_ids, *fold.validation.sample_ids]) == sorted(listed.tolist())
        chosen = set(fold.validation.sample_ids.tolist())
        assert fold.validation.sample_ids.tolist() == [number for number in listed if number in chosen]
        assert not chosen & set(fold.train.sample_ids.tolist())


@pytest.mark.parametrize(
    ("k", "options", "message"),
    [
        (1, {}, "`k` must be a whole number of at least 2, got 1"),
        (2.0, {}, "`k` must be"),
        (7, {}, "7 folds need 7 samples or more, got 6"),
        (4, {"by": "g"}, "4 folds need 4 groups or more, but fold 3 would get none"),
        (2, {"seed": None}, "`seed` must be"),
    ],
)
def test_folds_that_cannot_be(k: Any, options: dict[str, Any], message: str) -> None:
    """Too few samples or groups are named."""
    with pytest.raises(hr.OptionError, match=message):
        cut({"g": [0, 0, 1, 1, 2, 2]}).kfold(k, **options)


# Along time


@some
@given(
    st.integers(2, 6), st.integers(0, 60), st.integers(0, 9), st.sampled_from(["order", "column", "listed"])
)
def test_time_folds_are_those_of_scikit_learn(k: int, more: int, gap: int, kind: str) -> None:
    """The same samples, by the order of the data or by a column without ties."""
    count = k + 1 + more
    shuffled = np.random.default_rng(count).permutation(count)
    dataset = cut({"t": shuffled if kind == "column" else np.zeros(count)})
    if kind == "listed":
        dataset = dataset.rows(shuffled)
    time = "t" if kind == "column" else None
    splitter = TimeSeriesSplit(k, gap=gap)
    try:
        expected = list(splitter.split(np.arange(count)))
    except ValueError:
        with pytest.raises(hr.OptionError, match="nothing to learn from"):
            dataset.time_folds(k, time=time, gap=gap)
        return
    for fold, places in zip(dataset.time_folds(k, time=time, gap=gap), expected, strict=True):
        for part, wanted in zip((fold.train, fold.validation), places, strict=True):
            if kind == "column":
                assert sorted(shuffled[part.sample_ids].tolist()) == wanted.tolist()
            elif kind == "listed":
                assert part.sample_ids.tolist() == shuffled[wanted].tolist()
            else:
                assert part.sample_ids.tolist() == wanted.tolist()


@some
@given(st.lists(st.integers(0, 30), min_size=4, max_size=80), st.integers(2, 4), st.integers(0, 3))
def test_time_folds_never_look_ahead(times: list[int], k: int, gap: int) -> None:
    """All that a fold learns from lies before what it is judged by, further than the gap."""
    try:
        folds = cut({"t": times}).time_folds(k, time="t", gap=gap)
    except hr.OptionError as error:
        assert "fold" in str(error)
        return
    last = -1
    for fold in folds:
        train, validation = (values_of(part, "t") for part in (fold.train, fold.validation))
        assert train.max() < validation.min() - gap
        assert last < validation.min()
        last = validation.max()
    assert last == max(times)


def test_time_folds_that_cannot_be() -> None:
    """Ties that leave a fold empty, and copies without a time, are named."""
    with pytest.raises(hr.OptionError, match=r"fold 0 of 3 gets none of the 8 .* take fewer folds"):
        cut({"t": [1] * 8}).time_folds(3, time="t")
    with pytest.raises(hr.OptionError, match="selected several times; give `time`"):
        cut({"t": [1, 2, 3]}).rows([0, 1, 1, 2]).time_folds(2)
