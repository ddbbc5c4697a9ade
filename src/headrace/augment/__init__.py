"""Random changes of samples: the same sample in the same epoch is changed in the same way, wherever it is.

An augmentation draws by (seed, epoch, sample id, its own name), never by the order of calls, so batch size,
threads, ranks and resumes have no part in it. `ds.augment(...)` puts some behind the gather and the cache.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.augment.base import Augmentation, Mixing, Noise, Spec
    from headrace.augment.custom import Lambda, LambdaDraws
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
    from headrace.augment.mixing.cutmix import CutMix
    from headrace.augment.mixing.mixup import MixUp
    from headrace.augment.series.mask import FrequencyMask, TimeMask
    from headrace.augment.series.noise import Jitter, Scaling
    from headrace.augment.series.order import Permutation, Reverse, Shift
    from headrace.augment.series.warp import TimeWarp, WindowSlice
    from headrace.augment.tabular.noise import FeatureDropout, GaussianJitter
    from headrace.augment.tabular.swap import SwapNoise
    from headrace.augment.tokens.change import TokenDropout, TokenReplace
    from headrace.augment.tokens.mask import MaskTokens
    from headrace.augment.tokens.window import RandomWindow
    from headrace.report.preview import preview

# Where each public name lives; names load when they are first used.
_MODULES = {
    "base": ("Augmentation", "Mixing", "Noise", "Spec"),
    "custom": ("Lambda", "LambdaDraws"),
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
    "mixing.cutmix": ("CutMix",),
    "mixing.mixup": ("MixUp",),
    "series.mask": ("FrequencyMask", "TimeMask"),
    "series.noise": ("Jitter", "Scaling"),
    "series.order": ("Permutation", "Reverse", "Shift"),
    "series.warp": ("TimeWarp", "WindowSlice"),
    "tabular.noise": ("FeatureDropout", "GaussianJitter"),
    "tabular.swap": ("SwapNoise",),
    "tokens.change": ("TokenDropout", "TokenReplace"),
    "tokens.mask": ("MaskTokens",),
    "tokens.window": ("RandomWindow",),
}
# It makes batches, so it lives above; its name is here, where it is looked for.
_ABOVE = {"preview": "headrace.report.preview"}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Augmentation",
    "Brightness",
    "CenterCrop",
    "Contrast",
    "CutMix",
    "Cutout",
    "FeatureDropout",
    "FrequencyMask",
    "Gamma",
    "GaussianJitter",
    "GaussianNoise",
    "Grayscale",
    "HorizontalFlip",
    "Invert",
    "Jitter",
    "Lambda",
    "LambdaDraws",
    "MaskTokens",
    "MixUp",
    "Mixing",
    "Noise",
    "Normalize",
    "Permutation",
    "Posterize",
    "RandomCrop",
    "RandomErasing",
    "RandomResizedCrop",
    "RandomWindow",
    "Resize",
    "Reverse",
    "Rot90",
    "Rotate",
    "Saturation",
    "Scaling",
    "Shift",
    "Solarize",
    "Spec",
    "SwapNoise",
    "TimeMask",
    "TimeWarp",
    "TokenDropout",
    "TokenReplace",
    "VerticalFlip",
    "WindowSlice",
    "preview",
]


def __getattr__(name: str) -> Any:
    if name in _ABOVE:
        value = globals()[name] = getattr(import_module(_ABOVE[name]), name)
        return value
    if name not in _HOMES:
        raise AttributeError(f"module 'headrace.augment' has no attribute {name!r}")
    value = getattr(import_module(f"headrace.augment.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
