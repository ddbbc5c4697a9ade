"""The input of a job: where it lies, and what it holds, to the last byte."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from headrace.errors import OutputError
from headrace.execution.contents import check_shards, identify_shards
from headrace.execution.executors import Executor
from headrace.execution.mixed import MixedSource
from headrace.execution.recipe import Recipe
from headrace.execution.stages import Stages
from headrace.fingerprint import digest
from headrace.manifest import Manifest
from headrace.sources.base import Source, SupportsFiles
from headrace.stores.digests import FileDigests

_RUN_BYTES = 1 << 28  # decoded; so much is read by one call, or one shard


def contents_of(source: Source, executor: Executor, stages: Stages) -> list[str]:
    """Digest all bytes of each input shard, and how it is cut into row groups.

    A shard's own identity does not see every byte that was changed in place; an output that follows from it
    must. The files are read where the executor works.

    Raises:
        ChangedSourceError: A file was replaced or rewritten after it was opened.
        SourceError: A file is gone.
    """
    shards = source.manifest.shards
    found: dict[int, str] = {}
    if isinstance(source, SupportsFiles):
        runs = list(_runs(source.manifest))
        with stages.stage("identify", len(shards), "shards") as advance:
            for run, part in zip(runs, executor.map(partial(_identify, source), runs), strict=True):
                found |= part
                advance(len(run))
    else:
        found = _identify(source, range(len(shards)))
    check_shards(source, (number for number in range(len(shards)) if number not in found))
    # A file that cannot be read is left to the reader, which tells what is wrong.
    return [
        digest(found.get(number) or f"unread {shard.content_identity}", shard.rows)
        for number, shard in enumerate(shards)
    ]


def check_elsewhere(source: Source, folder: Path) -> None:
    """Refuse a folder that holds what is read: a job that replaces its own source cannot be run again.

    Raises:
        OutputError: A file of the source lies in it.
        SourceError: A file has changed since it was opened.
    """
    if not isinstance(source, SupportsFiles):
        return
    output = os.path.join(os.path.realpath(folder), "")
    real: dict[str, str] = {}  # by folder, which may be a link
    for number in range(len(source.manifest.shards)):
        for path in source.shard_files(number):
            parent = os.path.dirname(path)
            if parent not in real:
                real[parent] = os.path.join(os.path.realpath(parent), "")
            if real[parent].startswith(output):
                raise OutputError(
                    f"{folder}: holds `{path}`, which the data set is read from; name another folder"
                )


def recipes_of(recipe: Recipe) -> Iterator[Recipe]:
    """Yield a recipe and those of the parts that its source mixes."""
    yield recipe
    if isinstance(recipe.source, MixedSource):
        for part in recipe.source.recipes:
            yield from recipes_of(part)


def _runs(manifest: Manifest) -> Iterator[range]:
    begin, nbytes = 0, 0
    for number, shard in enumerate(manifest.shards):
        nbytes += sum(shard.nbytes)
        if nbytes >= _RUN_BYTES or number + 1 == len(manifest.shards):
            yield range(begin, number + 1)
            begin, nbytes = number + 1, 0


def _identify(source: Source, shards: Sequence[int]) -> dict[int, str]:
    return identify_shards(source, FileDigests(), shards)
