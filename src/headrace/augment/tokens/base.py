"""What all augmentations of tokens share: which places hold tokens, padded or ragged."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Augmentation, Field, Noise, Spec
from headrace.batch import Ragged
from headrace.draws.draws import Words
from headrace.errors import OptionError, SchemaError, check_whole


@dataclass(frozen=True)
class TokenAugmentation(Augmentation):
    """An augmentation of whole numbers that stand for tokens.

    A column is padded, of shape [n, T], or ragged. A sample draws the same in both forms, as the place of a
    token in its sample counts. The first column holds the ids; further ones, such as types or an attention
    mask, have as many places.

    Attributes:
        pad_id: The id that fills padded samples up, and is no token. None: every place holds a token, or
            `lengths` says which.
        lengths: A column of shape [n] with the number of tokens of each padded sample, which come first.
    """

    _: KW_ONLY
    pad_id: int | None = None
    lengths: str | None = None

    changes_lengths: ClassVar[bool] = False

    @property
    def changed(self) -> tuple[str, ...]:
        """The columns, that of the lengths among them."""
        return (*self.columns, *(() if self.lengths is None else (self.lengths,)))

    @property
    def ids(self) -> str:
        """The column of the ids."""
        return self.columns[0]

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """None: tokens are drawn for one by one."""
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

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Check the columns; see `Augmentation.output`."""
        first = specs[self.ids]
        for column in self.columns:
            spec = specs[column]
            needed = "whole numbers, ragged or of shape [n, T] with T at least 1"
            axes = 0 if spec.is_ragged else 1
            if spec.dtype.kind not in "iu" or len(spec.shape) != axes or 0 in spec.shape:
                raise self.refuse(column, spec, needed)
            if (spec.is_ragged, spec.shape) != (first.is_ragged, first.shape):
                raise self.refuse(column, spec, f"as many places as `{self.ids}` ({first})")
        if self.lengths is not None:
            spec = specs[self.lengths]
            if first.is_ragged:
                raise OptionError(f"{self.title}: `lengths` is for padded columns, `{self.ids}` is ragged")
            if spec.dtype.kind not in "iu" or spec.shape or spec.is_ragged:
                raise self.refuse(self.lengths, spec, "the number of tokens of each sample, shape [n]")
        if self.pad_id is not None:
            self.check_id("pad_id", self.pad_id, first)
        return {column: specs[column] for column in self.changed}

    def check_id(self, option: str, value: int, spec: Spec) -> None:
        """Refuse an id that the column of the ids cannot hold.

        Raises:
            SchemaError: Names the option, the value and the column.
        """
        limits = np.iinfo(spec.dtype)
        if not limits.min <= value <= limits.max:
            raise SchemaError(
                f"{self.title}: column `{self.ids}` must hold `{option}`, which is {value}, but is {spec}"
            )

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Change padded columns, or ragged ones in padded form."""
        ids = columns[self.ids]
        if not isinstance(ids, Ragged):
            own = {column: columns[column] for column in self.columns}
            lengths: Any = None if self.lengths is None else columns[self.lengths]
            found, kept = self.change(xp, own, self.find_tokens(xp, ids, lengths), params, noise)
            if self.lengths is not None and self.changes_lengths:
                count = xp.sum(xp.astype(kept, xp.int64), axis=1)
                found[self.lengths] = xp.astype(count, lengths.dtype)
            return found
        own = {column: self._pad(column, columns[column], ids) for column in self.columns}
        places = np.arange(own[self.ids].shape[1])
        is_token = places < np.diff(ids.offsets)[:, None]
        found, kept = self.change(np, own, is_token, params, noise)
        return {column: _unpad(array, kept) for column, array in found.items()}

    @abstractmethod
    def change(
        self,
        xp: Any,
        columns: Mapping[str, Any],
        is_token: Any,
        params: Mapping[str, Any],
        noise: Noise,
    ) -> tuple[dict[str, Any], Any]:
        """Change padded columns.

        Args:
            xp: The namespace of all arrays.
            columns: The columns, of shape [n, T].
            is_token: Which places hold a token, bool of shape [n, T].
            params: The fields, of shape [n].
            noise: Words for tokens.

        Returns:
            The columns that change or are added, and which places hold a token in the end.
        """

    def find_tokens(self, xp: Any, ids: Any, lengths: Any) -> Any:
        """Find which places of a padded column hold a token, bool of shape [n, T]."""
        if lengths is not None:
            return xp.arange(ids.shape[1], dtype=xp.int64) < xp.astype(lengths, xp.int64)[:, None]
        return xp.full(ids.shape, True, dtype=xp.bool) if self.pad_id is None else ids != self.pad_id

    def fill_of(self, column: str) -> int:
        """What fills a column up behind its tokens: the pad of the ids, 0 of the others."""
        return (self.pad_id or 0) if column == self.ids else 0

    def check_places(self, column: str, ragged: Ragged, ids: Ragged) -> None:
        """Refuse a ragged column whose samples are not as long as those of the ids.

        Raises:
            SchemaError: Names both columns.
        """
        if not np.array_equal(ragged.offsets, ids.offsets):
            raise SchemaError(
                f"{self.title}: column `{column}` must have as many values in each sample as `{self.ids}`"
            )

    def _pad(self, column: str, ragged: Ragged, ids: Ragged) -> NDArray[Any]:
        self.check_places(column, ragged, ids)
        lengths = np.diff(ragged.offsets)
        padded = np.zeros((len(ragged), int(lengths.max(initial=0))), ragged.values.dtype)
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = ragged.values
        return padded


def _unpad(padded: NDArray[Any], kept: NDArray[np.bool_]) -> Ragged:
    offsets = np.zeros(len(padded) + 1, np.int64)
    np.cumsum(kept.sum(axis=1), out=offsets[1:])
    return Ragged(padded[kept], offsets)


def check_rate(op: Augmentation, option: str, value: Any) -> None:
    """Refuse an option that is no probability.

    Raises:
        OptionError: Names the augmentation, the option and the value.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise OptionError(f"{op.title}: `{option}` must be a probability from 0 to 1, got {value!r}")


def check_ids(op: Augmentation, option: str, values: object) -> tuple[int, ...]:
    """Return ids as a tuple, or refuse what is none.

    Raises:
        OptionError: Names the augmentation, the option and the value.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise OptionError(f"{op.title}: `{option}` must be a sequence of ids, got {values!r}")
    return tuple(check_whole(f"{option}` of `{op.title}", value) for value in values)


def among(xp: Any, ids: Any, some: Sequence[int]) -> Any:
    """Find which ids are among some few, bool of the same shape."""
    found = xp.full(ids.shape, False, dtype=xp.bool)
    for each in some:
        found = found | (ids == each)
    return found


def applied(params: Mapping[str, Any]) -> Any:
    """Which samples the gate lets through, bool of shape [n, 1]."""
    return (params["applied"] != 0)[:, None]
