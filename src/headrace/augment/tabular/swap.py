"""Swap noise: features that are taken from another sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.augment.base import Mixing, Noise, Spec
from headrace.augment.tabular.base import Features, TabularAugmentation, check_features, is_chosen
from headrace.augment.tabular.noise import size_of


@dataclass(frozen=True)
class SwapNoise(Mixing, TabularAugmentation):
    """Take some features from the partner sample, each from the same column; parity A.

    All features that a sample takes come from one partner.

    Attributes:
        rate: The probability that a value is taken, 0.15 as usual for denoising autoencoders (SCARF takes
        0.6);
            one number, or one for each feature.

    Source:
        Jahrer 2017 (swap noise); Bahri et al. 2022 (SCARF).

    Example:
        >>> import headrace as hr
        >>> hr.augment.SwapNoise(["x", "city"], rate=0.6, partner="id").rate
        0.6
    """

    rate: Features = 0.15

    def check(self) -> None:
        """Refuse options that cannot be right."""
        object.__setattr__(self, "rate", check_features(self, "rate", self.rate, 1))

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Check the columns; see `Augmentation.output`."""
        self.check_columns(specs, "iufb", "numbers", self.rate)
        return super().output(specs)

    def mix(
        self,
        xp: Any,
        columns: Mapping[str, Any],
        partners: Mapping[str, Any],
        params: Mapping[str, Any],
        noise: Noise,
    ) -> Mapping[str, Any]:
        """Return the columns with values of the partners."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            words = noise.words(column, size_of(array))
            taken = is_chosen(xp, words, self.rate, params, array.shape)
            found[column] = xp.where(taken, partners[column], array)
        return found
