"""Sets of ids laid end to end, as row groups are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.planning.idset import IdSet, Runs

_ID_BYTES = 8
_WORD = 64


def concatenate(parts: Sequence[IdSet]) -> IdSet:
    """Join sets, the ids of each behind the totals of those before; never holds a byte for an id.

    Example:
        >>> one = IdSet.of_mask(np.array([True, False]))
        >>> two = IdSet.of_mask(np.array([False, True, True]))
        >>> concatenate([one, two]).ids().tolist()
        [0, 3, 4]
    """
    starts = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([part.total for part in parts], out=starts[1:])
    total = int(starts[-1])
    placed = list(zip(parts, starts.tolist(), strict=False))
    runs = [(part.form, start) for part, start in placed if isinstance(part.form, Runs)]
    if len(runs) == len(parts):
        begins = [form.begins + start for form, start in runs]
        ends = [form.ends + start for form, start in runs]
        return IdSet.of_runs(_joined(begins), _joined(ends), total)
    if _ID_BYTES * sum(part.count for part in parts) <= total / 8:
        return IdSet.of_ids(_joined([part.ids() + start for part, start in placed]), total)
    words = np.zeros(-(-total // _WORD) + 1, np.uint64)  # one more, for what is shifted out of the last
    for part, start in placed:
        _place(words, part.form.words(part.total), start)
    return IdSet.of_words(words[:-1], total)


def _place(words: NDArray[np.uint64], part: NDArray[np.uint64], start: int) -> None:
    """Set the bits of a part, moved to where it starts."""
    first, shift = divmod(start, _WORD)
    if not shift:
        words[first : first + len(part)] |= part
        return
    words[first : first + len(part)] |= part << np.uint64(shift)
    words[first + 1 : first + 1 + len(part)] |= part >> np.uint64(_WORD - shift)


def _joined(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
