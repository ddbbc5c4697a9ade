"""MixUp."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from headrace.augment.base import Noise, Parity, Spec
from headrace.augment.mixing.labels import ONE, LabelMixing


@dataclass(frozen=True)
class MixUp(LabelMixing):
    """Add a sample and its partner, weighted by a share that is drawn for each sample; parity B, uint8 A.

    Columns are uint8, float32 or float64 of any shape. Floats become x * share + partner * (1 - share), two
    products and a sum, each rounded once. For uint8 the weights are whole numbers of 2^-16, and the sum is
    rounded half up.

    Attributes:
        p: The probability that a sample is mixed, 1.

    Source:
        Zhang et al. 2018; names and defaults as in torchvision, which draws one share for a whole batch.

    Example:
        >>> import headrace as hr
        >>> hr.augment.MixUp("image", label="label", num_classes=10, alpha=0.2).changed
        ('image', 'label')
    """

    parity: ClassVar[Parity] = "B"

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Check the columns; see `Augmentation.output`."""
        for column in self.columns:
            spec = specs[column]
            if spec.is_ragged or spec.dtype.name not in ("uint8", "float32", "float64"):
                raise self.refuse(
                    column, spec, "uint8, float32 or float64, padded if samples differ in length"
                )
        return {**{column: specs[column] for column in self.columns}, **self.label_output(specs)}

    def mix(
        self,
        xp: Any,
        columns: Mapping[str, Any],
        partners: Mapping[str, Any],
        params: Mapping[str, Any],
        noise: Noise,
    ) -> Mapping[str, Any]:
        """Return the columns and labels mixed."""
        share = params["lam"]
        found = self.mix_labels(xp, columns, partners, share)
        for column in self.columns:
            own, other = columns[column], partners[column]
            shape = (own.shape[0],) + (1,) * (own.ndim - 1)
            if own.dtype == xp.uint8:
                weight = xp.reshape(xp.astype(share * ONE, xp.uint32), shape)
                total = xp.astype(own, xp.uint32) * weight + xp.astype(other, xp.uint32) * (ONE - weight)
                found[column] = xp.astype((total + ONE // 2) >> 16, xp.uint8)
            else:
                weight = xp.reshape(xp.astype(share, own.dtype), shape)
                is_on = xp.reshape(params["applied"] != 0, shape)
                found[column] = xp.where(is_on, own * weight + other * (1.0 - weight), own)
        return found
