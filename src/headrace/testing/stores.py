"""The contract of a store."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.errors import OptionError
from headrace.fingerprint import digest
from headrace.stores.base import Columns, Entry, Layout, Store, Table
from headrace.testing.resources import Resources, wait_for_nothing_left

_ROWS = (5, 3, 4, 6)
_THREADS = 8
_PATIENCE_SECONDS = 10.0


class StoreTests:
    """What every store promises; override the fixture `make`, and `damages` where bytes can go bad.

    Attributes:
        is_shared: Whether a pickled copy of the store sees what the store keeps.
        has_whole: Whether a layout of arrays can be had as one array for each name.

    Example:
        >>> from headrace.stores.memory import MemoryStore
        >>> class TestMemory(StoreTests):
        ...     is_shared = False
        ...
        ...     @pytest.fixture
        ...     def make(self) -> Callable[[int | None], Store]:
        ...         return MemoryStore
    """

    is_shared = True
    has_whole = True

    @pytest.fixture
    def make(self) -> Callable[[int | None], Store]:
        """What makes an empty store, given how many bytes it may keep, or None for no limit."""
        raise NotImplementedError("override the fixture `make`")

    @pytest.fixture
    def damages(self) -> Sequence[Callable[[], None]]:
        """What spoils everything that the made store keeps, each in another way; by default nothing does."""
        return ()

    @pytest.fixture
    def store(self, make: Callable[[int | None], Store]) -> Store:
        """The store under test, without a limit."""
        return make(None)

    def test_what_is_absent_is_none(self, store: Store) -> None:
        """An empty store has no entry, and no layout as a whole."""
        table = store.open(layout_of())
        assert [table.get(number) for number in range(len(_ROWS))] == [None] * len(_ROWS)
        assert table.whole() is None
        assert not table.is_claimed(0)
        table.close()

    @pytest.mark.parametrize("kind", ["arrays", "all"])
    def test_what_is_kept_comes_back(self, store: Store, kind: str) -> None:
        """Names, order, types, shapes and bytes, in whatever order the entries came."""
        layout = layout_of(kind)
        table = store.open(layout)
        for number in (2, 0, 3, 1):
            table.put(number, columns_of(number, kind))
            assert_same(table.get(number), columns_of(number, kind))
        assert table.counts.nbytes > 0
        check_all(table, kind)
        table.close()
        again = store.open(layout)
        check_all(again, kind)
        assert again.counts.corrupt == 0
        again.close()

    def test_what_is_handed_out_cannot_be_changed(self, store: Store) -> None:
        """Neither by writing to it, nor by writing to what was put."""
        table, given = store.open(layout_of()), columns_of(0, "all")
        table.put(0, given)
        np.asarray(given["dense"])[:] = 0
        found = table.get(0)
        assert found is not None
        with pytest.raises(ValueError, match="read-only"):
            np.asarray(found["dense"])[:] = 7
        assert_same(table.get(0), columns_of(0, "all"))
        table.close()

    def test_the_whole_is_there_once_every_entry_is(self, store: Store) -> None:
        """One array for each name, in the order of the layout, once nothing is missing."""
        table = store.open(layout_of("arrays"))
        for number in range(len(_ROWS)):
            assert table.whole() is None
            table.put(number, columns_of(number, "arrays"))
        whole = table.whole()
        if not self.has_whole:
            assert whole is None
            return
        assert whole is not None
        assert all(table.check(number) for number in range(len(_ROWS)))
        each = [columns_of(number, "arrays") for number in range(len(_ROWS))]
        assert_same(whole, {name: np.concatenate([columns[name] for columns in each]) for name in each[0]})
        table.close()
        assert_same(whole, {name: np.concatenate([columns[name] for columns in each]) for name in each[0]})

    def test_columns_without_a_width_have_no_whole(self, store: Store) -> None:
        """Text and lists come entry by entry."""
        table = store.open(layout_of("all"))
        for number in range(len(_ROWS)):
            table.put(number, columns_of(number, "all"))
        assert table.whole() is None
        table.close()

    def test_layouts_lie_apart(self, store: Store) -> None:
        """Entries of other keys are never handed out for these."""
        tables = [store.open(layout_of("arrays", name)) for name in ("first", "second")]
        tables[0].put(0, columns_of(0, "arrays"))
        assert tables[1].get(0) is None
        tables[1].put(0, columns_of(5, "arrays", rows=_ROWS[0]))
        assert_same(tables[0].get(0), columns_of(0, "arrays"))
        assert_same(tables[1].get(0), columns_of(5, "arrays", rows=_ROWS[0]))
        for table in tables:
            table.close()

    def test_two_tables_at_once(self, store: Store) -> None:
        """What one has put, the other finds; a second put of the same entry does no harm."""
        first, second = store.open(layout_of()), store.open(layout_of())
        first.put(1, columns_of(1))
        assert_same(second.get(1), columns_of(1))
        second.put(1, columns_of(1))
        assert_same(first.get(1), columns_of(1))
        first.close()
        second.put(2, columns_of(2))
        assert_same(second.get(2), columns_of(2))
        second.close()

    def test_a_copy_of_the_store(self, store: Store) -> None:
        """It can be pickled while it is open; the copy sees the same entries, or none."""
        table = store.open(layout_of())
        table.put(0, columns_of(0))
        other: Store = pickle.loads(pickle.dumps(store))
        copied = other.open(layout_of())
        if self.is_shared:
            assert_same(copied.get(0), columns_of(0))
        else:
            assert copied.get(0) is None
        copied.put(1, columns_of(1))
        assert_same(copied.get(1), columns_of(1))
        assert other.limit == store.limit
        copied.close()
        table.close()

    def test_threads_may_put_and_get_at_once(self, store: Store) -> None:
        """Whatever is there at the time is whole."""
        table = store.open(layout_of())
        mixed = np.random.default_rng(0).permutation(np.repeat(np.arange(len(_ROWS)), 12)).tolist()

        def work(number: int) -> None:
            found = table.get(number)
            if found is None:
                table.put(number, columns_of(number))
                found = table.get(number)
            assert_same(found, columns_of(number))

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(work, mixed))
        check_all(table, "all")
        table.close()

    def test_one_computes_and_others_wait(self, store: Store) -> None:
        """A claim is one's own until it ends; then the entry is there, or the next one has the claim."""
        table = store.open(layout_of())
        for number, keeps in ((0, True), (1, False)):
            answers: list[bool] = []

            def ask(number: int = number, answers: list[bool] = answers) -> None:
                with table.claim(number) as is_mine:
                    answers.append(is_mine)

            with table.claim(number) as is_mine:
                assert is_mine
                waiting = threading.Thread(target=ask)
                waiting.start()
                waiting.join(0.1)
                assert waiting.is_alive()
                if keeps:
                    table.put(number, columns_of(number))
            waiting.join(_PATIENCE_SECONDS)
            assert answers == [not keeps]
        table.close()

    def test_a_claim_ends_with_an_error(self, store: Store) -> None:
        """Whoever fails to compute an entry leaves it to the next."""
        table = store.open(layout_of())
        with pytest.raises(ZeroDivisionError), table.claim(0):
            raise ZeroDivisionError
        with table.claim(0) as is_mine:
            assert is_mine
        table.close()

    def test_a_limit_below_an_entry_is_refused(self, make: Callable[[int | None], Store]) -> None:
        """At once if the size of a row is known, else with the first entry."""
        layout = layout_of("arrays")
        with pytest.raises(OptionError, match="limit"):
            make(100).open(replace(layout, row_bytes=28))
        table = make(20).open(layout)
        with pytest.raises(OptionError, match="limit"):
            table.put(0, columns_of(0, "arrays"))
        table.close()

    def test_a_limit_below_the_whole(self, make: Callable[[int | None], Store]) -> None:
        """Some entries are kept and some are not; those that are there are right."""
        count, rows = 12, 4000
        layout = layout_of("arrays", rows=[rows] * count)
        size = sum(column.nbytes for column in columns_of(0, "arrays", rows=rows).values())
        limit = 6 * size
        table = make(limit).open(layout)
        for _ in range(2):
            for number in range(count):
                if table.get(number) is None:
                    table.put(number, columns_of(number, "arrays", rows=rows))
        there = [number for number in range(count) if table.get(number) is not None]
        for number in there:
            assert_same(table.get(number), columns_of(number, "arrays", rows=rows))
        assert 0 < len(there) * size <= limit
        assert table.whole() is None
        table.close()

    def test_what_was_spoilt_is_a_miss(
        self, make: Callable[[int | None], Store], damages: Sequence[Callable[[], None]]
    ) -> None:
        """Bytes that are not as they were put never come back; put again, the entries are there again."""
        store = make(None)
        for kind in ("arrays", "all"):
            for damage in damages:
                table = store.open(layout_of(kind))
                for number in range(len(_ROWS)):
                    table.put(number, columns_of(number, kind))
                table.close()
                damage()
                table = store.open(layout_of(kind))
                sound = [table.get(number) for number in range(len(_ROWS))]
                assert None in sound
                for number, found in enumerate(sound):
                    if found is not None:
                        assert_same(found, columns_of(number, kind))
                    table.put(number, columns_of(number, kind))
                check_all(table, kind)
                table.close()

    def test_closing_is_complete_and_may_be_repeated(self, store: Store) -> None:
        """Nothing runs or stays open afterwards, and arrays that were handed out stay as they are."""
        table = store.open(layout_of())
        table.put(0, columns_of(0))
        table.close()
        before = Resources.now()
        for _ in range(3):
            table = store.open(layout_of())
            found = table.get(0)
            with table.claim(1):
                pass
            table.close()
            table.close()
            assert_same(found, columns_of(0))
            del found
        del table
        assert wait_for_nothing_left(before) == []


