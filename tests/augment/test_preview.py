"""`hr.augment.preview`: the sheet holds what loaders deliver."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from augment_data import in_memory, plain_chain
from PIL import Image

import headrace as hr


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def tile(sheet: np.ndarray, down: int, across: int) -> np.ndarray:
    """One tile, without the label above and the gaps."""
    return sheet[14 + 100 * down : 110 + 100 * down, 100 * across : 100 * across + 96]


def test_the_tiles_are_the_samples_of_the_epochs(tmp_path: Path) -> None:
    """First as it is, then as each epoch changes it; a picture that is as large as its tile is not scaled."""
    images = np.random.default_rng(0).integers(0, 256, (9, 96, 96, 3), np.uint8)
    dataset = hr.from_arrays({"image": images}).augment(hr.augment.HorizontalFlip("image"))
    shown = hr.augment.preview(dataset, n=3, seed=5, epochs=[2, 7])
    shown.save(tmp_path / "sheet.png")
    sheet = pixels((tmp_path / "sheet.png").read_bytes())

    assert (shown.sample_ids, shown.epochs, shown.columns) == ((0, 4, 8), (2, 7), ("image",))
    assert shown._repr_png_() == shown.png
    loader = dataset.loader(9, seed=5, output="numpy")
    for across, epoch in ((1, 2), (2, 7)):
        loader.set_epoch(epoch)
        changed = loader.batch(0)["image"]
        for down, sample in enumerate(shown.sample_ids):
            assert np.array_equal(tile(sheet, down, 0), images[sample])
            assert np.array_equal(tile(sheet, down, across), changed[sample])


def test_all_that_can_be_drawn_is_drawn() -> None:
    """Small images are enlarged, series become lines; each sample has a row for each column."""
    shown = hr.augment.preview(in_memory().augment(*plain_chain()), n=4, epochs=3)
    sheet = pixels(shown.png)

    assert shown.columns == ("image", "series")
    assert sheet.shape == (14 + 8 * 100, 4 * 100, 3)
    assert all((tile(sheet, down, across) != 255).any() for down in range(8) for across in range(4))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_normalised_images_are_stretched(layout: str) -> None:
    """Floats of either layout are shown from their least to their largest value."""
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[:, :, 4:] = 255
    normalize = hr.augment.Normalize("image", mean=0.5, std=0.5, to_layout=layout)
    shown = hr.augment.preview(hr.from_arrays({"image": images}).augment(normalize), n=1, epochs=1)
    sheet = pixels(shown.png)

    assert np.array_equal(tile(sheet, 0, 1), tile(sheet, 0, 0))


def test_what_is_no_number_is_drawn_as_the_least() -> None:
    """NaN and infinities say nothing of the range."""
    images = np.zeros((1, 8, 8, 3), np.float32)
    images[:, 4:] = 1
    broken = images.copy()
    broken[0, 0], broken[0, 7] = np.nan, np.inf
    flips = hr.augment.HorizontalFlip("image")
    whole, shown = (
        hr.augment.preview(hr.from_arrays({"image": each}).augment(flips), 1) for each in (images, broken)
    )

    assert np.array_equal(pixels(shown.png), pixels(whole.png))


def test_what_cannot_be_drawn_is_refused() -> None:
    """No augmentations, an unknown column, no samples, no epochs."""
    flipped = in_memory().augment(hr.augment.HorizontalFlip("image"))
    with pytest.raises(hr.OptionError, match="there are none"):
        hr.augment.preview(in_memory())
    with pytest.raises(hr.OptionError, match="`series` is none"):
        hr.augment.preview(flipped, columns="series")
    with pytest.raises(hr.OptionError, match="`n`"):
        hr.augment.preview(flipped, n=0)
    with pytest.raises(hr.OptionError, match="`epochs`"):
        hr.augment.preview(flipped, epochs=0)
    with pytest.raises(hr.OptionError, match="at least one sample"):
        hr.augment.preview(flipped.rows([]))
