"""Random changes of samples: the same sample in the same epoch is changed in the same way, wherever it is.

An augmentation draws by (seed, epoch, sample id, its own name), never by the order of calls, so batch size,
threads, ranks and resumes have no part in it. `ds.augment(...)` puts some behind the gather and the cache.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.augment.base import Augmentation, Mixing, Noise, Spec
    from headrace.augment.image.color import Grayscale, Saturation
    from headrace.augment.image.crop import CenterCrop, RandomCrop
    from headrace.augment.image.discrete import Invert, Posterize, Solarize
    from headrace.augment.image.erase import Cutout, RandomErasing
    from headrace.augment.image.flip import HorizontalFlip, VerticalFlip
    from headrace.augment.image.noise import GaussianNoise
    from headrace.augment.image.normalize import Normalize
    from headrace.augment.image.resize import RandomResizedCrop, Resize
    from headrace.augment.image.rotate import Rot90, Rotate
    from headrace.augment.image.tone import Brightness, Contrast, Gamma
    from headrace.augment.series.mask import FrequencyMask, TimeMask
    from headrace.augment.series.noise import Jitter, Scaling
    from headrace.augment.series.order import Permutation, Reverse, Shift
    from headrace.augment.series.warp import TimeWarp, WindowSlice

# Where each public name lives; names load when they are first used.
_MODULES = {
    "base": ("Augmentation", "Mixing", "Noise", "Spec"),
    "image.color": ("Grayscale", "Saturation"),
    "image.crop": ("CenterCrop", "RandomCrop"),
    "image.discrete": ("Invert", "Posterize", "Solarize"),
    "image.erase": ("Cutout", "RandomErasing"),
    "image.flip": ("HorizontalFlip", "VerticalFlip"),
    "image.noise": ("GaussianNoise",),
    "image.normalize": ("Normalize",),
    "image.resize": ("RandomResizedCrop", "Resize"),
    "image.rotate": ("Rot90", "Rotate"),
    "image.tone": ("Brightness", "Contrast", "Gamma"),
    "series.mask": ("FrequencyMask", "TimeMask"),
    "series.noise": ("Jitter", "Scaling"),
    "series.order": ("Permutation", "Reverse", "Shift"),
    "series.warp": ("TimeWarp", "WindowSlice"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Augmentation",
    "Brightness",
    "CenterCrop",
    "Contrast",
    "Cutout",
    "FrequencyMask",
    "Gamma",
    "GaussianNoise",
    "Grayscale",
    "HorizontalFlip",
    "Invert",
    "Jitter",
    "Mixing",
    "Noise",
    "Normalize",
    "Permutation",
    "Posterize",
    "RandomCrop",
    "RandomErasing",
    "RandomResizedCrop",
    "Resize",
    "Reverse",
    "Rot90",
    "Rotate",
    "Saturation",
    "Scaling",
    "Shift",
    "Solarize",
    "Spec",
    "TimeMask",
    "TimeWarp",
    "VerticalFlip",
    "WindowSlice",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'headrace.augment' has no attribute {name!r}")
    value = getattr(import_module(f"headrace.augment.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
