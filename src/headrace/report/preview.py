"""Preview: a contact sheet of samples as they are and as some epochs change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.image.base import ImageAugmentation
from headrace.augment.series.base import SeriesAugmentation
from headrace.batch import Batch
from headrace.errors import OptionError, check_whole
from headrace.execution.access import RandomAccess
from headrace.execution.deliver import plain
from headrace.images import check_pillow, to_png

if TYPE_CHECKING:
    from headrace.dataset import Dataset

Pixels = NDArray[np.uint8]

_SIDE, _GAP, _HEADER = 96, 4, 14
_LINE_COLOURS = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189))
_WHITE = 255


@dataclass(frozen=True, slots=True)
class Preview:
    """A contact sheet, which notebooks show by themselves.

    Attributes:
        sample_ids: The samples, one row for each and column of the data set.
        epochs: What the columns of the sheet show, after the sample as it is.
        columns: The columns of the data set that are drawn.
        png: The picture.
    """

    sample_ids: tuple[int, ...]
    epochs: tuple[int, ...]
    columns: tuple[str, ...]
    png: bytes = field(repr=False)

    def save(self, path: str | Path) -> None:
        """Write the picture."""
        Path(path).write_bytes(self.png)

    def _repr_png_(self) -> bytes:
        return self.png


def preview(
    ds: Dataset,
    n: int = 16,
    columns: str | Sequence[str] | None = None,
    *,
    seed: int = 0,
    epochs: int | Sequence[int] = 4,
) -> Preview:
    """Draw samples as they are and, beside them, as some epochs change them.

    Images are drawn as pictures (floats are stretched from their least to their largest value), series as
    lines, one for each channel. Samples are mixed with others as without shuffle.

    Args:
        ds: A data set with augmentations.
        n: How many samples, evenly spread over the data set.
        columns: Which columns; by default all images and series that augmentations change.
        seed: The loader's seed.
        epochs: How many epochs from 0 on, or which.

    Raises:
        OptionError: There is nothing to draw.
        MissingDependencyError: Pillow is not installed.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.zeros((20, 8, 8, 3), np.uint8)})
        >>> hr.augment.preview(ds.augment(hr.augment.HorizontalFlip("image")), n=2, epochs=2)
        Preview(sample_ids=(0, 19), epochs=(0, 1), columns=('image',))
    """
    check_pillow("hr.augment.preview")
    check_whole("n", n, least=1)
    chosen_epochs = tuple(range(check_whole("epochs", epochs, 1)) if isinstance(epochs, int) else epochs)
    if not len(ds):
        raise OptionError("a preview needs at least one sample, got none")
    kinds = _kinds(ds)
    names = _chosen(columns, kinds)
    places = np.unique(np.linspace(0, len(ds) - 1, min(n, len(ds))).astype(np.int64))
    access = RandomAccess(ds.recipe, ds.selection, seed)
    batches = [RandomAccess(replace(ds.recipe, augment=None), ds.selection, seed).batch(places, 0)]
    batches += [access.batch(places, check_whole("epoch", epoch, 0)) for epoch in chosen_epochs]
    tiles = {
        name: [[_tile(sample, kinds[name]) for sample in _samples(batch, name)] for batch in batches]
        for name in names
    }
    rows = [[column[row] for column in tiles[name]] for row in range(len(places)) for name in names]
    labels = ["as it is", *(f"epoch {epoch}" for epoch in chosen_epochs)]
    ids = tuple(ds.selection.at(places).tolist())
    return Preview(ids, chosen_epochs, names, to_png(_sheet(rows), _headings(labels)))


def _samples(batch: Batch, name: str) -> Sequence[Any]:
    column: Any = plain(batch[name])
    return list(column)


def _kinds(ds: Dataset) -> dict[str, str]:
    """What the augmented columns show: images or series."""
    kinds: dict[str, str] = {}
    for op in () if ds.recipe.augment is None else ds.recipe.augment.ops:
        kind = "image" if isinstance(op, ImageAugmentation) else "series"
        if isinstance(op, (ImageAugmentation, SeriesAugmentation)):
            kinds |= dict.fromkeys(op.columns, kind)
    return kinds


def _chosen(columns: str | Sequence[str] | None, kinds: dict[str, str]) -> tuple[str, ...]:
    names = tuple(kinds) if columns is None else (columns,) if isinstance(columns, str) else tuple(columns)
    strange = [name for name in names if name not in kinds]
    if strange or not names:
        what = f"`{strange[0]}` is none" if strange else "there are none"
        raise OptionError(
            f"a preview draws columns that augmentations of images or series change, and {what}; "
            f"those are {sorted(kinds)}"
        )
    return names


def _tile(sample: Any, kind: str) -> Pixels:
    """Draw one sample as a square, uint8 of shape [side, side, 3]."""
    picture = _picture(np.asarray(sample)) if kind == "image" else _lines(np.asarray(sample, np.float64))
    tall, wide = (max(side, 1) for side in picture.shape[:2])
    scale = min(_SIDE / tall, _SIDE / wide)
    height, width = max(round(tall * scale), 1), max(round(wide * scale), 1)
    down, across = np.arange(height) * tall // height, np.arange(width) * wide // width
    tile = np.full((_SIDE, _SIDE, 3), _WHITE, np.uint8)
    top, left = (_SIDE - height) // 2, (_SIDE - width) // 2
    tile[top : top + height, left : left + width] = picture[down][:, across]
    return tile


def _picture(image: NDArray[Any]) -> Pixels:
    """Turn an image of either layout into uint8 of shape [height, width, 3]."""
    if image.ndim == 2:
        image = image[:, :, None]
    elif image.shape[2] > 4 >= image.shape[0]:
        image = np.moveaxis(image, 0, 2)
    if image.dtype != np.uint8:
        values = image.astype(np.float64)
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        values = np.clip(np.nan_to_num(values, nan=low), low, high) - low
        image = np.rint(values * (255 / max(high - low, 1e-12))).astype(np.uint8)
    return np.repeat(image[:, :, :1], 3, 2) if image.shape[2] < 3 else image[:, :, :3]


def _lines(series: NDArray[np.float64]) -> Pixels:
    """Draw series of shape [time] or [time, channels], a line for each channel."""
    series = series.reshape(len(series), -1)
    picture = np.full((_SIDE, _SIDE, 3), _WHITE, np.uint8)
    low, high = float(np.nanmin(series)), float(np.nanmax(series))
    at = np.arange(_SIDE) * (len(series) - 1) // (_SIDE - 1)
    heights = (high - series[at]) * ((_SIDE - 1) / max(high - low, 1e-12))
    for channel, height in enumerate(np.nan_to_num(heights).round().astype(np.int64).T):
        ends = np.stack([height, np.append(height[1:], height[-1])])
        rows = np.arange(_SIDE)[:, None]
        picture[(rows >= ends.min(0)) & (rows <= ends.max(0))] = _LINE_COLOURS[channel % len(_LINE_COLOURS)]
    return picture


def _sheet(rows: list[list[Pixels]]) -> Pixels:
    """Lay tiles out below a header."""
    step = _SIDE + _GAP
    sheet = np.full((_HEADER + step * len(rows), step * len(rows[0]), 3), _WHITE, np.uint8)
    for down, row in enumerate(rows):
        for across, tile in enumerate(row):
            top, left = _HEADER + down * step, across * step
            sheet[top : top + _SIDE, left : left + _SIDE] = tile
    return sheet


def _headings(labels: list[str]) -> list[tuple[int, int, str]]:
    return [(across * (_SIDE + _GAP) + 2, 1, label) for across, label in enumerate(labels)]
