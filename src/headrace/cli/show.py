"""The commands that look at data: `info`, `head`, `explain`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from headrace.cli.output import make_console, make_table, size, write_json
from headrace.dataset import Dataset
from headrace.errors import check_whole
from headrace.inputs import open_dataset
from headrace.manifest import Shard
from headrace.planning.world import World
from headrace.sources.open import list_files
from headrace.sources.written.opening import written_folder

_SHARDS_SHOWN, _COLUMNS_SHOWN, _GAP = 5, 40, 3
_SHORTEST_CELL, _LONGEST_CELL = 8, 30


@dataclass(frozen=True, slots=True)
class Epoch:
    """The epoch that `explain` foretells.

    Attributes:
        batch_size: Samples of each rank's batch.
        world_size: How many ranks.
        shuffle: Whether in a keyed order.
        seed: Which one.
    """

    batch_size: int
    world_size: int
    shuffle: bool
    seed: int


def show_info(paths: Sequence[str], format: str | None, as_json: bool) -> int:
    """Show what a data set is made of; only footers are read."""
    dataset = open_paths(paths, format)
    shards = dataset.manifest.shards
    found = {file.path: file.stamp().size for file in list_files(paths, format)}
    sizes = [found.get(shard.name, 0) for shard in shards]
    facts: dict[str, Any] = {
        "samples": len(dataset),
        "shards": len(shards),
        "row_groups": len(dataset.manifest),
        "bytes": sum(sizes),
        "decoded_bytes": int(dataset.manifest.nbytes.sum()),
        "fingerprint": dataset.fingerprint,
        **_written(paths),
    }
    if as_json:
        columns = [{"name": field.name, "type": type_name(field.type)} for field in dataset.schema]
        files = [
            {"name": shard.name, "samples": shard.samples, "row_groups": len(shard.rows), "bytes": nbytes}
            for shard, nbytes in zip(shards, sizes, strict=True)
        ]
        write_json(facts | {"columns": columns, "files": files})
        return 0
    console = make_console()
    summary = make_table(("", ""))
    summary.show_header = False
    for name, value in facts.items():
        if value == []:
            continue
        is_size = name in ("bytes", "decoded_bytes")
        shown = size(value) if is_size else f"{value:,}" if isinstance(value, int) else value
        shown = "\n".join(value) if isinstance(value, list) else shown
        summary.add_row(_TITLES.get(name, name), shown)
    console.print(summary, "", _column_table(dataset.schema), "", _shard_table(shards, sizes), sep="\n")
    return 0


def show_head(paths: Sequence[str], format: str | None, count: int, as_json: bool) -> int:
    """Show the first samples; only their row groups are read."""
    check_whole("-n", count, least=1)
    dataset = open_paths(paths, format)
    frame = dataset.head(count)
    samples, ids = frame.to_dicts(), dataset.sample_ids[:count].tolist()
    if as_json:
        types = {field.name: type_name(field.type) for field in dataset.schema}
        write_json({"columns": types, "ids": ids, "samples": samples})
        return 0
    console = make_console()
    table = make_table(("id", *frame.columns))
    for number, sample in zip(ids, samples, strict=True):
        table.add_row(str(number), *(_cell(value, _LONGEST_CELL) for value in sample.values()))
    if _natural_width(console, table) <= console.width:
        console.print(table)
        return 0
    # Too many columns to stand side by side: lay the table on its side, with as many samples as fit.
    room = console.width - max(len(name) for name in frame.columns)
    shown = max(min(len(samples), room // (_SHORTEST_CELL + _GAP)), 1)
    longest = min(max(room // shown - _GAP, _SHORTEST_CELL), _LONGEST_CELL)
    table = make_table(("column", *(f"id {number}" for number in ids[:shown])))
    for name in frame.columns:
        table.add_row(name, *(_cell(sample[name], longest) for sample in samples[:shown]))
    console.print(table)
    if shown < len(samples):
        console.print(f"\n{shown} of {len(samples)} samples fit here; `--json` shows all.")
    return 0


def show_explanation(paths: Sequence[str], format: str | None, epoch: Epoch, as_json: bool) -> int:
    """Show what an epoch over the data set as it is would cost."""
    check_whole("--world-size", epoch.world_size, least=1)
    loader = open_paths(paths, format).loader(
        epoch.batch_size,
        shuffle=epoch.shuffle,
        seed=epoch.seed,
        world=World(0, epoch.world_size),
        output="arrow",
    )
    explanation = loader.explain()
    if as_json:
        write_json(explanation.as_dict() | {"seed": epoch.seed})
        return 0
    console = make_console()
    table = make_table(("an epoch", ""))
    for name, value in explanation.as_dict().items():
        if name != "advice":
            table.add_row(name.replace("_", " "), _measure(name, value))
    console.print(table)
    for advice in explanation.advice:
        console.print(f"\n{advice[0].upper()}{advice[1:]}.")
    return 0


_TITLES = {
    "row_groups": "row groups",
    "bytes": "size on disk",
    "decoded_bytes": "size decoded, about",
    "format": "written as",
    "partition_by": "partitioned by",
    "recipe": "what was done",
    "artifacts": "fitted pipelines",
}


def type_name(kind: pa.DataType) -> str:
    """Name a column's type.

    Example:
        >>> type_name(pa.int64()), type_name(pa.fixed_shape_tensor(pa.uint8(), [28, 28]))
        ('int64', 'uint8[28, 28]')
    """
    if isinstance(kind, pa.FixedShapeTensorType):
        return f"{kind.value_type}{list(kind.shape)}"
    return str(kind)


def open_paths(paths: Sequence[str], format: str | None) -> Dataset:
    """Open what the command line names."""
    return open_dataset(paths[0] if len(paths) == 1 else paths, format)


def _written(paths: Sequence[str]) -> dict[str, Any]:
    """Tell what the manifest of a written data set says of how it came about; nothing of other data."""
    found = written_folder(paths[0]) if len(paths) == 1 else None
    if found is None:
        return {}
    manifest = found.manifest
    return {
        "format": manifest.format,
        "partition_by": list(manifest.partition_by),
        "recipe": list(manifest.recipe),
        "artifacts": list(manifest.artifacts),
    }


def _column_table(schema: pa.Schema) -> Table:
    table = make_table(("column", "type"))
    for field in list(schema)[:_COLUMNS_SHOWN]:
        table.add_row(field.name, type_name(field.type))
    _add_rest(table, len(schema) - _COLUMNS_SHOWN, 1)
    return table


def _shard_table(shards: Sequence[Shard], sizes: Sequence[int]) -> Table:
    table = make_table(("shard", "samples", "row groups", "size"), right=("samples", "row groups", "size"))
    for shard, nbytes in list(zip(shards, sizes, strict=True))[:_SHARDS_SHOWN]:
        table.add_row(shard.name, f"{shard.samples:,}", f"{len(shard.rows):,}", size(nbytes))
    _add_rest(table, len(shards) - _SHARDS_SHOWN, 3)
    return table


def _add_rest(table: Table, count: int, cells: int) -> None:
    if count > 0:
        table.add_row(f"and {count:,} more", *([""] * cells))


def _natural_width(console: Console, table: Table) -> int:
    """How wide a table is that may be as wide as it likes."""
    return console.measure(table, options=console.options.update(width=1 << 16)).maximum


def _cell(value: Any, longest: int) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _measure(name: str, value: Any) -> str:
    if name in ("row_bytes", "peak_memory"):
        return size(value)
    if isinstance(value, float):
        return f"{value:.0%}" if name == "mixing" else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
