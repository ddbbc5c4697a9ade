"""Folders that `ds.write` wrote, opened by their manifest: nothing missing, added or changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from headrace.errors import CorruptSourceError, MissingSourceError, OptionError, SourceError, UnfinishedError
from headrace.sources.arrow import ArrowSource
from headrace.sources.base import Source
from headrace.sources.files import Paths, ShardFile, Stamp, files_below
from headrace.sources.formats import FORMATS, claimed_format
from headrace.sources.memory import MemorySource
from headrace.sources.names import without_scheme
from headrace.sources.written.manifest import (
    NAME,
    UNFINISHED,
    WrittenFile,
    WrittenManifest,
    check_finished,
    read_manifest,
)
from headrace.sources.written.source import NATURAL, forms, restored

_HASHERS = 8
_SHOWN = 5
_RESTORE = "restore what differs, or write the data set again"


def written_folder(paths: Paths) -> tuple[str, WrittenManifest] | None:
    """Return the folder and the manifest, if it is exactly the folder of a written data set that is named.

    Raises:
        UnfinishedError: A job has not completed what shall lie there.
        SourceError: The manifest cannot be read, or was changed.
    """
    if not isinstance(paths, (str, os.PathLike)):
        return None
    folder = os.path.expanduser(without_scheme(os.fspath(paths)))
    if "\0" in folder or not os.path.isdir(folder):
        return None
    manifest = read_manifest(folder)
    if manifest is not None:
        return folder, manifest
    check_finished(folder)
    return None


def open_written(
    folder: str, wrote: WrittenManifest, format: str | None, options: Any, memory_limit: int, verify: bool
) -> Source:
    """Open a written data set.

    Args:
        folder: Its folder.
        wrote: Its manifest.
        format: What the user says of its format; it must be so.
        options: What the user says of how to read it; it must fit.
        memory_limit: The most bytes that decoding one row group may take.
        verify: Compare all bytes with the hashes in the manifest.

    Raises:
        CorruptSourceError: A file is missing, was added or differs.
        UnfinishedError: The same, while a job has not finished to update the data set.
        OptionError: Format or options contradict the manifest.
        SourceError: A file cannot be read.
    """
    if format is not None and format != wrote.format:
        raise OptionError(f'`format` must be "{wrote.format}" for {folder}, as {NAME} says, got {format!r}')
    kind = next((kind for kind in FORMATS if kind.name == wrote.format), None)
    if kind is None:
        raise SourceError(
            f"{folder}: {NAME} names the format {wrote.format!r}, which is not known; update headrace"
        )
    try:
        files = _check_files(folder, wrote)
        stamps = _check_hashes(files, wrote.files) if verify else {}
        if not wrote.total:
            return MemorySource({field.name: pa.nulls(0, field.type) for field in wrote.schema})
        if wrote.format not in NATURAL:
            options = _fitting_options(folder, wrote, options)
        inner = kind.open(files, options, memory_limit)
        _check_rows(inner, wrote)
        source = restored(inner, wrote)
    except (CorruptSourceError, MissingSourceError) as error:
        if os.path.isdir(os.path.join(folder, UNFINISHED)):
            raise UnfinishedError(
                f"{folder}: a job has not finished to update it; run the job again to complete it ({error})"
            ) from error
        raise
    for path, stamp in stamps.items():  # the source has looked at it since
        stamp.check(path)
    return source


def _fitting_options(folder: str, wrote: WrittenManifest, options: Any) -> Any:
    needed = forms().reader_options(wrote)
    if options is not None and options != needed:
        raise OptionError(
            f"{folder}: {NAME} says how its files are read, so leave out `options`, or name a file to read "
            f"it as it lies; got {options!r}"
        )
    return needed


def _check_files(folder: str, wrote: WrittenManifest) -> list[ShardFile]:
    """Compare names and sizes with the manifest.

    Raises:
        CorruptSourceError: They differ; the message names some of the files.
    """
    expected = {os.path.join(folder, *file.name.split("/")): file for file in wrote.files}
    found = {file.path for file in files_below(folder)}
    complaints = [f"{path}: is missing" for path in expected if path not in found]
    complaints += [
        f"{path}: does not belong to the data set"
        for path in sorted(found - expected.keys())
        if claimed_format(path)
    ]
    for path, file in expected.items():
        size = Stamp.of(path).size if path in found else file.nbytes
        if size != file.nbytes:
            complaints.append(f"{path}: has {size:,} bytes instead of the {file.nbytes:,} that were written")
    _refuse(complaints)
    return [ShardFile(path) for path in expected]


def _check_hashes(files: Sequence[ShardFile], wrote: Sequence[WrittenFile]) -> dict[str, Stamp]:
    """Compare all bytes with the hashes in the manifest; returns the files' stamps at that time."""
    with ThreadPoolExecutor(_HASHERS, thread_name_prefix="headrace-hash") as pool:
        found = list(pool.map(_hash, [file.path for file in files]))
    _refuse(
        [
            f"{file.path}: its {entry.nbytes:,} bytes are others than were written ({content[:12]}… instead "
            f"of {entry.hash[:12]}…)"
            for file, entry, (_, content) in zip(files, wrote, found, strict=True)
            if content != entry.hash
        ]
    )
    return {file.path: stamp for file, (stamp, _) in zip(files, found, strict=True)}


def _hash(path: str) -> tuple[Stamp, str]:
    from headrace.hashing.files import digest_file

    stamp = Stamp.of(path)
    try:
        content = digest_file(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    stamp.check(path)
    return stamp, content


def _check_rows(inner: Source, wrote: WrittenManifest) -> None:
    """Compare what the files say of their rows with the manifest; some formats know no row groups."""
    complaints: list[str] = []
    for number, (shard, file) in enumerate(zip(inner.manifest.shards, wrote.files, strict=True)):
        groups = shard.rows
        if isinstance(inner, ArrowSource):  # which reads small record batches together
            groups = tuple(block.rows for block in inner.heads[number].batches)
        is_same = groups == file.rows if wrote.format in NATURAL else sum(groups) == sum(file.rows)
        if not is_same:
            complaints.append(
                f"{shard.name}: holds {_counted(groups)} instead of the {_counted(file.rows)} written"
            )
    _refuse(complaints)


def _counted(groups: Sequence[int]) -> str:
    return f"{sum(groups):,} rows in {len(groups):,} row groups"


def _refuse(complaints: Sequence[str]) -> None:
    if complaints:
        more = f"; and {len(complaints) - _SHOWN:,} more" if len(complaints) > _SHOWN else ""
        raise CorruptSourceError(f"{'; '.join(complaints[:_SHOWN])}{more}; {_RESTORE}")
