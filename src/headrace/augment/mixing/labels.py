"""Labels of mixed samples: soft ones, or both labels and the share of the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Field, Mixing, Spec
from headrace.draws import numbers
from headrace.draws.draws import Words
from headrace.errors import OptionError, SchemaError, check_whole

ONE = 1 << 16
"""Shares are multiples of 2^-16, so that a share and what it lacks of 1 are exact."""


@dataclass(frozen=True)
class LabelMixing(Mixing):
    """A mix of a sample and its partner by a share that is drawn from a beta distribution, with their labels.

    Attributes:
        label: The column of the labels, whole numbers of shape [n] or shares of shape [n, classes]; None if
            there are none.
        num_classes: Labels become float32 of shape [n, num_classes], share * own + (1 - share) * partner's.
            None: the label stays, and the columns `<label>_b` (the partner's) and `<label>_lam` (the share,
            float32) are added, unless labels are shares already.
        alpha: Both parameters of the beta distribution, 1.0 as in torchvision.
    """

    _: KW_ONLY
    label: str | None = None
    num_classes: int | None = None
    alpha: float = 1.0

    @property
    def changed(self) -> tuple[str, ...]:
        """The columns, that of the labels among them."""
        return (*self.columns, *(() if self.label is None else (self.label,)))

    def check(self) -> None:
        """Refuse options that cannot be right."""
        alpha = cast("object", self.alpha)
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0.01 <= alpha <= 100:
            raise OptionError(f"{self.title}: `alpha` must be from 0.01 to 100, got {self.alpha!r}")
        if self.num_classes is not None:
            check_whole("num_classes", self.num_classes, least=1)
            if self.label is None:
                raise OptionError(f"{self.title}: `num_classes` says how to mix labels; give `label` as well")
        if self.label is not None and self.label in tuple(self.columns):
            raise OptionError(f"{self.title}: `{self.label}` cannot be both a column to mix and the label")

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """The share of the sample itself."""
        return (("lam", "f4"),)

    def words(self, specs: Mapping[str, Spec]) -> int:
        """One."""
        return 1

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Draw the share, rounded to 2^-16."""
        return {"lam": self.draw_share(words[:, 0])}

    def draw_share(self, words: Words) -> NDArray[np.float32]:
        """Draw shares, float32 of shape [n]."""
        share = numbers.beta(words, self.alpha, self.alpha)
        return (np.rint(share * np.float32(ONE)) * np.float32(1 / ONE)).astype(np.float32)

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Take the sample alone."""
        return {"lam": 1}

    def label_output(self, specs: Mapping[str, Spec]) -> dict[str, Spec]:
        """Return what the labels will hold.

        Raises:
            SchemaError: Names the column, what it must hold and what it holds.
        """
        if self.label is None:
            return {}
        spec = specs[self.label]
        if spec.dtype.kind == "f" and len(spec.shape) == 1 and not spec.is_ragged:
            if self.num_classes in (None, spec.shape[0]):
                return {self.label: Spec(spec.shape, np.dtype(np.float32))}
            raise self.refuse(self.label, spec, f"shares of {self.num_classes} classes (`num_classes`)")
        if spec.dtype.kind not in "iu" or spec.shape or spec.is_ragged:
            raise self.refuse(self.label, spec, "whole numbers of shape [n] or floats of shape [n, classes]")
        if self.num_classes is not None:
            return {self.label: Spec((self.num_classes,), np.dtype(np.float32))}
        added = {f"{self.label}_b": spec, f"{self.label}_lam": Spec((), np.dtype(np.float32))}
        there = next((name for name in added if name in specs), None)
        if there is not None:
            raise SchemaError(
                f"{self.title}: adds the column `{there}`, which is there already; "
                "samples are mixed twice only with `num_classes`"
            )
        return {self.label: spec, **added}

    def mix_labels(
        self, xp: Any, columns: Mapping[str, Any], partners: Mapping[str, Any], share: Any
    ) -> dict[str, Any]:
        """Mix labels, float32: the own ones times the share, the partner's times the rest, and their sum."""
        if self.label is None:
            return {}
        own, other = columns[self.label], partners[self.label]
        if own.ndim == 1 and self.num_classes is None:
            both = {f"{self.label}_b": other, f"{self.label}_lam": share}
            return {name: xp.asarray(each, copy=True) for name, each in both.items()}
        weight = share[:, None]
        own, other = (self._as_shares(xp, each) for each in (own, other))
        return {self.label: own * weight + other * (1.0 - weight)}

    def _as_shares(self, xp: Any, label: Any) -> Any:
        """Turn classes into shares; what is no class is an error, or NaN on a device, which cannot raise."""
        if label.ndim == 2:
            return xp.astype(label, xp.float32)
        classes = self.num_classes or 0
        label = xp.astype(label, xp.int64)
        is_class = (label >= 0) & (label < classes)
        if xp is np and not is_class.all():
            place = int(np.argmin(is_class))
            raise SchemaError(
                f"{self.title}: column `{self.label}` must hold classes from 0 to {classes - 1}, "
                f"as `num_classes` is {classes}; got {int(label[place])} in sample {place} of the batch"
            )
        hot = xp.astype(label[:, None] == xp.arange(classes, dtype=xp.int64), xp.float32)
        return xp.where(is_class[:, None], hot, xp.full_like(hot, xp.nan))
