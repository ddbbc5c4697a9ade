"""What the input shards of a job hold, to the last byte, and what each part of a mix does to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

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
