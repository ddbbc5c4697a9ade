"""Folders that `ds.write` wrote, opened by their manifest: nothing missing, added or changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from headrace.errors import CorruptSourceError, MissingSourceError, OptionError, SourceError, UnfinishedError
from headrace.sources.arrow import ArrowSource
from headrace.sources.base import Source
from headrace.sources.files import Paths, ShardFile, Stamp, files_below
from headrace.sources.formats import FORMATS, claimed_format
from headrace.sources.memory import MemorySource
from headrace.sources.names import without_scheme
from headrace.sources.remote import Access, is_url
from headrace.sources.verify import check_local
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


@dataclass(frozen=True, slots=True)
class WrittenFolder:
    """A written data set as it was found.

    Attributes:
        path: Its folder, as the user named it.
        manifest: What shall lie there.
        files: The data files that do.
    """

    path: str
    manifest: WrittenManifest
    files: Sequence[ShardFile]


def written_folder(paths: Paths) -> WrittenFolder | None:
    """Return a written data set, if it is exactly its local folder that is named.

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
        return WrittenFolder(folder, manifest, files_below(folder))
    check_finished(folder)
    return None


def written_remote(paths: Paths, files: Sequence[ShardFile], access: Access | None) -> WrittenFolder | None:
    """Return a written data set, if it is exactly its folder that a URL has named.

    Args:
        paths: What the user named.
        files: What was found there.
        access: How it was reached.

    Raises:
        SourceError: The manifest cannot be read, or was changed.
    """
    if access is None or not isinstance(paths, str) or not is_url(without_scheme(paths)):
        return None
    file = access.manifest(paths)
    if file is None:
        return None
    manifest = WrittenManifest.from_bytes(file.read(0, file.size), file.url)
    return WrittenFolder(file.url.removesuffix(f"/{NAME}"), manifest, files)


def open_written(
    written: WrittenFolder, format: str | None, options: Any, memory_limit: int, verify: bool
) -> Source:
    """Open a written data set.

    Args:
        written: Where it lies, and what was found there.
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
    folder, wrote = written.path, written.manifest
    if format is not None and format != wrote.format:
        raise OptionError(f'`format` must be "{wrote.format}" for {folder}, as {NAME} says, got {format!r}')
    kind = next((kind for kind in FORMATS if kind.name == wrote.format), None)
    if kind is None:
        raise SourceError(
            f"{folder}: {NAME} names the format {wrote.format!r}, which is not known; update headrace"
        )
    try:
        files = _check_files(folder, wrote, written.files)
        if verify:
            check_local(files)
        stamps = _check_hashes(files, wrote.files) if verify else {}
        if not wrote.total:
            return MemorySource({field.name: pa.nulls(0, field.type) for field in wrote.schema})
        if wrote.format not in NATURAL:  # a file without rows may have no bytes that tell its format
            options = _fitting_options(folder, wrote, options)
            files = [file for file, entry in zip(files, wrote.files, strict=True) if any(entry.rows)]
            wrote = replace(wrote, files=tuple(entry for entry in wrote.files if any(entry.rows)))
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


def _check_files(folder: str, wrote: WrittenManifest, found: Sequence[ShardFile]) -> list[ShardFile]:
    """Compare names and sizes with the manifest.

    Raises:
        CorruptSourceError: They differ; the message names some of the files.
    """
    named = {_name_below(folder, file): file for file in found}
    expected = {file.name: file for file in wrote.files}
    complaints = [f"{folder.rstrip('/')}/{name}: is missing" for name in expected if name not in named]
    complaints += [
        f"{file.path}: does not belong to the data set"
        for name, file in named.items()
        if name not in expected and claimed_format(name) is not None
    ]
    present = [(entry, named[name]) for name, entry in expected.items() if name in named]
    for entry, file in present:
        size = file.stamp().size
        if size != entry.nbytes:
            complaints.append(
                f"{file.path}: has {size:,} bytes instead of the {entry.nbytes:,} that were written"
            )
    _refuse(complaints)
    return [ShardFile(file.path, remote=file.remote) for _, file in present]


def _name_below(folder: str, file: ShardFile) -> str:
    """Name a file as the manifest does."""
    name = file.path[len(folder.rstrip("/")) + 1 :]
    return unquote(name) if file.path.startswith(("http://", "https://")) else name


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
