"""`_headrace.json`: what a written data set is, put into its folder when all of it is there."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Self, cast

import pyarrow as pa

from headrace.errors import CorruptSourceError, SourceError, UnfinishedError

NAME = "_headrace.json"
UNFINISHED = "_unfinished"
"""The folder of a job's journal and of what it has written, within the folder of its output."""

_VERSION = 1
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


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

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the manifest."""
        return {
            "name": self.name,
            "rows": list(self.rows),
            "bytes": self.nbytes,
            "hash": self.hash,
            "key": self.key,
            "null_counts": dict(sorted(self.null_counts.items())),
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """Make it of what stands in the manifest.

        Raises:
            ValueError: It is no such entry; KeyError, TypeError and AttributeError say so too.
        """
        name, rows, nbytes = _inside(entry["name"]), tuple(entry["rows"]), entry["bytes"]
        nulls = {_text(column): count for column, count in entry["null_counts"].items()}
        for count in (*rows, nbytes, *nulls.values()):
            if type(count) is not int or count < 0:
                raise ValueError(f"{name!r} cannot have the count {count!r}")
        return cls(name, rows, nbytes, _text(entry["hash"]), _text(entry["key"]), nulls)


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

    Example:
        >>> manifest = WrittenManifest("parquet", pa.schema({"x": pa.int64()}), ())
        >>> WrittenManifest.from_bytes(manifest.to_bytes(), "out/_headrace.json") == manifest
        True
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
    def file_schema(self) -> pa.Schema:
        """The columns that are in the files, not in the names of their folders, as they were."""
        return pa.schema([field for field in self.schema if field.name not in self.partition_by])

    @property
    def null_counts(self) -> Mapping[str, int]:
        """How many nulls each column that has some holds, by name."""
        counts: dict[str, int] = {}
        for file in self.files:
            for name, count in file.null_counts.items():
                counts[name] = counts.get(name, 0) + count
        return counts

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the file, its own digest included."""
        schema = pa.schema([field.remove_metadata() for field in self.schema])
        document: dict[str, Any] = {
            "version": _VERSION,
            "format": self.format,
            "samples": self.total,
            "columns": {field.name: str(field.type) for field in schema},
            "schema": base64.b64encode(schema.serialize().to_pybytes()).decode(),
            "partition_by": list(self.partition_by),
            "identity": dict(sorted(self.identity.items())),
            "recipe": list(self.recipe),
            "artifacts": list(self.artifacts),
            "versions": dict(sorted(self.versions.items())),
            "files": [file.to_json() for file in self.files],
        }
        return document | {"digest": _digest(document)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Make it of what stands in the file.

        Raises:
            ValueError: It is no such document, or was changed; KeyError, TypeError and AttributeError
                say so too.
        """
        if document["digest"] != _digest({key: value for key, value in document.items() if key != "digest"}):
            raise ValueError("its contents do not fit its digest")
        serialized = base64.b64decode(document["schema"], validate=True)
        return cls(
            format=_text(document["format"]),
            schema=pa.ipc.read_schema(pa.py_buffer(serialized)),
            files=tuple(WrittenFile.from_json(entry) for entry in document["files"]),
            partition_by=_texts(document["partition_by"]),
            identity={_text(key): _text(value) for key, value in document["identity"].items()},
            recipe=_texts(document["recipe"]),
            artifacts=tuple(_inside(name) for name in document["artifacts"]),
            versions={_text(key): _text(value) for key, value in document["versions"].items()},
        )

    def to_bytes(self) -> bytes:
        """Return all bytes of the file, a line for each fact and each shard."""
        lines: list[str] = []
        for key, value in self.to_json().items():
            if key == "files":
                entries = ",\n  ".join(json.dumps(entry) for entry in cast("list[Any]", value))
                lines.append(f'"files": [\n  {entries}\n ]' if entries else '"files": []')
            else:
                lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
        return ("{\n " + ",\n ".join(lines) + "\n}\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes, path: str) -> Self:
        """Read the bytes of the file.

        Args:
            content: Its bytes.
            path: What errors call it.

        Raises:
            CorruptSourceError: It was damaged or changed.
            SourceError: A later headrace wrote it.
        """
        try:
            document: Any = json.loads(content)
            version = document["version"]
            if version == _VERSION:
                return cls.from_json(document)
        except (*_MALFORMED, pa.ArrowException, OSError) as error:
            raise CorruptSourceError(
                f"{path}: is no manifest of a written data set, or was damaged or changed "
                f"({type(error).__name__}: {error}); restore it, or write the data set again"
            ) from error
        raise SourceError(
            f"{path}: is a manifest of version {version!r}, and only {_VERSION} can be read; update "
            "headrace, or write the data set again"
        )


def read_manifest(folder: str | Path) -> WrittenManifest | None:
    """Read the manifest of a written data set; None where there is none.

    Args:
        folder: The data set's folder.

    Raises:
        CorruptSourceError: It was damaged or changed.
        SourceError: It cannot be read, or a later headrace wrote it.
    """
    path = os.path.join(folder, NAME)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    return WrittenManifest.from_bytes(content, path)


def check_finished(folder: str) -> None:
    """Refuse a folder that a job writes, or wrote, into and has not completed.

    Raises:
        UnfinishedError: It has a journal and no manifest.
    """
    if os.path.isdir(os.path.join(folder, UNFINISHED)) and not os.path.lexists(os.path.join(folder, NAME)):
        raise UnfinishedError(
            f"{folder}: is the unfinished output of a job; run the job again to complete it"
        )


def _digest(document: Mapping[str, Any]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def _inside(name: Any) -> str:
    """Refuse names that lead out of the data set's folder."""
    path = PurePosixPath(_text(name))
    if path.is_absolute() or ".." in path.parts or str(path) != name or name == ".":
        raise ValueError(f"the name {name!r} leads elsewhere")
    return name


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"{value!r} is no text")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(_text(value) for value in values)
