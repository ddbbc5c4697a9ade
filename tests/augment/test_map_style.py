"""`ds.to_torch_map()` of an augmented data set: samples by index, changed by seed, epoch and id."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from augment_data import COUNT, PARTNERS, in_memory, mixing_chain, plain_chain
from torch.utils.data import DataLoader

import headrace as hr

CHAINS: dict[str, Any] = {"plain": plain_chain(), **{kind: mixing_chain(kind) for kind in PARTNERS}}


def images(samples: Any, indices: Any = range(COUNT)) -> list[bytes]:
    return [sample["image"].numpy().tobytes() for sample in samples.__getitems__(list(indices))]


@pytest.mark.parametrize("chain", sorted(CHAINS))
def test_it_is_what_a_loader_without_shuffle_delivers(chain: str) -> None:
    """By epoch and seed, whatever the order and the number of indices that are asked for."""
    dataset = in_memory().rows([3, 3, *range(5, 40), 3]).augment(*CHAINS[chain])
    samples = dataset.to_torch_map(seed=4)
    loader = dataset.loader(1, seed=4, output="numpy", threads=0)
    for epoch in range(2):
        expected = [batch["image"].tobytes() for batch in loader]
        samples.set_epoch(epoch)

        assert images(samples, range(38)) == expected
        assert [images(samples, [index])[0] for index in (-1, 0, 7)] == [expected[k] for k in (-1, 0, 7)]


def test_workers_follow_the_epoch() -> None:
    """Persistent workers, which hold copies, too."""
    samples = in_memory().augment(*plain_chain()).to_torch_map()
    loader = DataLoader(
        samples, batch_size=9, num_workers=1, persistent_workers=True, multiprocessing_context="fork"
    )
    for epoch in range(2):
        samples.set_epoch(epoch)
        got = np.concatenate([batch["image"].numpy() for batch in loader])
        assert [image.tobytes() for image in got] == images(samples)


def test_draws_for_a_batch_are_refused() -> None:
    """Samples by index have no batch; the message says so."""
    dataset = in_memory().augment(hr.augment.HorizontalFlip("image", same_on_batch=True))
    with pytest.raises(hr.OptionError, match=r"HorizontalFlip: `same_on_batch` needs .* loader"):
        dataset.to_torch_map()