def layout_of(kind: str = "all", name: str = "layout", rows: Sequence[int] = _ROWS) -> Layout:
    """Lay out entries whose keys differ by name and kind."""
    keys = [digest(kind, name, number, list(rows)) for number in range(len(rows))]
    return Layout(tuple(Entry(key, count) for key, count in zip(keys, rows, strict=True)))


def columns_of(number: int, kind: str = "all", rows: int | None = None) -> Columns:
    """Make an entry's columns: numbers of several types and ranks, and text and lists beside them."""
    count = _ROWS[number] if rows is None else rows
    random = np.random.default_rng(number)
    dense = random.standard_normal((count, 3)).astype(np.float32)
    dense.view(np.uint32)[0, 0] = 0x7FC00001 + number  # a NaN whose bits tell it from others
    arrays: dict[str, Any] = {
        "dense": dense,
        "label": random.integers(-5, 5, count),
        "image": random.integers(0, 256, (count, 2, 3), np.uint8),
        "is_seen": random.integers(0, 2, count).astype(np.bool_),
    }
    if kind == "arrays":
        return arrays
    names = [None if row == 1 else f"row {row} of {number}" for row in range(count)]
    tokens = [list(range(row % 4)) for row in range(count)]
    return {
        "text": pa.array(names, pa.string()),
        **arrays,
        "tokens": pa.array(tokens, pa.list_(pa.int32())),
        "when": np.arange(count).astype("datetime64[s]"),
    }


def check_all(table: Table, kind: str) -> None:
    """Look at every entry twice, since the first look may check what the second does not."""
    for number in [*range(len(_ROWS)), *range(len(_ROWS))]:
        assert_same(table.get(number), columns_of(number, kind))


def assert_same(found: Columns | None, expected: Columns) -> None:
    """Compare names, types, shapes and bytes."""
    assert found is not None
    assert list(found) == list(expected)
    for name, column in expected.items():
        got: Any = found[name]
        if isinstance(column, np.ndarray):
            assert isinstance(got, np.ndarray)
            assert (got.dtype, got.shape) == (column.dtype, column.shape)
            assert got.flags.c_contiguous
            assert got.tobytes() == column.tobytes()
        else:
            assert isinstance(got, pa.Array)
            assert got.type == column.type
            assert got.equals(column)
