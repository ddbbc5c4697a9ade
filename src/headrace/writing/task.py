"""One task: a few consecutive shards, prepared, written aside and kept, in any process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.errors import HeadraceError, PrepareError
from headrace.slices import unsliced_rows
from headrace.sources.written.manifest import WrittenFile
from headrace.writing.cutting import ShardPlan
from headrace.writing.disk import as_output_error
from headrace.writing.formats.base import FormatOptions
from headrace.writing.formats.opening import open_writer
from headrace.writing.rows import Rows, regroup
from headrace.writing.sorting import Sorted
from headrace.writing.staging import Staging


@dataclass(frozen=True, slots=True)
class Task:
    """Shards to write.

    Attributes:
        shards: One behind the other.
        keys: What the contents of each follow from.
    """

    shards: tuple[ShardPlan, ...]
    keys: tuple[str, ...]

    def __str__(self) -> str:
        first, last = self.shards[0].name, self.shards[-1].name
        return first if first == last else f"{first} to {last}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task.

    Attributes:
        files: The shards that are kept.
        failed: Names of the others, and why.
    """

    files: tuple[WrittenFile, ...]
    failed: tuple[tuple[str, BaseException], ...] = ()


@dataclass(frozen=True)
class ShardWork:
    """Writes the shards of a task; a pure function of them but for the files.

    Attributes:
        rows: Prepares samples.
        sorted: Where rows lie that are not in the source's order; None if they are.
        format: What shards are written as.
        options: How they are laid out.
        schema: The columns in the files.
        staging: Where shards are kept.
        output: The folder that errors name.
    """

    rows: Rows
    sorted: Sorted | None
    format: str
    options: FormatOptions
    schema: pa.Schema
    staging: Staging
    output: Path

    def __call__(self, task: Task) -> Outcome:
        """Write the shards; those that fail are told of, and do not stop the others.

        Raises:
            OutputError: The disk is full, or not to be written to.
        """
        files: list[WrittenFile] = []
        failed: list[tuple[str, BaseException]] = []
        for shard, key in zip(task.shards, task.keys, strict=True):
            try:
                files.append(self._write(shard, key))
            except Exception as error:
                full = as_output_error(error, self.output)
                if full is not None:
                    raise full from error
                failed.append((shard.name, _named(error, shard)))
        return Outcome(tuple(files), tuple(failed))

    def _write(self, shard: ShardPlan, key: str) -> WrittenFile:
        kept = self.staging.record(shard.name, key)
        if kept is not None:
            return kept
        aside = self.staging.aside(shard.name)
        nulls: Counter[str] = Counter()
        writer: Any = None
        try:
            writer = open_writer(self.format, aside, self.schema, self.options)
            for batch in self._batches(shard):
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    if column.null_count:
                        nulls[name] += column.null_count
                writer.write(batch)
            writer.close()
            return self.staging.keep(shard.name, key, aside, shard.rows, dict(sorted(nulls.items())))
        except BaseException:
            if writer is not None:
                writer.abandon()
            self.staging.discard(aside)
            raise

    def _batches(self, shard: ShardPlan) -> Iterator[pa.RecordBatch]:
        """Yield the row groups, without the columns that are in the names of folders."""
        if shard.begin == shard.end:
            return
        if self.sorted is None:
            found = regroup(self.rows.between(shard.begin, shard.end), shard.rows)
        else:
            found = self.sorted.between(shard.begin, shard.end, shard.group_rows)
        for batch in found:
            rows = unsliced_rows(batch)
            yield rows.select(self.schema.names) if len(rows.schema) > len(self.schema) else rows


def _named(error: Exception, shard: ShardPlan) -> HeadraceError:
    """Name the shard, in an error that names nothing."""
    if isinstance(error, HeadraceError):
        return error
    named = PrepareError(f"{shard.name}: failed with {type(error).__name__}: {error}")
    named.__cause__ = error
    return named
