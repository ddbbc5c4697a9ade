"""A Bloom filter of 128-bit keys that is never filled beyond its capacity: it grows by stages, or refuses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.errors import CapacityError, OptionError, check_whole

Keys = NDArray[np.uint64]
Flags = NDArray[np.bool_]
Words = NDArray[np.uint64]

_LEAST_BITS = 1024  # formulas are for large filters; small ones are made no smaller than this
_MOST_BITS = 1 << 48
_TIGHTENING, _GROWTH = 0.5, 2  # of the error rate and of the capacity, from one stage to the next


@dataclass(frozen=True, slots=True)
class StageSize:
    """Size of a Bloom filter.

    A key that was not added is taken for one that was with the probability p = f^k, where k is the number of
    bits of a key, and f the share of all m bits that are set (Bloom, Space/Time Trade-offs in Hash Coding,
    1970). After n keys, f = 1 - exp(-k n / m), so that p is least at k = -log2 p (Broder and Mitzenmacher,
    Network Applications of Bloom Filters, 2004). Here n counts only keys that set a further bit, which set
    k (1 - f) / (1 - f^k) of them on average; so m = k n / (f + f^2 / 2 + ... + f^k / k), the first terms
    of the series of -ln(1 - f).

    Attributes:
        capacity: The most keys.
        error_rate: That probability once there are so many.
        hashes: k, the nearest whole number to the best one.
        bits: m, a multiple of 64.

    Example:
        >>> StageSize.of(1_000_000, 0.01)
        StageSize(capacity=1000000, error_rate=0.01, hashes=7, bits=9608896)
    """

    capacity: int
    error_rate: float
    hashes: int
    bits: int

    @staticmethod
    def of(capacity: int, error_rate: float) -> StageSize:
        """Choose the number of bits for a capacity and an error rate."""
        hashes = max(round(-math.log2(error_rate)), 1)
        fill = error_rate ** (1 / hashes)
        bits = math.ceil(hashes * capacity / sum(fill**term / term for term in range(1, hashes + 1)))
        return StageSize(capacity, error_rate, hashes, max(-(-bits // 64) * 64, _LEAST_BITS))

    @property
    def nbytes(self) -> int:
        """Bytes of its bits."""
        return self.bits // 8


def stage_size(capacity: int, error_rate: float, grow: bool, number: int = 0) -> StageSize:
    """Check the settings of a filter, and return the size that one of its stages has.

    Raises:
        OptionError: A setting cannot be right.

    Example:
        >>> stage_size(1000, 0.01, True, 2).capacity, stage_size(1000, 0.01, True, 2).error_rate
        (4000, 0.00125)
    """
    check_whole("capacity", capacity, least=1)
    if not isinstance(error_rate, float) or not 0 < error_rate <= 0.5:
        raise OptionError(f"`error_rate` must lie above 0 and be at most 0.5, got {error_rate!r}")
    if grow not in (True, False):
        raise OptionError(f"`grow` must be True or False, got {grow!r}")
    if grow:
        capacity, error_rate = capacity * _GROWTH**number, error_rate * _TIGHTENING ** (number + 1)
    size = StageSize.of(capacity, error_rate)
    if size.bits > _MOST_BITS:
        raise OptionError(f"a Bloom filter for {capacity:,} keys at {error_rate} needs {size.nbytes:,} bytes")
    return size


@dataclass(slots=True)
class Stage:
    """One Bloom filter of fixed size.

    Attributes:
        size: How large it is.
        words: Its bits, uint64 of shape [bits / 64].
        count: How many keys were added.
    """

    size: StageSize
    words: Words = field(repr=False)
    count: int = 0

    @staticmethod
    def of(size: StageSize) -> Stage:
        """Make an empty one."""
        return Stage(size, np.zeros(size.bits // 64, np.uint64))

    @property
    def expected_error_rate(self) -> float:
        """The probability that all bits of a new key are set already, by the bits that are set now."""
        return float(int(np.bitwise_count(self.words).sum()) / self.size.bits) ** self.size.hashes


class KeyFilter:
    """Tells of 128-bit keys whether they may have been added, or surely were not.

    It grows as scalable Bloom filters do (Almeida, Baquero, Preguiça and Hutchison, 2007): a full stage is
    followed by one of twice the capacity and half the error rate, the first of which is half of the one
    that was asked for, so that their sum never reaches it.

    Attributes:
        capacity: How many keys the first stage takes.
        error_rate: The most keys that are taken for known ones though they are not, as a share of those.
        grow: Whether further stages follow, or a further key is refused.
        stages: The filters; only the last one takes keys.
    """

    def __init__(self, capacity: int, error_rate: float, grow: bool) -> None:
        """Make an empty filter.

        Raises:
            OptionError: A setting cannot be right.
        """
        self.capacity, self.error_rate, self.grow = capacity, error_rate, grow
        self.stages = [Stage.of(stage_size(capacity, error_rate, grow))]

    @property
    def count(self) -> int:
        """How many keys were added; one that was taken for a known one is not."""
        return sum(stage.count for stage in self.stages)

    @property
    def nbytes(self) -> int:
        """Bytes of all stages."""
        return sum(stage.size.nbytes for stage in self.stages)

    def expected_error_rate(self) -> float:
        """Return the share of new keys that would be taken for known ones now, by the bits that are set."""
        return 1 - math.prod(1 - stage.expected_error_rate for stage in self.stages)

    def contains(self, keys: Keys) -> Flags:
        """Tell which keys may have been added; those that are False surely were not. Thread-safe.

        Args:
            keys: uint64 of shape [n, 2].
        """
        is_known = np.zeros(len(keys), np.bool_)
        self._ask(keys, self.stages, is_known)
        return is_known

    def add(self, keys: Keys) -> Flags:
        """Add keys, one after the other, and tell which may have been there before; not thread-safe.

        Raises:
            CapacityError: There is no room for one of them, and the filter must not grow. Those before it are
                added; nothing else changes.
        """
        from headrace.dedup.bloom.kernels import add_keys

        is_known = np.zeros(len(keys), np.bool_)
        done = 0
        while True:
            rest, known = keys[done:], is_known[done:]
            self._ask(rest, self.stages[:-1], known)
            last = self.stages[-1]
            size = last.size
            rows = add_keys(rest, last.words, size.hashes, size.capacity - last.count, known)
            last.count += rows - int(np.count_nonzero(known[:rows]))
            done += rows
            if done == len(keys):
                return is_known
            if not self.grow:
                raise CapacityError(
                    f"a Bloom filter for {self.capacity:,} keys is full, and `grow` is False: {done:,} of "
                    f"{len(keys):,} keys that came together are added, and the next one is new; give a "
                    "larger `capacity`, or let it grow"
                )
            size = stage_size(self.capacity, self.error_rate, True, len(self.stages))
            self.stages.append(Stage.of(size))

    @staticmethod
    def _ask(keys: Keys, stages: list[Stage], is_known: Flags) -> None:
        from headrace.dedup.bloom.kernels import find_keys

        for stage in stages:
            find_keys(keys, stage.words, stage.size.hashes, is_known)
