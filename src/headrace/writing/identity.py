"""What an output follows from, by name, and what each of its shards follows from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.execution.recipe import Recipe, needs_ids
from headrace.fingerprint import digest, digest_now
from headrace.prepare.base import Step
from headrace.prepare.chain import Chain
from headrace.prepare.step import PrepareStep
from headrace.prepare.steps.decode import DecodeImage
from headrace.version import __version__
from headrace.writing.contents import recipes_of
from headrace.writing.cutting import Cutting, ShardPlan
from headrace.writing.formats.base import FormatOptions
from headrace.writing.rows import Rows

_VERSION = 1  # of how rows become files
_WRITERS = {
    "parquet": ("pyarrow",),
    "arrow": ("pyarrow",),
    "hdf5": ("h5py",),
    "lmdb": ("lmdb", "msgpack"),
    "tfrecord": ("msgpack",),
}


def versions_of(format: str, recipe: Recipe) -> dict[str, str]:
    """Return the versions of what computes, decodes and writes."""
    steps = [step for one in recipes_of(recipe) for step in steps_of(one)]
    decoders = ("pillow",) if any(isinstance(step, DecodeImage) for step in steps) else ()
    names = sorted({"numpy", "polars", "pyarrow", *decoders, *_WRITERS[format]})
    return {"headrace": __version__} | {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def describe(recipe: Recipe) -> tuple[str, ...]:
    """Say what is done to the samples, a line for each step."""
    random = () if recipe.augment is None else recipe.augment.ops
    lines = [_line(step) for step in steps_of(recipe)]
    if recipe.pack is not None:
        lines.append(f"Pack({', '.join(recipe.pack.groups)})")
    return (*lines, *(_line(op) for op in random))


def steps_of(recipe: Recipe) -> list[Step | PrepareStep]:
    """Return the steps, those of pipelines one by one."""
    return [step for one in recipe.steps for step in (one.steps if isinstance(one, Chain) else (one,))]


def _line(step: object) -> str:
    columns = getattr(step, "columns", None)
    names = [columns] if isinstance(columns, str) else columns
    listed = isinstance(names, Sequence) and all(isinstance(name, str) for name in names)
    return f"{type(step).__name__}({', '.join(names) if listed and names else ''})"


def identity_of(
    rows: Rows,
    cutting: Cutting,
    format: str,
    options: FormatOptions,
    partition_by: Sequence[str],
    contents: Sequence[str],
) -> dict[str, str]:
    """Return what the output follows from, by the name of each part; contents are those of input shards."""
    order, recipe = rows.order, rows.recipe
    plan = order.plan
    mixing = () if plan.mixing is None else (plan.mixing,)
    drawn = plan.seed if recipe.augment is not None or plan.shuffle else None
    versions = versions_of(format, recipe)
    return {
        "source": digest(plan.manifest.fingerprint, list(contents)),
        "selection": plan.selection.fingerprint,
        "recipe": _recipe_now(recipe),
        "order": digest(plan.shuffle, drawn, order.views, *mixing),
        "format": digest(_VERSION, format, options),
        "layout": digest(cutting, list(partition_by)),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _recipe_now(recipe: Recipe) -> str:
    """Digest what is done to samples, with each function as it is at this moment, and to which columns.

    What a step makes depends on its columns' types, which another shard may change for all of them.
    """
    done: list[object] = []
    for one in recipes_of(recipe):
        types = [(field.name, str(field.type), field.nullable) for field in one.source.schema]
        done.append((types, one.fingerprint, one.steps, one.pack, one.augment))
    return digest_now("recipe", done)


def shard_keys(
    shards: Sequence[ShardPlan],
    rows: Rows,
    schema: pa.Schema,
    identity: Mapping[str, str],
    contents: Sequence[str],
) -> list[str]:
    """Digest what each shard's contents follow from; equal keys, equal bytes, also in another output."""
    plan, recipe = rows.order.plan, rows.recipe
    common = digest(
        identity["format"], identity["versions"], identity["recipe"], schema.serialize().to_pybytes()
    )
    if not rows.order.is_sorted or rows.order.partner is not None:
        whole = digest(common, dict(identity))
        return [digest(whole, shard.name, shard.begin, shard.end, shard.group_rows) for shard in shards]
    parts = list(recipes_of(recipe))
    by_id = recipe.augment is not None or any(needs_ids(one.steps) for one in parts)
    if by_id and len(parts) > 1:  # a part counts its samples by itself
        common = digest(common, plan.manifest.fingerprint)
    edges = np.cumsum([0, *(shard.samples for shard in plan.manifest.shards)])
    return [
        digest(
            common, shard.group_rows, identity["order"], list(_segments(shard, rows, edges, by_id, contents))
        )
        for shard in shards
    ]


def _segments(
    shard: ShardPlan, rows: Rows, edges: NDArray[np.int64], by_id: bool, contents: Sequence[str]
) -> list[object]:
    """Say which samples of which input shards, in which epoch; and what else their draws depend on."""
    order = rows.order
    count, found = order.plan.count, list[object]()
    for view in range(shard.begin // max(count, 1), -(-shard.end // max(count, 1))):
        places = np.arange(max(shard.begin - view * count, 0), min(shard.end - view * count, count))
        ids = order.ids(view, places)
        repeats = order.plan.repeats_at(places) if rows.recipe.augment is not None else None
        if repeats is not None and np.any(repeats):
            found.append(digest(repeats))
        owners = np.searchsorted(edges, ids, side="right") - 1
        cuts = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(ids)]
        for begin, end in pairwise(cuts):
            first = int(edges[owners[begin]])
            here = ids[begin:end] - first
            is_run = int(here[-1]) - int(here[0]) + 1 == len(here) and bool(np.all(np.diff(here) == 1))
            which = (int(here[0]), len(here)) if is_run else digest(here)
            found.append((contents[owners[begin]], which, view, first if by_id else None))
    return found
