"""Draws: the random words of one epoch, keyed by sample and role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.draws.philox import philox4x32
from headrace.errors import OptionError, check_whole
from headrace.fingerprint import derive_key

DRAWS_VERSION = 1
"""Raised whenever the same seed draws other numbers, or augmentations make other samples of them."""

Words = NDArray[np.uint32]

_VIEWS = 1 << 8
_EPOCHS = 1 << 24  # what is beyond enters the key
_GOLDEN, _MIX_1, _MIX_2 = (
    np.uint64(each) for each in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


@dataclass(frozen=True, eq=False, slots=True)
class Samples:
    """For whom is drawn.

    Attributes:
        ids: The samples' ids, int64 of shape [n].
        repeats: The how-manieth time a selection holds each sample, int64 of shape [n]; None where each
            comes once. Copies of a sample draw apart.
        batch: Position in the epoch of the first sample of the global batch; what is drawn once for a
            whole batch is keyed by it.
        alone: Which samples are mixed with no other one, as theirs could not be read, boolean of shape [n];
            None where all have one.
    """

    ids: NDArray[np.int64]
    repeats: NDArray[np.int64] | None = None
    batch: int = 0
    alone: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", _whole_numbers("ids", self.ids))
        if self.repeats is not None:
            object.__setattr__(self, "repeats", _whole_numbers("repeats", self.repeats))
            if len(self.repeats) != len(self.ids):
                raise OptionError(f"`repeats` must be {len(self.ids)}, as `ids` are, got {len(self.repeats)}")

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.ids)

    def as_one(self) -> Samples:
        """Return samples that all draw the same: what the batch draws as a whole."""
        return Samples(np.full(len(self.ids), self.batch, np.int64))

    @staticmethod
    def join(one: Samples, two: Samples) -> Samples:
        """Put samples one behind the other."""
        parts = (one, two)
        ids = np.concatenate([part.ids for part in parts])
        if all(part.repeats is None for part in parts):
            return Samples(ids, None, one.batch)
        none = [np.zeros(len(part), np.int64) if part.repeats is None else part.repeats for part in parts]
        return Samples(ids, np.concatenate(none), one.batch)

    def take(self, rows: NDArray[np.int64]) -> Samples:
        """Return the samples at these places."""
        repeats = None if self.repeats is None else self.repeats[rows]
        return Samples(self.ids[rows], repeats, self.batch, None if self.alone is None else self.alone[rows])


@dataclass(frozen=True, slots=True)
class Draws:
    """The random words of one epoch: a pure function of seed, epoch, view, sample, path, purpose and number.

    Thread-safe; nothing is consumed, so the order of calls does not matter.

    Attributes:
        seed: Any whole number.
        epoch: Which epoch, at least 0.
        view: Which of several views of a sample in one epoch, below 256.

    Example:
        >>> draws, two = Draws(seed=0, epoch=3), Samples(np.array([7, 8]))
        >>> words = draws.words("RandomCrop#0", two, count=2)
        >>> words.shape, words.dtype.name
        ((2, 2), 'uint32')
        >>> bool((draws.words("RandomCrop#0", Samples(np.array([8])), count=2)[0] == words[1]).all())
        True
    """

    seed: int
    epoch: int = 0
    view: int = 0

    def __post_init__(self) -> None:
        check_whole("seed", self.seed)
        check_whole("epoch", self.epoch, least=0)
        check_whole("view", self.view, least=0)
        if self.view >= _VIEWS:
            raise OptionError(f"`view` must be below {_VIEWS}, got {self.view}")

    def key(self, path: str, purpose: str = "parameters") -> Words:
        """Return the key of one role: uint32 of shape [2]. It is the same in the epochs 0 to 2**24 - 1."""
        key = derive_key("draws", DRAWS_VERSION, self.seed, self.epoch // _EPOCHS, path, purpose)
        return np.array([key & 0xFFFFFFFF, key >> 32], np.uint32)

    def identity(self, samples: Samples) -> Words:
        """Return all that sets one sample's words apart from another's, besides the key.

        Returns:
            uint32 of shape [n, 5]: two words to combine with the key by exclusive or, zero but for copies of
            a sample; the epoch and the view; the lower and the upper half of the id.
        """
        identity = np.zeros((len(samples), 5), np.uint32)
        if samples.repeats is not None:
            mixed = _mix(samples.repeats.astype(np.uint64))
            identity[:, 0], identity[:, 1] = mixed & np.uint64(0xFFFFFFFF), mixed >> np.uint64(32)
        identity[:, 2] = (self.epoch % _EPOCHS) * _VIEWS + self.view
        ids = samples.ids.astype(np.int64).view(np.uint64)
        identity[:, 3], identity[:, 4] = ids & np.uint64(0xFFFFFFFF), ids >> np.uint64(32)
        return identity

    def words(self, path: str, samples: Samples, count: int, purpose: str = "parameters") -> Words:
        """Draw `count` words for each sample, uint32 of shape [n, count]."""
        return draw_words([self.key(path, purpose)], [count], self.identity(samples))[0]


def draw_words(keys: Sequence[Words], counts: Sequence[int], identity: Words) -> list[Words]:
    """Draw the words of several roles for each sample, in one call.

    Args:
        keys: Key of each role, see `Draws.key`.
        counts: How many words of each role.
        identity: See `Draws.identity`.

    Returns:
        For each role, uint32 of shape [n, count]; views of one array.
    """
    from headrace.draws.kernels import fill_words  # numba loads with the first use

    out = np.empty((len(identity), sum(counts)), np.uint32)
    if out.size:
        fill_words(np.stack(keys), np.array(counts, np.int64), np.ascontiguousarray(identity), out)
    ends = np.cumsum(counts).tolist()
    return [out[:, end - count : end] for count, end in zip(counts, ends, strict=True)]


def reference_words(xp: Any, key: Any, identity: Any, count: int) -> Any:
    """Draw the words of one role by the array API alone; the oracle of `draw_words` and of all kernels.

    Args:
        xp: The namespace of the arrays.
        key: uint32 of shape [2].
        identity: See `Draws.identity`, an array of `xp`.
        count: How many words for each sample.

    Returns:
        uint32 of shape [n, count], an array of `xp`.
    """
    samples, blocks = identity.shape[0], -(-count // 4)
    block = xp.broadcast_to(xp.arange(blocks, dtype=xp.uint32)[None, :], (samples, blocks))
    rest = [xp.broadcast_to(identity[:, word][:, None], (samples, blocks)) for word in (2, 3, 4)]
    keys = [xp.bitwise_xor(identity[:, word], key[word])[:, None] for word in range(2)]
    keys = [xp.broadcast_to(each, (samples, blocks)) for each in keys]
    drawn = philox4x32(xp.stack([block, *rest], axis=-1), xp.stack(keys, axis=-1))
    return xp.reshape(drawn, (samples, 4 * blocks))[:, :count]


def _whole_numbers(name: str, values: object) -> NDArray[np.int64]:
    """Return whole numbers of shape [n] as int64."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise OptionError(
            f"`{name}` must be whole numbers of shape [n], got {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.int64, copy=False)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread the bits of a number, by SplitMix64's steps (Steele, Lea, Flood, 2014); 0 stays 0."""
    mixed = value * _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    return mixed ^ (mixed >> np.uint64(31))
