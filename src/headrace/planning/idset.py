"""A set of sample ids in the least memory: as runs, as bits, or one by one.

Each form answers the same questions; which one holds a set follows from the set alone, so equal
sets have equal fingerprints however they were made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError
from headrace.fingerprint import digest

Ids = NDArray[np.int64]
Words = NDArray[np.uint64]

_RUN_BYTES = 16  # where it begins, and how many ids lie before it
_ID_BYTES = 8


@dataclass(frozen=True, eq=False)
class Runs:
    """Ids in runs that follow each other without touching.

    Attributes:
        begins: First id of each run, int64 of shape [m].
        before: How many ids lie in the runs before each one, then the total; int64 of shape [m + 1].
    """

    begins: Ids
    before: Ids

    @staticmethod
    def of(begins: Ids, ends: Ids) -> Runs:
        """Make runs of where each begins and where the next id after it lies."""
        before = np.zeros(len(begins) + 1, np.int64)
        np.cumsum(ends - begins, out=before[1:])
        return Runs(_frozen(begins), _frozen(before))

    @cached_property
    def ends(self) -> Ids:
        """The id after the last of each run."""
        return self.begins + np.diff(self.before)

    @property
    def count(self) -> int:
        """How many ids there are."""
        return int(self.before[-1])

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.begins.nbytes + self.before.nbytes

    def at(self, indices: Ids) -> Ids:
        """Return the ids at these places of the rising order."""
        runs = np.searchsorted(self.before, indices, side="right") - 1
        return self.begins[runs] + (indices - self.before[runs])

    def rank(self, ids: Ids) -> Ids:
        """Count the members below each id."""
        if not len(self.begins):
            return np.zeros(len(ids), np.int64)
        runs = np.searchsorted(self.begins, ids) - 1
        known = np.maximum(runs, 0)
        inside = np.minimum(ids, self.ends[known]) - self.begins[known]
        return np.where(runs < 0, 0, self.before[known] + inside)

    def words(self, total: int) -> Words:
        """Return the set as bits."""
        from headrace.planning.bit_kernels import set_runs

        words = np.zeros(-(-total // 64), np.uint64)
        set_runs(words, self.begins, self.ends)
        return words

    @property
    def parts(self) -> tuple[Any, ...]:
        """What identifies the set."""
        return "runs", self.begins, self.before


@dataclass(frozen=True, eq=False)
class Bits:
    """Ids as bits.

    Attributes:
        packed: Bit id % 64 of word id // 64 is set; uint64 of shape [words].
        before: How many ids lie before each block of words, then the total.
    """

    packed: Words
    before: Ids

    @staticmethod
    def of(words: Words) -> Bits:
        """Count the bits of some words."""
        from headrace.planning.bit_kernels import BLOCK, count_blocks

        before = np.zeros(-(-len(words) // BLOCK) + 1, np.int64)
        count_blocks(words, before)
        return Bits(_frozen(words), _frozen(before))

    @property
    def count(self) -> int:
        """How many ids there are."""
        return int(self.before[-1])

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.packed.nbytes + self.before.nbytes

    def at(self, indices: Ids) -> Ids:
        """Return the ids at these places of the rising order."""
        from headrace.planning.bit_kernels import find_ids, select

        out = np.empty(len(indices), np.int64)
        if len(indices) == self.count and bool((indices == np.arange(self.count)).all()):
            find_ids(self.packed, out)
        else:
            select(self.packed, self.before, np.ascontiguousarray(indices), out)
        return out

    def rank(self, ids: Ids) -> Ids:
        """Count the members below each id."""
        from headrace.planning.bit_kernels import rank

        out = np.empty(len(ids), np.int64)
        rank(self.packed, self.before, np.ascontiguousarray(ids), out)
        return out

    def words(self, total: int) -> Words:
        """Return the set as bits."""
        return self.packed

    @property
    def parts(self) -> tuple[Any, ...]:
        """What identifies the set."""
        return "bits", self.packed


@dataclass(frozen=True, eq=False)
class Few:
    """Ids one by one, where they lie far apart.

    Attributes:
        ids: In rising order, int64 of shape [n].
    """

    ids: Ids

    @property
    def count(self) -> int:
        """How many ids there are."""
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.ids.nbytes

    def at(self, indices: Ids) -> Ids:
        """Return the ids at these places of the rising order."""
        return self.ids[indices]

    def rank(self, ids: Ids) -> Ids:
        """Count the members below each id."""
        return np.searchsorted(self.ids, ids).astype(np.int64)

    def words(self, total: int) -> Words:
        """Return the set as bits."""
        from headrace.planning.bit_kernels import set_ids

        words = np.zeros(-(-total // 64), np.uint64)
        set_ids(words, self.ids)
        return words

    @property
    def parts(self) -> tuple[Any, ...]:
        """What identifies the set."""
        return "ids", self.ids


Form = Runs | Bits | Few


@dataclass(frozen=True, eq=False)
class IdSet:
    """A set of ids below a total: immutable, thread-safe, picklable.

    Attributes:
        total: How many ids there could be.
        form: What holds them.

    Example:
        >>> evens = IdSet.of_ids(np.array([0, 2, 4]), total=6)
        >>> low = IdSet.of_runs(np.array([0]), np.array([3]), total=6)
        >>> (evens & low).ids.tolist(), (low - evens).ids.tolist(), evens.rank(np.array([3])).tolist()
        ([0, 2], [1], [2])
    """

    total: int
    form: Form

    @staticmethod
    def of_ids(ids: Ids, total: int) -> IdSet:
        """Hold rising ids without repeats."""
        ids = np.ascontiguousarray(ids, np.int64)
        firsts, lasts = (np.flatnonzero(np.diff(ids, **{side: -2}) != 1) for side in ("prepend", "append"))
        if _RUN_BYTES * len(firsts) <= min(_ID_BYTES * len(ids), total / 8):
            return IdSet(total, Runs.of(ids[firsts], ids[lasts] + 1))
        few = Few(_frozen(ids.copy()))
        return IdSet(total, few if few.nbytes <= total / 8 else Bits.of(few.words(total)))

    @staticmethod
    def of_runs(begins: Ids, ends: Ids, total: int) -> IdSet:
        """Hold rising runs; those that touch are joined, empty ones left out."""
        filled = ends > begins
        begins, ends = begins[filled], ends[filled]
        is_first, is_last = np.ones((2, len(begins)), np.bool_)
        is_first[1:] = is_last[:-1] = begins[1:] != ends[:-1]
        return _smallest(Runs.of(begins[is_first], ends[is_last]), total)

    @staticmethod
    def of_mask(mask: NDArray[np.bool_]) -> IdSet:
        """Hold the places where a mask is true, bool of shape [total]."""
        return IdSet.of_words(pack_bits(mask), len(mask))

    @staticmethod
    def of_words(words: Words, total: int) -> IdSet:
        """Hold bits, uint64 of shape [total / 64, rounded up]; those beyond the total are 0."""
        return _smallest(Bits.of(words), total)

    @property
    def count(self) -> int:
        """How many ids there are."""
        return self.form.count

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.form.nbytes

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the ids and the total."""
        return digest("ids", self.total, *self.form.parts)

    def at(self, indices: Ids) -> Ids:
        """Return the ids at these places of the rising order; int64 of the same shape."""
        return self.form.at(indices)

    def rank(self, ids: Ids) -> Ids:
        """Count the members below each id, from 0 to `total`; int64 of the same shape."""
        return self.form.rank(ids)

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell for each id whether it is a member."""
        inside = (ids >= 0) & (ids < self.total)
        known = np.where(inside, ids, 0)
        return (self.rank(known + 1) > self.rank(known)) & inside if self.total else inside

    @property
    def ids(self) -> Ids:
        """All members in rising order, a fresh int64 array."""
        return self.at(np.arange(self.count)).copy()

    def shifted(self, offset: int, total: int) -> IdSet:
        """Return every id plus an offset, among more ids."""
        if isinstance(self.form, Runs):
            return IdSet.of_runs(self.form.begins + offset, self.form.ends + offset, total)
        return IdSet.of_ids(self.ids + offset, total)

    def __and__(self, other: IdSet) -> IdSet:
        """The ids in both."""
        return _combine(self, other, np.bitwise_and)

    def __or__(self, other: IdSet) -> IdSet:
        """The ids in either."""
        return _combine(self, other, np.bitwise_or)

    def __sub__(self, other: IdSet) -> IdSet:
        """The ids in the first alone."""
        return _combine(self, other, _without)


def pack_bits(mask: NDArray[np.bool_]) -> Words:
    """Pack a mask into words, bit i of word j for place 64 j + i."""
    packed = np.zeros(-(-len(mask) // 64) * 8, np.uint8)
    bits = np.packbits(mask, bitorder="little")
    packed[: len(bits)] = bits
    return packed.view("<u8").astype(np.uint64, copy=False)


def join(parts: Sequence[IdSet]) -> IdSet:
    """Return the ids in any of some sets of one total."""
    return reduce(lambda one, two: one | two, parts)


def _smallest(form: Runs | Bits, total: int) -> IdSet:
    """Choose the smallest form, which only the ids decide."""
    from headrace.planning.bit_kernels import count_runs, find_ids, find_runs

    runs = len(form.begins) if isinstance(form, Runs) else count_runs(form.packed)
    if _RUN_BYTES * runs <= min(_ID_BYTES * form.count, total / 8):
        if isinstance(form, Runs):
            return IdSet(total, form)
        begins, ends = np.empty(runs, np.int64), np.empty(runs, np.int64)
        find_runs(form.packed, begins, ends)
        return IdSet(total, Runs.of(begins, np.minimum(ends, total)))
    if _ID_BYTES * form.count > total / 8:
        return IdSet(total, form if isinstance(form, Bits) else Bits.of(form.words(total)))
    if isinstance(form, Runs):
        return IdSet(total, Few(_frozen(form.at(np.arange(form.count)))))
    ids = np.empty(form.count, np.int64)
    find_ids(form.packed, ids)
    return IdSet(total, Few(_frozen(ids)))


def _without(one: NDArray[Any], two: NDArray[Any]) -> NDArray[Any]:
    return one & ~two


def _combine(one: IdSet, two: IdSet, operation: Callable[..., NDArray[Any]]) -> IdSet:
    """Combine two sets of one total: runs as runs, all else as bits."""
    if one.total != two.total:
        raise OptionError(f"sets of one total are needed, got {one.total} and {two.total}")
    if not (isinstance(one.form, Runs) and isinstance(two.form, Runs)):
        return IdSet.of_words(operation(one.form.words(one.total), two.form.words(two.total)), one.total)
    forms = (one.form, two.form)
    edges = np.unique(np.concatenate([part for form in forms for part in (form.begins, form.ends)]))
    inside = [form.rank(edges + 1) > form.rank(edges) for form in forms]
    kept = operation(*inside)[:-1]
    return IdSet.of_runs(edges[:-1][kept], edges[1:][kept], one.total)


def _frozen(array: Any) -> Any:
    array.flags.writeable = False
    return array
