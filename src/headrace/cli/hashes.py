"""`headrace info --hash`: content hashes of all shards, kept beside them for `hr.open(..., verify=True)`."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.cli.output import make_console, make_table, size, write_json
from headrace.cli.show import open_paths
from headrace.errors import OptionError, SchemaError
from headrace.sources.open import list_files
from headrace.sources.verify import ALGORITHM, check_local, write_hashes

_FILES_SHOWN = 5


def make_hashes(paths: Sequence[str], format: str | None, as_json: bool) -> int:
    """Hash all bytes of a data set that can be opened, and show what was kept where."""
    found = list_files(paths, format)
    check_local(found)
    manifests, hashed = write_hashes(paths, found, _count_samples(paths, format))
    if as_json:
        files = {path: entry.as_dict() for path, entry in hashed.items()}
        write_json({"written": manifests, "algorithm": ALGORITHM, "files": files})
        return 0
    table = make_table(("file", "samples", "size", ALGORITHM), right=("samples", "size"))
    for path, entry in list(hashed.items())[:_FILES_SHOWN]:
        count = "" if entry.samples is None else f"{entry.samples:,}"
        table.add_row(path, count, size(entry.nbytes), entry.hash)
    if len(hashed) > _FILES_SHOWN:
        table.add_row(f"and {len(hashed) - _FILES_SHOWN:,} more", "", "", "")
    console = make_console()
    console.print(table)
    for manifest in manifests:
        console.print(f"\nWritten to {manifest}; `hr.open(..., verify=True)` compares.")
    return 0


def _count_samples(paths: Sequence[str], format: str | None) -> dict[str, int]:
    """Count by shard; nothing where options would be needed to tell what a sample is.

    What is damaged is refused here, so that it gets no hash.
    """
    try:
        return {shard.name: shard.samples for shard in open_paths(paths, format).manifest.shards}
    except (SchemaError, OptionError):
        return {}
