"""States of shards kept in a folder, so that a fit reads only the shards that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from headrace.errors import HeadraceError, warn_caller
from headrace.fingerprint import digest
from headrace.fitting.scans import Ask, Scan
from headrace.prepare.statistics import Statistic
from headrace.tables import read_arrays, write_arrays

if TYPE_CHECKING:
    import polars as pl

_VERSION = 1
_KEPT = "kept"

States = dict[Statistic, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one shard.

    Attributes:
        states: The state of each statistic.
        kept: The columns that later scans need; None if they were not kept.
    """

    states: States
    kept: pl.DataFrame | None


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of entries, each under the digest of what it follows from.

    Attributes:
        folder: Made when the first entry is kept.
    """

    folder: Path

    def get(self, key: str, scan: Scan) -> Entry | None:
        """Return an entry; None if there is none that can be read."""
        path = self.folder / f"{key}.arrow"
        try:
            return _unpacked(*read_arrays(path), scan)
        except FileNotFoundError:
            return None
        except (HeadraceError, OSError, KeyError, ValueError, TypeError, IndexError) as error:
            warn_caller(f"{path}: the entry cannot be read, so the shard is read again: {error}")
            return None

    def put(self, key: str, entry: Entry, scan: Scan) -> None:
        """Keep an entry."""
        path = self.folder / f"{key}.arrow"
        try:
            write_arrays(path, *_packed(entry, scan))
        except OSError as error:
            warn_caller(f"{path}: the entry cannot be kept: {error}")


def entry_key(identity: str, recipe: str, rows: Sequence[object], scan: Scan) -> str:
    """Digest all that an entry follows from.

    Args:
        identity: Of the shard's contents.
        recipe: Of what is done to the samples before the pipeline.
        rows: For each of its row groups, which rows take part.
        scan: What is asked, of what.
    """
    items = [item.statistics if isinstance(item, Ask) else item for item in scan.items]
    return digest("fit", _VERSION, identity, recipe, rows, items, sorted(scan.later or ()))


def _packed(entry: Entry, scan: Scan) -> tuple[dict[str, Any], dict[str, pa.Array]]:
    metas: list[dict[str, Any]] = []
    arrays: dict[str, pa.Array] = {}
    for number, statistic in enumerate(_statistics(scan)):
        meta, parts = entry.states[statistic].pack()
        metas.append(meta)
        arrays |= {f"{number}/{name}": array for name, array in parts.items()}
    kept = None if entry.kept is None else entry.kept.columns
    for name in kept or ():
        arrays[f"{_KEPT}/{name}"] = cast("pl.DataFrame", entry.kept)[name].rechunk().to_arrow()
    return {"states": metas, _KEPT: kept}, arrays


def _unpacked(meta: dict[str, Any], arrays: dict[str, pa.Array], scan: Scan) -> Entry:
    import polars as pl

    states: States = {}
    for number, (statistic, own) in enumerate(zip(_statistics(scan), meta["states"], strict=True)):
        start = f"{number}/"
        parts = {name.removeprefix(start): it for name, it in arrays.items() if name.startswith(start)}
        states[statistic] = statistic.unpack((own, parts))
    names = meta[_KEPT]
    kept = (
        None
        if names is None
        else pl.DataFrame({name: pl.from_arrow(arrays[f"{_KEPT}/{name}"]) for name in names})
    )
    return Entry(states, kept)


def _statistics(scan: Scan) -> list[Statistic]:
    """List what is asked, once each, in order."""
    return list(dict.fromkeys(statistic for ask in scan.asks for statistic in ask.statistics))
