"""Flips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Noise, Spec
from headrace.augment.image.base import GeometricAugmentation
from headrace.draws.draws import Words


@dataclass(frozen=True)
class _Flip(GeometricAugmentation):
    p: float = field(default=0.5, kw_only=True)

    only_moves: ClassVar[bool] = True
    _axis: ClassVar[int]

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """Whether a sample is flipped."""
        return (("flip", "i4"),)

    def words(self, specs: Mapping[str, Spec]) -> int:
        """None, the gate decides."""
        return 0

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Flip whatever the gate lets through."""
        return {"flip": np.ones(len(words), np.int32)}

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Do not flip."""
        return {"flip": 0}

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Return the columns flipped."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            flip = xp.reshape(params["flip"] != 0, (array.shape[0],) + (1,) * (array.ndim - 1))
            found[column] = xp.where(flip, xp.flip(array, axis=self.axes(array)[self._axis]), array)
        return found


@dataclass(frozen=True)
class HorizontalFlip(_Flip):
    """Flip images left to right; parity A.

    Attributes:
        p: The probability, 0.5 as in torchvision.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.arange(4, dtype=np.uint8).reshape(1, 1, 4, 1)})
        >>> loader = ds.augment(hr.augment.HorizontalFlip("image", p=1)).loader(1, output="numpy")
        >>> next(iter(loader))["image"].ravel().tolist()
        [3, 2, 1, 0]
    """

    _axis: ClassVar[int] = 1


@dataclass(frozen=True)
class VerticalFlip(_Flip):
    """Flip images upside down; parity A.

    Attributes:
        p: The probability, 0.5 as in torchvision.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"image": np.arange(3, dtype=np.uint8).reshape(1, 3, 1, 1)})
        >>> loader = ds.augment(hr.augment.VerticalFlip("image", p=1)).loader(1, output="numpy")
        >>> next(iter(loader))["image"].ravel().tolist()
        [2, 1, 0]
    """

    _axis: ClassVar[int] = 0
