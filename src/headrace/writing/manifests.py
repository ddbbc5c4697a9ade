"""The manifest as bytes, and the manifest of a folder."""

from __future__ import annotations

import base64
from pathlib import Path

import pyarrow as pa

from headrace.errors import CorruptSourceError
from headrace.sources.written.manifest import NAME, WrittenFile, WrittenManifest
from headrace.writing.records import describe, restore, seal, unseal


def manifest_bytes(manifest: WrittenManifest) -> bytes:
    """Return the bytes of `_headrace.json`."""
    return seal(
        {
            "format": manifest.format,
            "schema": base64.b64encode(manifest.schema.serialize().to_pybytes()).decode(),
            "files": [describe(file) for file in manifest.files],
            "partition_by": list(manifest.partition_by),
            "identity": dict(manifest.identity),
            "recipe": list(manifest.recipe),
            "artifacts": list(manifest.artifacts),
            "versions": dict(manifest.versions),
        }
    )


def read_manifest(folder: Path) -> WrittenManifest | None:
    """Read the manifest of a folder; None if it has none.

    Raises:
        CorruptSourceError: It is damaged.
        OSError: It cannot be read.
    """
    try:
        content = unseal((folder / NAME).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    if content is None:
        raise CorruptSourceError(f"{folder / NAME}: the manifest is damaged; write the data set again")
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(content["schema"])))
    files: list[WrittenFile] = [file for it in content["files"] if (file := restore(it)) is not None]
    return WrittenManifest(
        content["format"],
        schema,
        tuple(files),
        tuple(content["partition_by"]),
        content["identity"],
        tuple(content["recipe"]),
        tuple(content["artifacts"]),
        content["versions"],
    )
