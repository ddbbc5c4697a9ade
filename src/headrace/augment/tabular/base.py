"""What all augmentations of tabular columns share: numbers for each feature, and draws for each value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from headrace.augment.base import Augmentation, Field, Spec
from headrace.draws import numbers
from headrace.draws.draws import Words
from headrace.errors import OptionError

Features = float | Sequence[float]
"""One number for all features, or one for each feature of a column of shape [n, k]."""


@dataclass(frozen=True)
class TabularAugmentation(Augmentation):
    """An augmentation of columns of shape [n] or [n, k], which draws for every value by itself.

    Feature f of a sample uses word f. Columns draw apart.
    """

    draws_elements: ClassVar[bool] = True

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """None: values are drawn for one by one."""
        return ()

    def words(self, specs: Mapping[str, Spec]) -> int:
        """None."""
        return 0

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Nothing."""
        return {}

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Nothing: the gate says which samples are left alone."""
        return {}

    def check_columns(self, specs: Mapping[str, Spec], kinds: str, needed: str, features: Features) -> None:
        """Refuse columns of another shape or kind, or of another number of features than is told of.

        Args:
            specs: What the columns hold.
            kinds: NumPy's letters of the dtypes that are fine.
            needed: What to call them.
            features: An option that may have a number for each feature.

        Raises:
            SchemaError: Names the column, what it must hold and what it holds.
        """
        for column in self.columns:
            spec = specs[column]
            if spec.is_ragged or len(spec.shape) > 1 or spec.dtype.kind not in kinds:
                raise self.refuse(column, spec, f"{needed} of shape [n] or [n, k]")
            if not isinstance(features, (int, float)) and len(features) != spec.size:
                raise self.refuse(column, spec, f"as many features as there are numbers for, {len(features)}")


def check_features(
    op: Augmentation, option: str, value: Any, most: float, least: float = 0.0
) -> float | tuple[float, ...]:
    """Return a number, or a tuple of one for each feature.

    Raises:
        OptionError: Names the augmentation, the option, its bounds and what was given.
    """
    each = (value,) if isinstance(value, (int, float)) else value
    is_sequence = isinstance(each, Sequence) and not isinstance(each, (str, bytes)) and len(each) > 0
    if not is_sequence or not all(_is_number(number, least, most) for number in each):
        bounds = f"from {least:g} to {most:g}" if math.isfinite(most) else f"of at least {least:g}"
        raise OptionError(
            f"{op.title}: `{option}` must be a number {bounds}, or one for each feature, got {value!r}"
        )
    return float(value) if isinstance(value, (int, float)) else tuple(float(number) for number in each)


def _is_number(value: object, least: float, most: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and least <= value <= most


def is_chosen(xp: Any, words: Any, rate: Features, params: Mapping[str, Any], shape: Sequence[int]) -> Any:
    """Find the values whose words open their gates, in samples whose own gate is open; bool of `shape`."""
    limits = [numbers.threshold(each) for each in ([rate] if isinstance(rate, (int, float)) else rate)]
    opened = xp.astype(words, xp.uint64) < xp.asarray(limits, dtype=xp.uint64)
    return xp.reshape(opened & (params["applied"] != 0)[:, None], tuple(shape))
