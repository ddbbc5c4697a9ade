"""Bands of time or of channels that are overwritten, as SpecAugment does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Noise, Spec
from headrace.augment.series.base import SeriesAugmentation, along
from headrace.augment.series.value import check_value, fill_like
from headrace.draws.draws import Words
from headrace.errors import check_whole


@dataclass(frozen=True)
class _Mask(SeriesAugmentation):
    """Bands by torchaudio's rule.

    The width is a real number from 0 to `mask_param`, the start one such that the band fits; both are rounded
    down.
    """

    mask_param: int
    _: KW_ONLY
    masks: int = 1
    value: float = 0

    def check(self) -> None:
        """Refuse widths and numbers of bands that are none."""
        check_whole("mask_param", self.mask_param, least=0)
        check_whole("masks", self.masks, least=1)

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """First step (or channel) and width of each band."""
        return (("start", "i4", (self.masks,)), ("width", "i4", (self.masks,)))

    def words(self, specs: Mapping[str, Spec]) -> int:
        """Two for each band: its width and its place."""
        return 2 * self.masks

    def length(self, spec: Spec) -> int:
        """How many steps or channels there are."""
        raise NotImplementedError

    def masked_axis(self, dimensions: int) -> int:
        """The axis that bands lie on."""
        raise NotImplementedError

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Return what the columns hold; see `Augmentation.output`."""
        found = super().output(specs)
        first = self.changed[0]
        for column, spec in found.items():
            if self.length(spec) != self.length(found[first]):
                raise self.refuse(
                    column, spec, f"as many channels as `{first}`, which has {self.length(found[first])}"
                )
        check_value(self, "value", self.value, found)
        return found

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Draw width and place of each band."""
        length = self.length(specs[self.changed[0]])
        # Both products are of IEEE float64, rounded alike on every machine.
        share = words.astype(np.float64) * 2.0**-32
        width = share[:, 0::2] * min(self.mask_param, length)
        start = share[:, 1::2] * (length - width)
        return {"start": start.astype(np.int32), "width": width.astype(np.int32)}

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Overwrite nothing."""
        return {"start": 0, "width": 0}

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Return the columns with their bands overwritten."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            axis = self.masked_axis(array.ndim)
            place = xp.arange(array.shape[axis], dtype=xp.int32)[None, :]
            is_masked = xp.zeros((array.shape[0], array.shape[axis]), dtype=xp.bool)
            for band in range(self.masks):
                start, width = (params[name][:, band : band + 1] for name in ("start", "width"))
                is_masked = is_masked | ((place >= start) & (place < start + width))
            value = fill_like(xp, self.value, array)
            found[column] = xp.where(along(xp, is_masked, axis, array.ndim), value, array)
        return found


@dataclass(frozen=True)
class TimeMask(_Mask):
    """Overwrite bands of time, as SpecAugment does; parity A.

    Each sample has bands of its own, as with torchaudio's `iid_masks=True`, which is not the default there.

    Attributes:
        mask_param: Widths are drawn below this many steps, or below the length of the series if that is less.
            The default of 40 is albumentations'; torchaudio, whose rule it is, has none.
        masks: How many bands; they may lie one upon the other.
        value: What is written, 0 as in torchaudio.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"x": np.ones((1, 100, 2), np.float32)})
        >>> x = next(iter(ds.augment(hr.augment.TimeMask("x")).loader(1, output="numpy")))["x"]
        >>> bool((x[..., 0] == x[..., 1]).all()), 60 < int(x[..., 0].sum()) <= 100
        (True, True)
    """

    mask_param: int = 40

    def length(self, spec: Spec) -> int:
        """How many steps there are."""
        return self.steps(spec)

    def masked_axis(self, dimensions: int) -> int:
        """The axis of time."""
        return self.time_axis(dimensions)


@dataclass(frozen=True)
class FrequencyMask(_Mask):
    """Overwrite bands of channels, as SpecAugment does with frequencies; parity A.

    Each sample has bands of its own, as with torchaudio's `iid_masks=True`, which is not the default there.

    Attributes:
        mask_param: Widths are drawn below this many channels, or below all of them if that is less. The
            default of 30 is albumentations'; torchaudio, whose rule it is, has none.
        masks: How many bands; they may lie one upon the other.
        value: What is written, 0 as in torchaudio.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"x": np.ones((1, 2, 80), np.float32)})
        >>> x = next(iter(ds.augment(hr.augment.FrequencyMask("x")).loader(1, output="numpy")))["x"]
        >>> bool((x[:, 0] == x[:, 1]).all()), 50 < int(x[:, 0].sum()) <= 80
        (True, True)
    """

    mask_param: int = 30

    def length(self, spec: Spec) -> int:
        """How many channels there are."""
        return self.channels(spec)

    def masked_axis(self, dimensions: int) -> int:
        """The axis of channels."""
        return self.channel_axis()

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Return what the columns hold; see `Augmentation.output`."""
        for column in self.changed:
            if len(specs[column].shape) == 1:
                raise self.refuse(column, specs[column], "series with an axis of channels")
        return super().output(specs)
