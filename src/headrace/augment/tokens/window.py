"""Windows of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from numpy.typing import NDArray

from headrace.augment.base import Field, Noise, Spec
from headrace.augment.tokens.base import TokenAugmentation
from headrace.draws import numbers
from headrace.draws.draws import Words
from headrace.errors import OptionError, check_whole


@dataclass(frozen=True)
class RandomWindow(TokenAugmentation):
    """Cut a window of neighbouring tokens out of each sample; parity A.

    Every window is as likely as any other. A sample that is not longer than the window stays whole. Padded
    columns get the window's width, with the tokens first; ragged ones stay ragged. All columns are cut at
    the same places, and `lengths` is set anew. Samples that the gate leaves alone get the window in their
    middle.

    Attributes:
        size: How many tokens.

    Example:
        >>> import headrace as hr, numpy as np
        >>> ds = hr.from_arrays({"ids": np.array([[5, 6, 7, 8], [9, 0, 0, 0]])})
        >>> window = hr.augment.RandomWindow("ids", size=2, pad_id=0, p=0)
        >>> ds.augment(window).loader(2, output="numpy").batch(0)["ids"].tolist()
        [[6, 7], [9, 0]]
    """

    size: int

    changes_lengths: ClassVar[bool] = True

    def check(self) -> None:
        """Refuse options that cannot be right."""
        check_whole("size", self.size, least=1)

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """The word that chooses the window, since only the sample itself says how long it is."""
        return (("word", "u4"),)

    def words(self, specs: Mapping[str, Spec]) -> int:
        """One."""
        return 1

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Keep the word."""
        return {"word": words[:, 0]}

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Nothing that counts."""
        return {"word": 0}

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Check the columns, and set the width of padded ones."""
        found = dict(super().output(specs))
        if specs[self.ids].is_ragged:
            return found
        if specs[self.ids].shape[0] < self.size and self.pad_id is None:
            raise OptionError(
                f"{self.title}: a window of {self.size} tokens is wider than column `{self.ids}` "
                f"({specs[self.ids]}), so `pad_id` must say what fills it up"
            )
        return {**found, **{column: replace(specs[column], shape=(self.size,)) for column in self.columns}}

    def change(
        self,
        xp: Any,
        columns: Mapping[str, Any],
        is_token: Any,
        params: Mapping[str, Any],
        noise: Noise,
    ) -> tuple[dict[str, Any], Any]:
        """Cut padded columns."""
        samples, width = is_token.shape
        places = xp.arange(self.size, dtype=xp.int64)
        if width == 0:  # ragged samples that are all empty
            return dict(columns), is_token
        length = xp.sum(xp.astype(is_token, xp.int64), axis=1)
        first = xp.argmax(xp.astype(is_token, xp.int8), axis=1)
        spare = xp.maximum(length - self.size, xp.zeros_like(length))
        drawn = numbers.integers(params["word"], spare + 1)
        begin = first + xp.where(params["applied"] != 0, drawn, spare // 2)
        taken = xp.minimum(begin[:, None] + places, xp.full((samples, self.size), width - 1, dtype=xp.int64))
        kept = places < length[:, None]
        found: dict[str, Any] = {}
        for column in self.columns:
            moved = xp.take_along_axis(columns[column], taken, axis=1)
            found[column] = xp.where(kept, moved, xp.full_like(moved, self.fill_of(column)))
        return found, kept
