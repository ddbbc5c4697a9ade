"""`ds.augment`: what it takes, what it refuses and when, and what comes after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from augment_data import in_files, in_memory, rendered

import headrace as hr

FLIP, NOISE = hr.augment.HorizontalFlip("image"), hr.augment.Jitter("series")


def first(dataset: hr.Dataset) -> dict[str, Any]:
    return next(iter(dataset.loader(4, output="numpy", threads=0)))


def test_several_calls_add_up() -> None:
    """Two calls are one with both; the order of calls is the order of the changes."""
    together = first(in_memory().augment(FLIP, NOISE))
    apart = first(in_memory().augment(FLIP).augment(NOISE))

    assert all(np.array_equal(together[name], apart[name]) for name in together)


def test_nothing_changes_nothing() -> None:
    """Without augmentations the recipe, and with it saved states, stay what they were."""
    assert in_memory().augment().fingerprint == in_memory().fingerprint
    assert in_memory().augment(FLIP).fingerprint != in_memory().fingerprint


def test_an_unknown_column_is_refused_at_once(tmp_path: Path) -> None:
    """By name, with a hint; also after steps and packing, whose columns are known."""
    wrong = hr.augment.HorizontalFlip("imagee")
    datasets = [in_memory(), in_files(tmp_path).rename({"label": "y"}), in_memory().pack(image="image")]
    for dataset in datasets:
        with pytest.raises(hr.UnknownColumnError, match=r"HorizontalFlip.*`imagee`.*`image`"):
            dataset.augment(wrong)


@pytest.mark.parametrize("pack", [False, True])
def test_a_column_that_does_not_fit_is_refused_at_once(pack: bool) -> None:
    """Shape and dtype are in the source's schema; the message names operation, column and what it holds."""
    dataset = in_memory().pack(image="label", series="series") if pack else in_memory()
    column = "image" if pack else "label"
    with pytest.raises(hr.SchemaError, match=f"HorizontalFlip: column `{column}` must hold images.*int64"):
        dataset.augment(hr.augment.HorizontalFlip(column))


def test_what_one_makes_the_next_one_must_be_able_to_take() -> None:
    """A chain is checked from one augmentation to the next."""
    crop = hr.augment.RandomCrop("image", size=3)
    with pytest.raises(hr.SchemaError, match=r"RandomCrop.*`image`"):
        in_memory().augment(crop, hr.augment.RandomCrop("image", size=6, name="RandomCrop again"))


def test_text_is_refused_at_once() -> None:
    """Nothing random is done to text."""
    dataset = hr.from_arrays({"text": ["a", "b"]})
    with pytest.raises(hr.SchemaError, match="`text` must hold numbers"):
        dataset.augment(hr.augment.Jitter("text"))


def test_what_only_data_can_tell_is_refused_at_the_first_batch() -> None:
    """The columns of a function, and the types of expressions, are known once they are computed."""
    dataset = in_memory().select(["label"]).map(_nothing, version="1")
    augmented = dataset.augment(FLIP)
    with pytest.raises(hr.UnknownColumnError, match="`image`"):
        first(augmented)
    computed = in_memory().select(["label"]).with_columns(image=pl.col("label") * 2).augment(FLIP)
    with pytest.raises(hr.SchemaError, match="HorizontalFlip: column `image` must hold images"):
        first(computed)


def _nothing(frame: pl.DataFrame) -> pl.DataFrame:
    return frame


def test_a_column_that_an_expression_replaced_is_not_judged_by_its_old_type() -> None:
    """What a step has changed is not what the source's schema says."""
    dataset = hr.from_arrays({"x": [[1.0, 2.0], [3.0, 4.0]], "y": ["a", "b"]})
    changed = dataset.with_columns(y=pl.lit(1.5).cast(pl.Float32)).augment(hr.augment.GaussianJitter("y"))

    assert first(changed)["y"].dtype == np.float32


@pytest.mark.parametrize(
    "verb",
    [
        lambda ds: ds.with_columns(y=pl.col("label")),
        lambda ds: ds.select(["image"]),
        lambda ds: ds.drop(["label"]),
        lambda ds: ds.rename({"label": "y"}),
        lambda ds: ds.map(_nothing, version="1"),
        lambda ds: ds.pack(image="image"),
    ],
)
def test_columns_are_not_changed_afterwards(verb: Any) -> None:
    """Deterministic verbs come before, as they run before; the error says so."""
    with pytest.raises(hr.OptionError, match="must come before `augment`"):
        verb(in_memory().augment(FLIP))


def test_samples_are_chosen_afterwards_as_before() -> None:
    """Filters, samples, rows, splits and caches after `augment` are those before it."""
    keep = pl.col("label") > 0
    after, before = in_memory().augment(FLIP).filter(keep), in_memory().filter(keep).augment(FLIP)
    options: dict[str, Any] = {"output": "numpy", "with_ids": True, "threads": 0}

    assert rendered(after.loader(4, **options)) == rendered(before.loader(4, **options))
    assert rendered(after.cache("memory").loader(4, **options)) == rendered(before.loader(4, **options))
    assert len(in_memory().augment(FLIP).split(train=0.5, test=0.5)["train"]) > 0


def test_looking_shows_samples_as_they_are() -> None:
    """`take`, `head` and `to_arrow` know no epoch, and change nothing."""
    certain = hr.augment.HorizontalFlip("image", p=1)
    plain, augmented = in_memory(), in_memory().augment(certain)

    assert np.array_equal(augmented.take([3])["image"], plain.take([3])["image"])
    assert augmented.to_arrow() == plain.to_arrow()


def test_a_part_of_a_mix_is_augmented_afterwards() -> None:
    """Parts that are augmented themselves are refused; the mix may be."""
    part = in_memory().select(["image", "label"])
    with pytest.raises(hr.OptionError, match="augmented"):
        hr.mix({"a": part.augment(FLIP), "b": part})
    assert len(first(hr.mix({"a": part, "b": part}).augment(FLIP))["image"]) == 4


def test_a_state_does_not_load_where_draws_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a release draws otherwise than the one that saved the state cannot go on from it."""
    saved = in_memory().augment(FLIP).loader(4).state_dict()
    plain = in_memory().loader(4).state_dict()
    monkeypatch.setattr("headrace.execution.recipe.DRAWS_VERSION", 0)

    with pytest.raises(hr.StateError, match="recipe differs"):
        in_memory().augment(FLIP).loader(4).load_state_dict(saved)
    in_memory().loader(4).load_state_dict(plain)
