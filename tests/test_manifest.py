"""The manifest: counts, prefix sums, and where a sample lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import OptionError, UnknownSampleError
from headrace.manifest import Manifest, Shard

shard_rows = st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=6)


def manifest_of(shards: Sequence[Sequence[int]]) -> Manifest:
    """One shard for each inner list of row counts."""
    return Manifest(
        tuple(
            Shard(f"shard-{index}", tuple(rows), tuple(8 * count for count in rows), f"{index:02x}")
            for index, rows in enumerate(shards)
        )
    )


@settings(max_examples=100, deadline=None, derandomize=True)
@given(shard_rows)
def test_samples_are_numbered_end_to_end(shards: list[list[int]]) -> None:
    """Ids follow shards, then row groups, then rows; `locate` agrees with a plain loop."""
    manifest = manifest_of(shards)
    places = [
        (shard, index, row)
        for shard, rows in enumerate(shards)
        for index, count in enumerate(rows)
        for row in range(count)
    ]
    assert manifest.total == len(places)
    assert len(manifest) == sum(map(len, shards))
    numbers, rows = manifest.locate(np.arange(manifest.total))
    groups = [manifest[number] for number in numbers.tolist()]
    assert [(group.shard, group.index, row) for group, row in zip(groups, rows, strict=True)] == places


@settings(max_examples=100, deadline=None, derandomize=True)
@given(shard_rows)
def test_row_groups_know_their_place(shards: list[list[int]]) -> None:
    """Iterating gives every row group in order, shards without any passed over."""
    manifest = manifest_of(shards)
    groups = list(manifest)
    assert [group.number for group in groups] == list(range(len(groups)))
    assert [group.rows for group in groups] == [count for rows in shards for count in rows]
    assert [group.first for group in groups] == manifest.starts[:-1].tolist()
    assert [group.nbytes for group in groups] == manifest.nbytes.tolist()
    assert all(group.name == f"shard-{group.shard}" for group in groups)


def test_ids_in_any_order_and_shape_of_input() -> None:
    """`locate` keeps the order given, with repeats, for lists and arrays of any whole-number type."""
    manifest = manifest_of([[3, 0, 2], [4]])
    for ids in ([8, 0, 8, 3], np.array([8, 0, 8, 3], np.uint8)):
        numbers, rows = manifest.locate(ids)
        assert numbers.tolist() == [3, 0, 3, 2]
        assert rows.tolist() == [3, 0, 3, 0]
        assert numbers.dtype == rows.dtype == np.int64


@pytest.mark.parametrize("id", [-1, 9, 2**40])
def test_unknown_ids_are_refused(id: int) -> None:
    """An id beyond the data set is named, with the range that holds."""
    with pytest.raises(UnknownSampleError, match=rf"0\.\.8, got {id}$"):
        manifest_of([[3, 2], [4]]).locate([0, id])


@pytest.mark.parametrize("ids", [[1.5], [True, False], ["0"]])
def test_what_is_no_id_is_refused(ids: list[object]) -> None:
    """Fractions, masks and text would be taken for other samples in silence."""
    with pytest.raises(UnknownSampleError, match="whole numbers"):
        manifest_of([[3]]).locate(ids)  # type: ignore[arg-type]


@pytest.mark.parametrize("shards", [[], [[]], [[0], [0, 0]]])
def test_a_data_set_of_nothing(shards: list[list[int]]) -> None:
    """No shards, no row groups or no rows: a total of zero, and no id is known."""
    manifest = manifest_of(shards)
    assert manifest.total == 0
    assert manifest.locate([])[0].size == 0
    with pytest.raises(UnknownSampleError):
        manifest.locate([0])


def test_shards_check_their_counts() -> None:
    """One size for each row group, and no row group of less than nothing."""
    with pytest.raises(OptionError, match="one size for each row group"):
        Shard("a", (1, 2), (8,), "00")
    with pytest.raises(OptionError, match=r"less than 0 samples.*\(1, -2\) in a"):
        Shard("a", (1, -2), (8, 8), "00")
    assert Shard("a", (1, 2), (8, 8), "00").samples == 3


def test_prefix_sums_cannot_change() -> None:
    """The arrays are shared between threads, so they are read-only."""
    manifest = manifest_of([[3, 2]])
    with pytest.raises(ValueError, match="read-only"):
        manifest.starts[0] = 1


def test_fingerprint_is_that_of_contents_and_counts() -> None:
    """A rename keeps the fingerprint; other contents, counts, row groups or order change it."""

    def fingerprint(*shards: tuple[str, tuple[int, ...], str]) -> str:
        return Manifest(
            tuple(Shard(name, rows, tuple(map(int, rows)), identity) for name, rows, identity in shards)
        ).fingerprint

    here = fingerprint(("old/a", (3, 2), "aa"), ("old/b", (4,), "bb"))
    assert fingerprint(("new/a", (3, 2), "aa"), ("new/b", (4,), "bb")) == here
    others = [
        fingerprint(("old/a", (3, 2), "aa"), ("old/b", (4,), "bc")),
        fingerprint(("old/a", (2, 3), "aa"), ("old/b", (4,), "bb")),
        fingerprint(("old/a", (5,), "aa"), ("old/b", (4,), "bb")),
        fingerprint(("old/b", (4,), "bb"), ("old/a", (3, 2), "aa")),
        fingerprint(("old/a", (3, 2), "aa")),
    ]
    assert len({here, *others}) == 6


def test_row_groups_name_themselves() -> None:
    """The text of a row group is what errors say: the shard and the place in it."""
    assert str(manifest_of([[3], [4, 5]])[2]) == "shard-1, row group 1"
