"""Selection: ids in the order wanted, counted by row group, known by a fingerprint."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import layouts, manifest_of, selections, some

from headrace.errors import UnknownSampleError
from headrace.planning.selection import Selection


def test_everything_by_default() -> None:
    """Without ids all samples take part, and indices are ids."""
    selection = Selection(5)
    assert selection.count == 5
    assert selection.ids.tolist() == [0, 1, 2, 3, 4]
    assert selection.at(np.array([4, 0])).tolist() == [4, 0]
    assert selection.is_sorted
    assert selection.by_id is selection


def test_order_and_repeats_are_kept() -> None:
    """Ids stay as they were given; `by_id` sorts them for shuffling."""
    selection = Selection.of([3, 1, 3, 0], total=4)
    assert selection.count == 4
    assert selection.ids.tolist() == [3, 1, 3, 0]
    assert not selection.is_sorted
    assert selection.by_id.ids.tolist() == [0, 1, 3, 3]


@some
@given(st.data())
def test_counts_by_row_group(data: st.DataObject) -> None:
    """The counts of row groups are those of a plain loop, empty row groups and repeats included."""
    rows = data.draw(layouts)
    chosen = data.draw(selections(sum(rows)))
    manifest = manifest_of(*rows)
    selection = Selection(manifest.total) if chosen is None else Selection.of(chosen, manifest.total)
    numbers = [int(np.searchsorted(manifest.starts, id, side="right")) - 1 for id in selection.ids]
    assert selection.counts(manifest.starts).tolist() == [numbers.count(n) for n in range(len(rows))]


@pytest.mark.parametrize(("ids", "bad"), [([0, 4], "4"), ([-1], "-1"), ([0, 2**40], str(2**40))])
def test_unknown_ids_are_refused(ids: list[int], bad: str) -> None:
    """An id beyond the manifest is named with the range that holds."""
    with pytest.raises(UnknownSampleError, match=rf"0\.\.3, got {bad}"):
        Selection.of(ids, total=4)


@pytest.mark.parametrize("ids", [[True, False, True], [0.5], ["1"]])
def test_what_is_no_id_is_refused(ids: list[object]) -> None:
    """A boolean mask or fractions would select wrong samples in silence."""
    with pytest.raises(UnknownSampleError, match="whole numbers"):
        Selection.of(ids, total=4)  # type: ignore[arg-type]


def test_nothing_selected() -> None:
    """An empty selection is one, whatever dtype NumPy gives an empty list."""
    selection = Selection.of([], total=4)
    assert selection.count == 0
    assert selection.counts(np.array([0, 2, 4])).tolist() == [0, 0]


def test_the_ids_cannot_change() -> None:
    """Neither the caller's array nor the selection's own can be changed afterwards."""
    ids = np.array([2, 1])
    selection = Selection.of(ids, total=4)
    ids[0] = 0
    assert selection.ids.tolist() == [2, 1]
    assert selection.listed is not None
    with pytest.raises(ValueError, match="read-only"):
        selection.listed[0] = 0
    selection.ids[0] = 0
    assert selection.ids.tolist() == [2, 1]


def test_fingerprint_tells_ids_order_and_total_apart() -> None:
    """Equal selections have equal fingerprints; other ids, order, repeats or totals have others."""
    same = Selection.of(np.array([1, 2], np.int32), 4).fingerprint
    assert Selection.of([1, 2], 4).fingerprint == same
    others = [Selection.of([2, 1], 4), Selection.of([1, 2, 2], 4), Selection.of([1, 2], 5), Selection(4)]
    assert len({same, *(other.fingerprint for other in others)}) == 5
