"""Tokens that are dropped, or replaced by others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from headrace.augment.base import Noise, Spec
from headrace.augment.tokens.base import TokenAugmentation, among, applied, check_ids, check_rate
from headrace.draws import numbers
from headrace.errors import OptionError, check_whole


@dataclass(frozen=True)
class TokenDropout(TokenAugmentation):
    """Drop tokens, and close the gaps; or put one id in their place. Parity A.

    The token with the largest word of those that may be dropped always stays, so that no sample becomes
    empty. Further columns lose the same places, and `lengths` is set anew. Token e of a sample uses word e.

    Attributes:
        rate: The probability that a token is dropped, 0.1.
        special_ids: Ids that are never dropped.
        replacement: The id that takes the place of a dropped token; None closes the gap, for which a padded
            column needs `pad_id`.

    Source:
        Wei and Zou 2019 (random deletion); the rate is theirs.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"ids": np.array([[2, 11, 12, 13, 3, 0]])})
        >>> drop = hr.augment.TokenDropout("ids", rate=1, special_ids=(2, 3), pad_id=0)
        >>> ids = ds.augment(drop).loader(1, output="numpy").batch(0)["ids"]
        >>> ids.shape, int((ids != 0).sum())
        ((1, 6), 3)
    """

    rate: float = 0.1
    _: KW_ONLY
    special_ids: Sequence[int] = ()
    replacement: int | None = None

    draws_elements: ClassVar[bool] = True
    changes_lengths: ClassVar[bool] = True

    def check(self) -> None:
        """Refuse options that cannot be right."""
        check_rate(self, "rate", self.rate)
        object.__setattr__(self, "special_ids", check_ids(self, "special_ids", self.special_ids))
        if self.replacement is not None:
            check_whole("replacement", self.replacement)

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Check the columns; gaps of padded ones can be closed only where something fills them up."""
        found, spec = super().output(specs), specs[self.ids]
        if self.replacement is not None:
            self.check_id("replacement", self.replacement, spec)
        elif not spec.is_ragged and self.pad_id is None:
            raise OptionError(
                f"{self.title}: column `{self.ids}` is padded, so `pad_id` must say what fills up dropped "
                "tokens, or `replacement` what takes their place"
            )
        return found

    def change(
        self,
        xp: Any,
        columns: Mapping[str, Any],
        is_token: Any,
        params: Mapping[str, Any],
        noise: Noise,
    ) -> tuple[dict[str, Any], Any]:
        """Drop tokens of padded columns."""
        ids = columns[self.ids]
        width = ids.shape[1]
        places = xp.arange(width, dtype=xp.int64)
        word = noise.words(self.ids, width)
        is_open = is_token & ~among(xp, ids, self.special_ids)
        # The sum of 1 sets words of open tokens apart from the rest; argmax finds the first of the largest.
        rank = xp.where(is_open, xp.astype(word, xp.int64) + 1, xp.zeros_like(word, dtype=xp.int64))
        last = (
            xp.argmax(rank, axis=1, keepdims=True) if width else xp.zeros((ids.shape[0], 1), dtype=xp.int64)
        )
        is_dropped = is_open & numbers.bernoulli(word, self.rate) & (places != last) & applied(params)
        if self.replacement is not None:
            replaced = xp.where(is_dropped, xp.full_like(ids, self.replacement), ids)
            return {self.ids: replaced}, is_token
        # Samples that are left alone keep their places, wherever their padding is.
        is_kept = (is_token & ~is_dropped) | ~applied(params)
        order = xp.argsort(xp.astype(~is_kept, xp.int8), axis=1, stable=True)
        count = xp.sum(xp.astype(is_kept, xp.int64), axis=1)
        found: dict[str, Any] = {}
        for column in self.columns:
            moved = xp.take_along_axis(columns[column], order, axis=1)
            found[column] = xp.where(
                places < count[:, None], moved, xp.full_like(moved, self.fill_of(column))
            )
        return found, xp.take_along_axis(is_token & ~is_dropped, order, axis=1)


@dataclass(frozen=True)
class TokenReplace(TokenAugmentation):
    """Replace tokens by others, drawn from the whole vocabulary; parity A.

    Token e of a sample uses word 2e for the choice and word 2e + 1 for its replacement.

    Attributes:
        vocab_size: Replacements are drawn from 0 to `vocab_size` - 1.
        rate: The probability that a token is replaced, 0.1.
        special_ids: Ids that are never replaced.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"ids": np.array([[2, 11, 12, 13, 3, 0]])})
        >>> replace = hr.augment.TokenReplace("ids", vocab_size=1, rate=1, special_ids=(2, 3), pad_id=0)
        >>> ds.augment(replace).loader(1, output="numpy").batch(0)["ids"].tolist()
        [[2, 0, 0, 0, 3, 0]]
    """

    _: KW_ONLY
    vocab_size: int
    rate: float = 0.1
    special_ids: Sequence[int] = ()

    draws_elements: ClassVar[bool] = True

    def check(self) -> None:
        """Refuse options that cannot be right."""
        check_rate(self, "rate", self.rate)
        check_whole("vocab_size", self.vocab_size, least=1)
        object.__setattr__(self, "special_ids", check_ids(self, "special_ids", self.special_ids))
        if len(self.columns) != 1:
            raise OptionError(f"{self.title}: replaces tokens of one column, got {self.columns!r}")

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Check the columns; see `Augmentation.output`."""
        found = super().output(specs)
        self.check_id("vocab_size - 1", self.vocab_size - 1, specs[self.ids])
        return found

    def change(
        self,
        xp: Any,
        columns: Mapping[str, Any],
        is_token: Any,
        params: Mapping[str, Any],
        noise: Noise,
    ) -> tuple[dict[str, Any], Any]:
        """Replace tokens of padded ids."""
        ids = columns[self.ids]
        words = xp.reshape(noise.words(self.ids, 2 * ids.shape[1]), (*ids.shape, 2))
        is_open = is_token & ~among(xp, ids, self.special_ids) & applied(params)
        other = xp.astype(numbers.integers(words[..., 1], self.vocab_size), ids.dtype)
        return {
            self.ids: xp.where(is_open & numbers.bernoulli(words[..., 0], self.rate), other, ids)
        }, is_token
