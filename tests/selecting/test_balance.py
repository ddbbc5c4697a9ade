"""Class balance: equal counts by repeating or leaving out, and weights as scikit-learn gives them."""

from __future__ import annotations

import pickle
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selecting_data import cut, some, values_of
from sklearn.utils.class_weight import compute_class_weight

import headrace as hr

LABELS = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=80)


def labelled(label: list[Any]) -> hr.Dataset:
    return cut({"y": pa.array(label, pa.string()), "x": np.arange(len(label))})


@some
@given(LABELS, st.integers(0, 3))
def test_oversampling_repeats_evenly(label: list[Any], seed: int) -> None:
    """All classes get as many as the largest, each sample as often as any of its class or once more."""
    balanced = labelled(label).balance("y", how="oversample", seed=seed)
    times = Counter(balanced.sample_ids.tolist())

    assert set(times) == set(range(len(label)))
    most = max(Counter(label).values())
    for value, count in Counter(label).items():
        repeats = [times[number] for number, other in enumerate(label) if other == value]
        assert sum(repeats) == most
        assert max(repeats) - min(repeats) <= (most % count != 0)
    assert (np.diff(balanced.sample_ids) >= 0).all()


@some
@given(LABELS, st.integers(0, 3))
def test_undersampling_leaves_out(label: list[Any], seed: int) -> None:
    """All classes get as few as the smallest, nothing comes twice, and the order stays."""
    balanced = labelled(label).balance("y", how="undersample", seed=seed)
    chosen = balanced.sample_ids

    assert (np.diff(chosen) > 0).all()
    least = min(Counter(label).values())
    assert Counter(label[number] for number in chosen) == dict.fromkeys(set(label), least)


@some
@given(LABELS)
def test_weights_are_those_of_scikit_learn(label: list[Any]) -> None:
    """Each class weighs the same in all; null is a class."""
    weighed = labelled(label).balance("y", how="weights")
    texts = np.array([str(value) for value in label])
    names = np.unique(texts)
    expected = dict(zip(names, compute_class_weight("balanced", classes=names, y=texts), strict=True))

    assert values_of(weighed, "weight").tolist() == pytest.approx([expected[text] for text in texts])
    assert weighed.schema.field("weight").type == pa.float64()


def test_seeds_choose() -> None:
    """Which samples are repeated or left out follows from the seed alone."""
    dataset = labelled(["a"] * 60 + ["b"] * 40)
    for how in ("oversample", "undersample"):
        chosen = [dataset.balance("y", how=how, seed=seed).sample_ids.tolist() for seed in (0, 0, 1)]
        assert chosen[0] == chosen[1] != chosen[2]


def test_copies_count_and_order_stays() -> None:
    """A listed selection is balanced over its entries, in its order."""
    listed = labelled(["a", "b", "a"]).rows([2, 0, 1, 0, 0])

    assert listed.balance("y", how="oversample").sample_ids.tolist() == [2, 0, 1, 1, 1, 1, 0, 0]
    assert values_of(listed.balance("y", how="weights"), "weight").tolist() == [
        0.625,
        0.625,
        2.5,
        0.625,
        0.625,
    ]
    few = listed.balance("y", how="undersample").sample_ids.tolist()
    assert len(few) == 2
    assert 1 in few


def test_a_mix_ends_where_it_is_balanced() -> None:
    """Proportions of a mix would undo the balance; a part of a mix is one still."""
    mix = hr.mix({"one": labelled(["a"] * 30), "two": labelled(["a", "b"] * 15)})
    batches = list(mix.balance("y").loader(10, output="numpy"))

    assert Counter(np.concatenate([batch["y"] for batch in batches]).tolist()) == {"a": 45, "b": 45}
    assert mix.split(train=0.5, test=0.5)["train"].mixing is mix.mixing


@pytest.mark.parametrize(
    "label",
    [
        [1.5, float("nan"), 1.5], [True, False, True], [3, None, 3], [b"x", b"y", b"x"], [[1], [2], [1]],
        np.array([1, 2, 1], "datetime64[ns]"),
    ],
    ids=str,
)  # fmt: skip
def test_labels_of_any_type(label: Any) -> None:
    """What has a hash can be a class."""
    dataset = cut({"y": label})

    assert values_of(dataset.balance("y", how="weights"), "weight").tolist() == [0.75, 1.5, 0.75]
    assert len(dataset.balance("y")) == 4


def test_weights_are_a_step_like_any_other() -> None:
    """They are packed, narrowed away, pickled and fingerprinted, and unknown classes have none."""
    dataset = labelled(["a", "a", "b", "c"])
    weighed = dataset.rows([0, 1, 2]).balance("y", how="weights", name="w")

    packed = weighed.pack(x=["x"], w="w", dtype={"w": "float32"})
    assert packed.take([2, 0])["w"].tolist() == [1.5, 0.75]
    assert weighed.pack(x="x").recipe.columns == ("x",)
    assert pickle.loads(pickle.dumps(weighed)).fingerprint == weighed.fingerprint
    assert weighed.fingerprint != dataset.rows([0, 1, 3]).balance("y", how="weights", name="w").fingerprint
    whole = weighed.with_selection(dataset.selection)
    assert whole.to_polars()["w"].to_list() == [0.75, 0.75, 1.5, None]


def test_weights_of_a_computed_label() -> None:
    """Behind a function the names are found when it runs."""
    dataset = labelled(["a", "a", "b"]).map(lambda frame: frame.rename({"y": "label"}))

    assert values_of(dataset.balance("label", how="weights"), "weight").tolist() == [0.75, 0.75, 1.5]


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("smote", hr.OptionError, '`how` must be "oversample", "undersample" or "weights", got \'smote\''),
        ("weights", hr.OptionError, "has a column `weight` already; rename it, or pass `name=`"),
    ],
)
def test_wrong_arguments_are_named(how: Any, error: type[Exception], message: str) -> None:
    """What cannot be right is an OptionError."""
    with pytest.raises(error, match=message):
        cut({"y": [1, 2], "weight": [1.0, 2.0]}).balance("y", how=how)


def test_nothing_to_balance() -> None:
    """An empty data set stays empty, and has no weights; unknown columns are named."""
    empty = labelled(["a"]).rows([])

    assert len(empty.balance("y")) == len(empty.balance("y", how="undersample")) == 0
    with pytest.raises(hr.OptionError, match="need a sample, got none"):
        empty.balance("y", how="weights")
    with pytest.raises(hr.UnknownColumnError, match="`z`"):
        empty.balance("z")
    with pytest.raises(hr.OptionError, match="must come before `pack`"):
        labelled(["a"]).pack(x="x").balance("y", how="weights")
