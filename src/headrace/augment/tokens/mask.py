"""Masked language modelling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from headrace.augment.base import Noise, Spec
from headrace.augment.tokens.base import TokenAugmentation, among, applied, check_ids, check_rate
from headrace.draws import numbers
from headrace.errors import OptionError, SchemaError, check_whole


@dataclass(frozen=True)
class MaskTokens(TokenAugmentation):
    """Choose tokens to be guessed, by the rule of BERT; parity A.

    Of the chosen tokens, some become `mask_id`, some a token drawn from the whole vocabulary, and the others
    stay as they are. The column `labels`, int64, holds the tokens that were chosen and `ignore_index`
    elsewhere, as torch's `cross_entropy` wants it. Token e of a sample uses word 2e for the choice and word
    2e + 1 for its replacement.

    Attributes:
        mask_id: The id of the mask.
        vocab_size: Replacements are drawn from 0 to `vocab_size` - 1; `len(tokenizer)` in transformers.
        special_ids: Ids that are never chosen, such as those of `[CLS]` and `[SEP]`; transformers takes
            `tokenizer.all_special_ids`. Padding is never chosen.
        mlm_probability: How many tokens are chosen, 0.15 as in BERT and transformers.
        mask_replace_prob: How many of those become the mask, 0.8.
        random_replace_prob: How many of those become another token, 0.1.
        labels: The name of the column that is added.
        ignore_index: What it holds for tokens that are not chosen.

    Source:
        Devlin et al. 2019; names and defaults as in transformers' `DataCollatorForLanguageModeling`.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"ids": np.array([[2, 11, 12, 13, 3, 0]])})
        >>> mask = hr.augment.MaskTokens(
        ...     "ids",
        ...     mask_id=4,
        ...     vocab_size=50,
        ...     special_ids=(2, 3),
        ...     pad_id=0,
        ...     mlm_probability=1,
        ...     mask_replace_prob=1,
        ...     random_replace_prob=0,
        ... )
        >>> batch = ds.augment(mask).loader(1, output="numpy").batch(0)
        >>> batch["ids"].tolist(), batch["labels"].tolist()
        ([[2, 4, 4, 4, 3, 0]], [[-100, 11, 12, 13, -100, -100]])
    """

    _: KW_ONLY
    mask_id: int
    vocab_size: int
    special_ids: Sequence[int] = ()
    mlm_probability: float = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1
    labels: str = "labels"
    ignore_index: int = -100

    draws_elements: ClassVar[bool] = True

    def check(self) -> None:
        """Refuse options that cannot be right."""
        if len(self.columns) != 1:
            raise OptionError(f"{self.title}: masks tokens of one column, got {self.columns!r}")
        check_whole("mask_id", self.mask_id, least=0)
        check_whole("vocab_size", self.vocab_size, least=1)
        check_whole("ignore_index", self.ignore_index)
        object.__setattr__(self, "special_ids", check_ids(self, "special_ids", self.special_ids))
        for option in ("mlm_probability", "mask_replace_prob", "random_replace_prob"):
            check_rate(self, option, getattr(self, option))
        if self.mask_replace_prob + self.random_replace_prob > 1 + 1e-9:
            raise OptionError(
                f"{self.title}: `mask_replace_prob` and `random_replace_prob` must not exceed 1 together, "
                f"got {self.mask_replace_prob} and {self.random_replace_prob}"
            )

    @property
    def thresholds(self) -> tuple[int, int, int]:
        """Below which words a token becomes the mask, the mask or another token, and is chosen at all."""
        chosen = numbers.threshold(self.mlm_probability)
        masked = numbers.threshold(self.mlm_probability * self.mask_replace_prob)
        replaced = self.mlm_probability * min(self.mask_replace_prob + self.random_replace_prob, 1.0)
        return masked, max(masked, numbers.threshold(replaced)), chosen

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Check the column, and add the labels."""
        found, spec = dict(super().output(specs)), specs[self.ids]
        self.check_id("mask_id", self.mask_id, spec)
        self.check_id("vocab_size - 1", self.vocab_size - 1, spec)
        if self.labels in specs:
            raise SchemaError(
                f"{self.title}: adds the column `{self.labels}`, which is there already; "
                "give `labels=` another name"
            )
        return {**found, self.labels: Spec(spec.shape, np.dtype(np.int64), spec.is_ragged)}

    def change(
        self,
        xp: Any,
        columns: Mapping[str, Any],
        is_token: Any,
        params: Mapping[str, Any],
        noise: Noise,
    ) -> tuple[dict[str, Any], Any]:
        """Mask padded ids, and label them."""
        ids = columns[self.ids]
        words = xp.reshape(noise.words(self.ids, 2 * ids.shape[1]), (*ids.shape, 2))
        word = xp.astype(words[..., 0], xp.uint64)
        masked, replaced, chosen = self.thresholds
        is_open = is_token & ~among(xp, ids, self.special_ids) & applied(params)
        is_chosen = is_open & (word < chosen)
        other = xp.astype(numbers.integers(words[..., 1], self.vocab_size), ids.dtype)
        found = xp.where(is_open & (word < replaced), other, ids)
        mask = xp.full_like(ids, self.mask_id)
        found = xp.where(is_open & (word < masked), mask, found)
        labels = xp.where(
            is_chosen, xp.astype(ids, xp.int64), xp.full(ids.shape, self.ignore_index, dtype=xp.int64)
        )
        return {self.ids: found, self.labels: labels}, is_token
