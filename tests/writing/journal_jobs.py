"""Jobs that write a few shards by the journal alone, and what their folders hold afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from headrace.sources.written.manifest import WrittenFile, WrittenManifest
from headrace.writing.journal import Journal
from headrace.writing.staging import Staging

SCHEMA = pa.schema([("x", pa.int64())])


@dataclass(frozen=True)
class Job:
    """What is to be written: shards by name, each with its key, from which its bytes follow."""

    identity: dict[str, str]
    keys: dict[str, str]
    extras: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return list(self.keys)


FIRST = Job(
    {"source": "flights of May", "recipe": "scaled", "format": "parquet"},
    {
        "part-00000.parquet": "a",
        "part-00001.parquet": "b",
        "part-00002.parquet": "c",
        "year=2012/part-00000.parquet": "d",
        "year=2013/part-00000.parquet": "e",
    },
    ("_pipeline.json",),
)
# Of the first one's shards one stays, two change places, one comes twice, one is dropped with its folder.
SECOND = Job(
    {"source": "flights of June", "recipe": "scaled", "format": "parquet"},
    {
        "part-00000.parquet": "b",
        "part-00001.parquet": "a",
        "part-00002.parquet": "c",
        "part-00003.parquet": "f",
        "year=2014/part-00000.parquet": "e",
        "year=2014/part-00001.parquet": "e",
    },
)


def content_of(key: str) -> bytes:
    return key.encode() * (1000 + ord(key[0]))


def write_shard(staging: Staging, name: str, key: str) -> WrittenFile:
    """Write one shard as a task does."""
    aside = staging.aside(name)
    aside.write_bytes(content_of(key))
    return staging.keep(name, key, aside, [4, 1], {"x": ord(key[0])})


Write = Callable[[Staging, str, str], WrittenFile]


def run(
    out: Path, job: Job, write: Write = write_shard, *, resume: bool = True, update: bool = False
) -> list[str] | None:
    """Do what a job lacks, publish it, and return which shards were written; None if it was complete."""
    journal = Journal.open(out, job.identity, resume=resume, update=update)
    try:
        if journal.complete is not None:
            return None
        written, files, kept = [], [], {}
        for name, key in job.keys.items():
            if key in journal.previous:
                kept[name] = journal.previous[key].name
                files.append(replace(journal.previous[key], name=name))
                continue
            file = journal.staging.record(name, key)
            if file is None:
                file = write(journal.staging, name, key)
                written.append(name)
            files.append(file)
        publish(journal, job, files, kept)
        return written
    finally:
        journal.close()


def publish(journal: Journal, job: Job, files: list[WrittenFile], kept: dict[str, str]) -> None:
    for name in job.extras:
        aside = journal.staging.aside(name)
        aside.write_bytes(b"learned")
        journal.staging.keep_part(name, aside)
    manifest = WrittenManifest("parquet", SCHEMA, tuple(files), identity=job.identity, artifacts=job.extras)
    journal.publish(manifest, kept, job.extras)


def stage(out: Path, job: Job, names: list[str]) -> Staging:
    """Begin a job, write some of its shards and end as if it had been interrupted."""
    journal = Journal.open(out, job.identity, resume=True, update=True)
    try:
        for name in names:
            write_shard(journal.staging, name, job.keys[name])
    finally:
        journal.close()
    return journal.staging


def tree(folder: Path) -> dict[str, bytes | None]:
    """What is in a folder, hidden files as well: the contents of files by their names, None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def inodes(folder: Path) -> dict[str, int]:
    return {
        name: os.stat(folder / name).st_ino for name, content in tree(folder).items() if content is not None
    }
