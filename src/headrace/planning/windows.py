"""The keyed permutations of a block order's windows, each made when it is first needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.fingerprint import derive_key
from headrace.planning.permutation import KeyedPermutation

Ids = NDArray[np.int64]

_MOST_ROUNDS = 24
_SHORT_RUN = 16  # places: below it, sorting costs less than permuting every run by itself


class WindowPermutations:
    """One permutation for each window, by its number.

    Thread-safe: whoever makes one makes the same.

    Example:
        >>> windows = WindowPermutations(np.array([0, 3, 5]), key=7)
        >>> sorted(windows[0](np.arange(3)).tolist())
        [0, 1, 2]
    """

    def __init__(self, starts: Ids, key: int) -> None:
        """Begin with none.

        Args:
            starts: The first place of each window, then the end; int64 of shape [windows + 1].
            key: Unsigned 64-bit key of the epoch.
        """
        count = len(starts) - 1
        self._starts = starts
        self._key = key
        self._is_known = np.zeros(count, np.bool_)
        self._grids = np.zeros((count, 3), np.int64)
        self._keys = np.zeros((count, _MOST_ROUNDS), np.uint64)

    def __getitem__(self, window: int) -> KeyedPermutation:
        """The permutation of one window's places, counted from its first."""
        size = int(self._starts[window + 1] - self._starts[window])
        return KeyedPermutation(size, derive_key("window", self._key, window))

    def indices(self, positions: Ids, lane_begins: Ids, groups: tuple[Ids, Ids]) -> Ids:
        """Return the selected sample at each position.

        Args:
            positions: Position p is the next place of lane p modulo lanes; int64 of shape [n].
            lane_begins: The first place of each lane, then the end; int64 of shape [lanes + 1].
            groups: The first place of each row group, then the end, int64 of shape [row groups + 1], and the
                index of its first sample, int64 of shape [row groups].
        """
        from headrace.planning.kernels import locate, permute_windows  # numba loads with the first use

        places, windows = locate(positions, lane_begins, self._starts)
        for window in np.unique(windows[~self._is_known[windows]]).tolist():
            self._learn(window)
        tables = (self._starts, (self._grids, self._keys), groups)
        runs = np.count_nonzero(windows[1:] != windows[:-1]) + 1
        if runs * _SHORT_RUN <= len(windows):
            permute_windows(places, windows, *tables)
            return places
        by_window = np.argsort(windows, kind="stable")
        chosen = places[by_window]
        permute_windows(chosen, windows[by_window], *tables)
        places[by_window] = chosen
        return places

    def _learn(self, window: int) -> None:
        permutation = self[window]
        keys = permutation.round_keys
        self._grids[window] = (*permutation.grid, len(keys))
        self._keys[window, : len(keys)] = keys
        self._is_known[window] = True  # last, as other threads go by it
