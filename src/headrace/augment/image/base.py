"""What all augmentations of images share: layouts and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from headrace.augment.base import Augmentation, Spec
from headrace.errors import OptionError

ImageLayout = Literal["NHWC", "NCHW"]


@dataclass(frozen=True)
class ImageAugmentation(Augmentation):
    """An augmentation of images, of shape [n, height, width, channels] or [n, channels, height, width].

    A column of shape [n, height, width] is taken for images of one channel.

    Attributes:
        layout: `"NHWC"` or `"NCHW"`.
    """

    _: KW_ONLY
    layout: ImageLayout = "NHWC"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layout not in ("NHWC", "NCHW"):
            raise OptionError(f'{self.title}: `layout` must be "NHWC" or "NCHW", got {self.layout!r}')

    def sides(self, spec: Spec) -> tuple[int, int]:
        """Height and width of an image."""
        top = 1 if len(spec.shape) == 3 and self.layout == "NCHW" else 0
        return spec.shape[top], spec.shape[top + 1]

    def axes(self, array: Any) -> tuple[int, int]:
        """The axes of height and width in an array of shape [n, ...]."""
        return (2, 3) if array.ndim == 4 and self.layout == "NCHW" else (1, 2)

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Return what the columns hold; see `Augmentation.output`."""
        for column in self.changed:
            spec = specs[column]
            is_number = spec.dtype.kind == "f" or spec.dtype.name == "uint8"
            if spec.is_ragged or len(spec.shape) not in (2, 3) or not is_number:
                raise self.refuse(
                    column, spec, f"images, uint8 or floats of shape [n, {', '.join(self.layout[1:])}]"
                )
        return {column: specs[column] for column in self.changed}
