"""A Bloom filter of samples' values that can be saved, and asked of data that comes later."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.dedup.bloom.stages import KeyFilter, Stage, stage_size
from headrace.dedup.exact.exact import Exact
from headrace.dedup.exact.normalizing import Normalize, parse_normalize
from headrace.dedup.find import On, compared
from headrace.dedup.method import MatchOptions, Signature
from headrace.dedup.preference import Preference
from headrace.dedup.signing import DatasetSignatures
from headrace.errors import CorruptSourceError, OptionError, SchemaError, UnknownColumnError
from headrace.execution.executors import Executor
from headrace.execution.progress import Progress
from headrace.fingerprint import digest
from headrace.hashing.kinds import NULL, kind_of
from headrace.prepare.base import from_frame
from headrace.selecting.base import Selectable
from headrace.sources.memory import MemorySource
from headrace.tables import read_arrays, write_arrays

Flags = NDArray[np.bool_]

_FORMAT = "headrace bloom filter"
_VERSION = 1


class BloomFilter:
    """Tells of samples whether they may have been added, or surely were not.

    Samples are compared as `hr.Exact` compares them. One with a null in its columns equals no other, so it
    is not added, and never found, unless `nulls_equal`. The filter holds some ten bits for each distinct
    sample, and is never filled beyond what it promises: it grows by further filters of twice the capacity
    and half the error rate, or refuses. Keys are the same in every process and on every machine.

    Asking is thread-safe; adding is not.

    Example:
        >>> import headrace as hr, polars as pl
        >>> known = hr.BloomFilter(capacity=1000, error_rate=0.001, columns=["text"])
        >>> known.add(pl.DataFrame({"text": ["a", "b"]}))
        >>> known.contains({"text": ["b", "c"]}).tolist()
        [True, False]
        >>> known.count, known.nbytes
        (2, 1984)
    """

    def __init__(
        self,
        capacity: int,
        error_rate: float = 0.01,
        grow: bool = True,
        *,
        columns: Sequence[str] | None = None,
        normalize: Normalize = None,
        nulls_equal: bool = False,
    ) -> None:
        """Make an empty filter.

        Args:
            capacity: How many distinct samples it is made for.
            error_rate: At that number, the share of the samples that were not added which it takes for known
                ones; above 0 and at most 0.5. It holds for all of a filter that grows.
            grow: Whether it grows beyond its capacity, or raises CapacityError.
            columns: The columns to compare; by default all of the samples that are added first.
            normalize: As in `hr.Exact`.
            nulls_equal: As in `hr.Exact`.

        Raises:
            OptionError: An argument cannot be right.
        """
        self._keys = KeyFilter(capacity, error_rate, grow)
        self._exact = Exact(normalize, nulls_equal)
        if isinstance(columns, str) or (columns is not None and len(set(columns)) != len(columns)):
            raise OptionError(f"`columns` takes names of columns, each once, got {columns!r}")
        self._columns = None if columns is None else tuple(columns)
        self._kinds: dict[str, str] = {}

    @staticmethod
    def of(  # noqa: PLR0913  the filter's own settings, and where it runs
        dataset: Selectable,
        on: On = None,
        error_rate: float = 0.01,
        capacity: int | None = None,
        grow: bool = True,
        *,
        normalize: Normalize = None,
        nulls_equal: bool = False,
        executor: Executor | None = None,
        progress: Progress = True,
    ) -> BloomFilter:
        """Make a filter of all samples of a data set, which are read once.

        Args:
            dataset: Which samples.
            on: The columns to compare; all by default.
            error_rate: As in the class.
            capacity: As in the class; by default as many as there are samples.
            grow: As in the class.
            normalize: As in `hr.Exact`.
            nulls_equal: As in `hr.Exact`.
            executor: Where row groups are read; threads by default.
            progress: True for a bar on a terminal, or a function of row groups done and in all.

        Raises:
            OptionError: An argument cannot be right.
            CapacityError: There are more distinct samples than `capacity`, and it must not grow.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"text": ["a", "b", "a"]})
            >>> hr.BloomFilter.of(ds, on="text").contains({"text": ["a", "x"]}).tolist()
            [True, False]
        """
        exact = Exact(normalize, nulls_equal)
        columns = compared(dataset, on, exact)
        count = max(dataset.selection.set.count, 1) if capacity is None else capacity
        made = BloomFilter(
            count, error_rate, grow, columns=columns, normalize=normalize, nulls_equal=nulls_equal
        )
        fields = made._fields(dataset.schema)
        made._learn(fields)
        options = MatchOptions(executor)
        signer = exact.signer(fields)
        for signed in DatasetSignatures(dataset, columns, signer, Preference(), options, progress=progress):
            made._keys.add(signed.arrays["keys"])
        return made

    @property
    def count(self) -> int:
        """How many distinct samples were added; one that was taken for a known one is not."""
        return self._keys.count

    @property
    def nbytes(self) -> int:
        """How many bytes the filter takes."""
        return self._keys.nbytes

    @property
    def capacity(self) -> int:
        """How many distinct samples it was made for."""
        return self._keys.capacity

    @property
    def error_rate(self) -> float:
        """The share of new samples that it takes for known ones at its capacity, at the most."""
        return self._keys.error_rate

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns that are compared; None until samples tell them."""
        return self._columns

    def expected_error_rate(self) -> float:
        """Return the share of new samples that it would take for known ones now, by the bits that are set."""
        return self._keys.expected_error_rate()

    def add(self, frame: Any) -> None:
        """Add samples.

        Args:
            frame: A Polars frame, an Arrow batch or table, or a dict of columns.

        Raises:
            CapacityError: There is no room for one of them, and the filter must not grow. Those before it are
                added.
            SchemaError: It is no frame, a column is not there, or of another kind than before.
        """
        batch = as_batch(frame)
        keys = self._sign(batch).arrays["keys"]
        self._learn(self._fields(batch.schema))
        self._keys.add(keys)

    def contains(self, frame: Any) -> Flags:
        """Tell which samples may have been added, bool of shape [n]; those that are False surely were not.

        Args:
            frame: A Polars frame, an Arrow batch or table, or a dict of columns.

        Raises:
            SchemaError: It is no frame, a column is not there, or of another kind than those added.
        """
        batch = as_batch(frame)
        signature = self._sign(batch)
        found = self._keys.contains(signature.arrays["keys"])
        if signature.rows is None:
            return found
        out = np.zeros(batch.num_rows, np.bool_)
        out[signature.rows] = found
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the filter to a file, which is complete or not there.

        Raises:
            OSError: The file cannot be written.
        """
        keys = self._keys
        meta = {
            "format": _FORMAT,
            "version": _VERSION,
            "capacity": keys.capacity,
            "error_rate": keys.error_rate,
            "grow": keys.grow,
            "normalize": list(parse_normalize(self._exact.normalize)),
            "nulls_equal": self._exact.nulls_equal,
            "columns": self._columns,
            "kinds": self._kinds,
            "counts": [stage.count for stage in keys.stages],
        }
        words = [stage.words for stage in keys.stages]
        arrays = {str(number): pa.array(each) for number, each in enumerate(words)}
        write_arrays(Path(path), meta | {"digest": _digest(meta, words)}, arrays)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> BloomFilter:
        """Read a filter that was saved; it can be added to.

        Raises:
            FileNotFoundError: There is no such file.
            CorruptSourceError: The file is no such filter, or damaged.
        """
        meta, arrays = read_arrays(Path(path))
        try:
            expected = meta.pop("digest", None)
            if meta.get("format") != _FORMAT or meta.get("version") != _VERSION:
                raise ValueError(f"its format is {meta.get('format')!r}, version {meta.get('version')!r}")
            words = [arrays[str(number)].to_numpy() for number in range(len(meta["counts"]))]
            if _digest(meta, words) != expected:
                raise ValueError("its contents are not what was written")
            made = BloomFilter(
                *(meta[name] for name in ("capacity", "error_rate", "grow")),
                **{name: meta[name] for name in ("columns", "normalize", "nulls_equal")},
            )
            made._kinds = meta["kinds"]
            made._keys.stages = [
                Stage(stage_size(made.capacity, made.error_rate, meta["grow"], number), each.copy(), count)
                for number, (each, count) in enumerate(zip(words, meta["counts"], strict=True))
            ]
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise CorruptSourceError(
                f"{path}: a Bloom filter that `save` wrote is needed, but it cannot be read: {error}"
            ) from error
        return made

    def _sign(self, batch: pa.RecordBatch) -> Signature:
        fields = self._fields(batch.schema)
        return self._exact.signer(fields)(batch.select(fields.names))

    def _fields(self, schema: pa.Schema) -> pa.Schema:
        """Return the columns to compare, and refuse those of another kind than that of samples before."""
        names = self._exact.columns(schema) if self._columns is None else self._columns
        missing = [name for name in names if name not in schema.names]
        if missing:
            raise UnknownColumnError.from_names(missing, schema.names, "the frame")
        for name in names:
            kind = kind_of(schema.field(name).type)
            known = self._kinds.get(name, kind)
            if kind not in (known, NULL):  # a column of nulls alone goes with any
                raise SchemaError(
                    f"column `{name}` must hold values of kind {known}, as the Bloom filter does, got "
                    f"{schema.field(name).type}; values of other kinds are never equal, so cast the column"
                )
        return pa.schema([schema.field(name) for name in names])

    def _learn(self, fields: pa.Schema) -> None:
        """Remember the columns, and of which kinds they are, once values tell them."""
        self._columns = tuple(fields.names)
        for field in fields:
            if kind_of(field.type) != NULL:
                self._kinds.setdefault(field.name, kind_of(field.type))


def as_batch(frame: Any) -> pa.RecordBatch:
    """Wrap a Polars frame, an Arrow batch or table, or a dict of columns as a batch.

    Raises:
        SchemaError: It is none of these.
    """
    if isinstance(frame, pa.RecordBatch):
        return frame
    if type(frame).__module__.partition(".")[0] == "polars":
        return from_frame(frame)
    made = MemorySource.from_arrays(frame) if isinstance(frame, Mapping) else MemorySource.from_table(frame)
    return pa.RecordBatch.from_arrays(list(made.columns.values()), schema=made.schema)


def _digest(meta: Mapping[str, Any], words: Sequence[NDArray[np.uint64]]) -> str:
    return digest(dict(meta), *words)
