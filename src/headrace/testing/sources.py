"""The contract of a source."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from headrace.batch import Batch
from headrace.dataset import Dataset
from headrace.errors import UnknownColumnError
from headrace.prepare.pack import lay_out_column
from headrace.sources.base import Source, SupportsCopy, SupportsFiles
from headrace.testing.resources import Resources, wait_for_nothing_left

_THREADS = 8
_REPEATS = 4
_MEGABYTE = 1 << 20


class SourceTests:
    """What every source promises; override the fixtures `source` and `expected`.

    Attributes:
        most_growth: Bytes that reading everything ten times over may leave in memory.

    Example:
        >>> import headrace as hr
        >>> class TestMemory(SourceTests):
        ...     @pytest.fixture
        ...     def expected(self) -> pa.Table:
        ...         return pa.table({"x": [1, 2, 3], "y": ["a", None, "c"]})
        ...
        ...     @pytest.fixture
        ...     def source(self, expected: pa.Table) -> Source:
        ...         return hr.from_arrow(expected).recipe.source
    """

    most_growth = 64 * _MEGABYTE

    @pytest.fixture
    def source(self) -> Source:
        """The source under test, with several row groups where the format has any."""
        raise NotImplementedError("override the fixture `source`")

    @pytest.fixture
    def expected(self) -> pa.Table:
        """All that the source holds, in the order of its sample ids."""
        raise NotImplementedError("override the fixture `expected`")

    def test_schema_is_that_of_the_values(self, source: Source, expected: pa.Table) -> None:
        """Columns and types are known before anything is read."""
        assert source.schema.remove_metadata().equals(expected.schema.remove_metadata())

    def test_counts_are_those_of_the_values(self, source: Source, expected: pa.Table) -> None:
        """The manifest promises every sample, once."""
        manifest = source.manifest

        assert manifest.total == expected.num_rows
        assert sum(row_group.rows for row_group in manifest) == expected.num_rows
        assert [row_group.number for row_group in manifest] == list(range(len(manifest)))

    def test_row_groups_hold_their_samples(self, source: Source, expected: pa.Table) -> None:
        """Each row group delivers the rows that it promises, and those of its sample ids."""
        names = expected.schema.names
        for row_group in source.manifest:
            batch = source.read(row_group, names)

            assert batch.num_rows == row_group.rows
            assert batch.to_pydict() == expected.slice(row_group.first, row_group.rows).to_pydict()
            batch.validate(full=True)

    def test_types_are_those_of_the_schema(self, source: Source) -> None:
        """What is read has the types that the schema names, whatever the row group."""
        for row_group in source.manifest:
            batch = source.read(row_group, source.schema.names)

            assert batch.schema.names == source.schema.names
            assert batch.schema.types == source.schema.types

    def test_columns_come_as_asked(self, source: Source, expected: pa.Table) -> None:
        """Any choice of columns comes in the order asked for, alone and together."""
        names = expected.schema.names
        row_group = next(iter(source.manifest))
        for wanted in (names[::-1], names[:1], names[-1:], [*names[1:], *names[:1]], names[1:] or names):
            batch = source.read(row_group, wanted)

            assert batch.schema.names == wanted
            assert batch.num_rows == row_group.rows

    def test_unknown_column_is_refused_by_name(self, source: Source) -> None:
        """A column that is not there is an error which names it."""
        row_group = next(iter(source.manifest))
        with pytest.raises(UnknownColumnError, match="no_such_column"):
            source.read(row_group, [*source.schema.names, "no_such_column"])

    def test_copied_rows_are_those_of_a_read(self, source: Source) -> None:
        """Columns that the source copies right into batches hold there what a read of them holds."""
        if not isinstance(source, SupportsCopy):
            return
        for name, (dtype, shape) in source.layouts.items():
            for row_group in source.manifest:
                rows = np.sort(np.random.default_rng(0).integers(0, row_group.rows, 20))
                places = np.random.default_rng(1).permutation(len(rows))
                target = np.zeros((len(rows), *shape), dtype)
                steps = places.astype(np.uint64) * np.uint64(target[:1].nbytes)
                source.copy_rows(row_group, name, rows, np.uint64(target.ctypes.data) + steps)

                read = source.read(row_group, [name]).take(pa.array(rows)).column(0)
                assert read.null_count == 0
                assert target[places].tobytes() == np.asarray(lay_out_column(read, name, row_group)).tobytes()

    def test_reads_are_equal(self, source: Source) -> None:
        """Reading again gives the same, and changes nothing of what was read before."""
        for row_group in source.manifest:
            first = source.read(row_group, source.schema.names)

            assert source.read(row_group, source.schema.names).equals(first)

    def test_threads_may_read_at_once(self, source: Source) -> None:
        """Many threads that read any row groups at once get what one thread gets."""
        names = source.schema.names
        alone = [source.read(row_group, names) for row_group in source.manifest]
        mixed = np.random.default_rng(0).permutation(np.repeat(np.arange(len(alone)), _REPEATS))
        with ThreadPoolExecutor(_THREADS) as pool:
            reads = [pool.submit(source.read, source.manifest[int(number)], names) for number in mixed]

        assert all(read.result().equals(alone[number]) for number, read in zip(mixed, reads, strict=True))

    def test_source_survives_pickling(self, source: Source) -> None:
        """A copy in another process has the same fingerprint and the same values."""
        copy = pickle.loads(pickle.dumps(source))

        assert copy.manifest.fingerprint == source.manifest.fingerprint
        for row_group in source.manifest:
            names = source.schema.names
            assert copy.read(row_group, names).equals(source.read(row_group, names))

    def test_files_are_those_that_were_opened(self, source: Source) -> None:
        """A source that tells its files names such as are there, as they were when it was opened."""
        if isinstance(source, SupportsFiles):
            for shard in range(len(source.manifest.shards)):
                for path, stamp in source.shard_files(shard).items():
                    stamp.check(path)

    def test_samples_are_found_by_id(self, source: Source, expected: pa.Table) -> None:
        """Samples taken by id, in any order and with repeats, are those of the table."""
        ids = np.random.default_rng(1).integers(0, expected.num_rows, 50)
        table = Dataset.of(source).rows(ids).to_arrow()

        assert table.to_pydict() == expected.take(pa.array(ids)).to_pydict()

    def test_reading_leaves_nothing_behind(self, source: Source) -> None:
        """Reading over and over keeps no descriptor, thread or process, and bounded memory."""
        self._read_all(source)
        before = Resources.now()

        for _ in range(10):
            self._read_all(source)

        assert wait_for_nothing_left(before) == []
        assert Resources.now().resident - before.resident < self.most_growth

    def test_batches_know_their_ids(self, source: Source) -> None:
        """A batch of the first and the last sample carries their ids."""
        ids = [source.manifest.total - 1, 0]
        batch = Dataset.of(source).select([self._plain_column(source)]).take(ids)

        assert isinstance(batch, Batch)
        assert batch.ids.tolist() == ids

    @staticmethod
    def _plain_column(source: Source) -> str:
        """A column without nulls that a batch can hold, else the first."""
        row_groups = list(source.manifest)
        for name in source.schema.names:
            if not any(source.read(row_group, [name]).column(0).null_count for row_group in row_groups):
                return name
        return source.schema.names[0]

    @staticmethod
    def _read_all(source: Source) -> None:
        for row_group in source.manifest:
            source.read(row_group, source.schema.names)
