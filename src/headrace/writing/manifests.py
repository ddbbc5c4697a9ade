"""The manifest as bytes, and the manifest of a folder."""

from __future__ import annotations

from headrace.sources.written.manifest import WrittenManifest, read_manifest

__all__ = ["manifest_bytes", "read_manifest"]


def manifest_bytes(manifest: WrittenManifest) -> bytes:
    """Return the bytes of `_headrace.json`."""
    return manifest.to_bytes()
