"""`loader.peek`: one sample, alone, as its batch held it, with all that was drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from augment_data import PARTNERS, in_memory, mixing_chain, plain_chain

import headrace as hr
from headrace.testing.contents import ID

REPEATED = [5, 5, 3, 40, 5, 12, 3, *range(20, 30), 5]
CHAINS: dict[str, Any] = {"plain": plain_chain(), **{kind: mixing_chain(kind) for kind in PARTNERS}}


def loader_of(dataset: hr.Dataset, **options: Any) -> hr.Loader:
    options = {"shuffle": True, "seed": 3, "threads": 0, "output": "numpy", "with_ids": True} | options
    return dataset.loader(6, **options)


@pytest.mark.parametrize("chain", sorted(CHAINS))
def test_it_is_what_the_batch_held(chain: str) -> None:
    """Every sample of two epochs, each copy of it once."""
    loader = loader_of(in_memory().rows(REPEATED).augment(*CHAINS[chain]))
    for epoch in range(2):
        copies: dict[int, set[bytes]] = {}
        for batch in loader:
            for row, sample in enumerate(batch[ID].tolist()):
                copies.setdefault(sample, set()).add(batch["image"][row].tobytes())
        for sample, images in copies.items():
            peeks = [loader.peek(sample, epoch, repeat) for repeat in range(REPEATED.count(sample))]
            assert {peek.columns["image"].tobytes() for peek in peeks} == images


def test_everything_that_was_drawn_is_named() -> None:
    """Parameters lie under their augmentation's name; so does whether it was applied."""
    loader = loader_of(
        in_memory().augment(*plain_chain(), hr.augment.RandomCrop("image", size=3, name="crop"))
    )
    peek = loader.peek(7)

    assert list(peek.params) == [
        "RandomCrop#0",
        "HorizontalFlip#0",
        "Brightness#0",
        "GaussianNoise#0",
        "Jitter#0",
        "Reverse#0",
        "crop",
    ]
    assert {"applied", "top", "left"} <= peek.params["crop"].keys()
    assert 0 <= peek.params["crop"]["top"] <= 2
    assert peek.columns["image"].shape == (3, 3, 3)
    assert peek.columns["label"] == 7 % 3


def test_it_reads_well() -> None:
    """One line for each augmentation and each column."""
    flip = hr.augment.HorizontalFlip("image", p=0)
    lines = repr(
        loader_of(in_memory().select(["image", "label"]).augment(flip)).peek(7, epoch=2)
    ).splitlines()

    assert lines == [
        "sample 7 in epoch 2",
        "  HorizontalFlip#0: not applied",
        "  column image: uint8 of shape [7, 5, 3]",
        "  column label: 1",
    ]


@pytest.mark.parametrize("partner", PARTNERS)
def test_the_partner_is_named(partner: Any) -> None:
    """A mix says with whom; the sample and its partner, mixed by hand, are what was delivered."""
    number = np.arange(40, dtype=np.float32).reshape(40, 1)
    mixed = hr.from_arrays({"x": number}).augment(hr.augment.MixUp("x", alpha=1.0, partner=partner))
    peek = loader_of(mixed).peek(9, epoch=1)
    share = peek.params["MixUp#0"]["lam"]

    assert peek.partner_id is not None
    assert peek.partner_id != 9
    wanted = np.float32(9) * share + np.float32(peek.partner_id) * (np.float32(1) - share)
    assert peek.columns["x"] == pytest.approx([wanted])
    assert f"mixed with sample {peek.partner_id}" in repr(peek)


def test_what_a_batch_draws_as_a_whole_is_shown_too() -> None:
    """With `same_on_batch`, a sample is rendered as in its batch of this loader."""
    flips = in_memory().augment(hr.augment.HorizontalFlip("image", same_on_batch=True))
    loader = loader_of(flips)
    for batch in loader:
        assert np.array_equal(loader.peek(int(batch[ID][0]), epoch=0).columns["image"], batch["image"][0])


def test_it_moves_nothing() -> None:
    """Looking in mid-epoch leaves the iteration and the state as they are."""
    loader = loader_of(in_memory().augment(*CHAINS["order"]))
    expected = [batch[ID].tolist() for batch in loader_of(in_memory())]
    got: list[list[int]] = []
    for batch in loader:
        state = loader.state_dict()
        loader.peek(3, epoch=5)
        assert loader.state_dict() == state
        got.append(batch[ID].tolist())

    assert got == expected


def test_without_augmentations_it_shows_the_sample() -> None:
    """Lists, text and numbers as they are delivered."""
    dataset = hr.from_arrays({"text": ["a", "b"], "list": [[1], [2, 3]], "x": [1.5, 2.5]})
    peek = loader_of(dataset).peek(1)

    assert (peek.columns["text"], peek.columns["list"].tolist(), peek.columns["x"]) == ("b", [2, 3], 2.5)
    assert peek.params == {}


@pytest.mark.parametrize(("sample", "repeat"), [(46, 0), (-1, 0), (3, 2), (6, 0)])
def test_a_sample_that_does_not_come_is_refused(sample: int, repeat: int) -> None:
    """Unknown ids, samples that were not selected, and more copies than there are."""
    loader = loader_of(in_memory().rows(REPEATED).augment(*plain_chain()))
    with pytest.raises(hr.UnknownSampleError, match=str(sample)):
        loader.peek(sample, repeat=repeat)


@pytest.mark.parametrize("output", ["numpy", "torch"])
def test_an_id_of_a_batch_is_an_id(output: Any) -> None:
    """As it comes out of the batch, a scalar of NumPy or torch."""
    loader = in_memory().augment(*plain_chain()).loader(4, shuffle=True, output=output, with_ids=True)
    batch = loader.batch(0)

    np.testing.assert_array_equal(loader.peek(batch["sample_id"][2]).columns["image"], batch["image"][2])
    with pytest.raises(hr.OptionError, match="`sample_id` must be a whole number"):
        loader.peek(1.5)
