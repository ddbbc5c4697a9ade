"""`_headrace.json`: what a written data set is, put into its folder when all of it is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

NAME = "_headrace.json"
UNFINISHED = "_unfinished"
"""The folder of a job's journal and of what it has written, within the folder of its output."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One shard of a written data set.

    Attributes:
        name: Its path below the output's folder, with "/" between its parts.
        rows: Samples of each of its row groups, in order.
        nbytes: Its size.
        hash: XXH3 of all its bytes, 128 bits in hexadecimal; see `hashing.files.digest_file`.
        key: Digest of all that its contents follow from; equal keys, equal bytes.
        null_counts: How many nulls each column that has some holds, by name.
    """

    name: str
    rows: tuple[int, ...]
    nbytes: int
    hash: str
    key: str
    null_counts: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class WrittenManifest:
    """What `_headrace.json` holds.

    Attributes:
        format: `"parquet"`, `"hdf5"`, `"lmdb"`, `"arrow"` or `"tfrecord"`.
        schema: The columns as they were before they were written, those of `partition_by` among them.
        files: The shards in order, which is the order of the samples.
        partition_by: The columns that are in the names of folders instead of in the files.
        identity: What the output follows from, by the name of each part (source, selection, recipe, ...);
            equal identities, equal outputs.
        recipe: What was done to the samples, a line for each step, for people.
        artifacts: Names of the fitted pipelines beside the manifest, for `hr.Pipeline.load`.
        versions: Of headrace and of the libraries that wrote.
    """

    format: str
    schema: pa.Schema
    files: tuple[WrittenFile, ...]
    partition_by: tuple[str, ...] = ()
    identity: Mapping[str, str] = field(default_factory=dict[str, str])
    recipe: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def total(self) -> int:
        """How many samples there are."""
        return sum(sum(file.rows) for file in self.files)

    @property
    def null_counts(self) -> Mapping[str, int]:
        """How many nulls each column that has some holds, by name."""
        counts: dict[str, int] = {}
        for file in self.files:
            for name, count in file.null_counts.items():
                counts[name] = counts.get(name, 0) + count
        return counts

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the file."""
        raise NotImplementedError
