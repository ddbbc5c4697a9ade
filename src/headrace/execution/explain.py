"""What an epoch will cost, told before it is paid."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.execution.cached import CachedRecipe
from headrace.execution.direct import TASK_BYTES, TASK_ROWS
from headrace.execution.foreseen import augmented_bytes
from headrace.execution.recipe import Recipe
from headrace.execution.stream import room_ahead
from headrace.execution.whole import find_in_memory
from headrace.execution.workshop import StreamOptions
from headrace.planning.plan import Plan
from headrace.planning.world import World
from headrace.prepare.pack import Pack
from headrace.prepare.ragged import is_list

# What a decoding thread keeps resident, as a multiple of its row group: pages, dictionaries, scratch
# memory, and what the allocator holds on to between row groups; measured with zstd.
DECODING_FACTOR = 4
_PLAN_BYTES = 24  # a planned row: its row, its step, its slot
_GOOD_SHARE = 0.1
_STEPS_TRIED = 64
_TEXT_BYTES = 32

_ROW_GROUPS, _CACHED_GROUPS = "row groups", "row groups, cached"
_CACHED_ARRAYS, _MEMORY = "cached arrays", "arrays in memory"
_GATHERED = (_CACHED_ARRAYS, _MEMORY)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The cost and the quality of an epoch.

    Attributes:
        samples: Samples of an epoch, over all ranks.
        steps: Steps of an epoch.
        batch_size: Samples of one rank's full batch.
        world_size: How many ranks.
        row_groups: How many row groups the data set has.
        shuffle: The order and its settings.
        rows_from: Where batches take their rows from: `"row groups"`, `"row groups, cached"` where a cache is
            to be filled or has them one by one, `"cached arrays"` or `"arrays in memory"`.
        read_amplification: How often a row group is decoded in an epoch, over all ranks: never where rows
            come from arrays, and once in the epoch that fills a cache.
        open_row_groups: Row groups that one rank mixes at a time.
        mixing: Share of all samples that a sample can meet in its batch: 1.0 is a perfect
            shuffle, 0.0 none.
        row_bytes: Bytes of one delivered sample.
        peak_memory: Bytes that the loader will hold at its fullest, beyond what the process held
            before it, for a consumer that keeps no batches. Pages of a mapped cache do not count, as the
            system takes them back when it needs them.
        advice: What to change.
    """

    samples: int
    steps: int
    batch_size: int
    world_size: int
    row_groups: int
    shuffle: str
    rows_from: str
    read_amplification: float
    open_row_groups: float
    mixing: float
    row_bytes: int
    peak_memory: int
    advice: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON types."""
        return asdict(self) | {"advice": list(self.advice)}

    def __str__(self) -> str:
        rows = [
            (name.replace("_", " "), _shown(name, value))
            for name, value in asdict(self).items()
            if name != "advice"
        ]
        lines = [f"{name:<20} {value}" for name, value in rows]
        return "\n".join([*lines, *(f"- {line}" for line in self.advice)])


def explain(recipe: Recipe, plan: Plan, world: World, options: StreamOptions) -> Explanation:
    """Foretell an epoch from its plan alone."""
    manifest, order = plan.manifest, plan.order
    counts = plan.samples.counts(manifest.starts)
    groups = max(int(np.count_nonzero(counts)), 1)
    open_groups = min(order.open_samples / max(plan.count, 1), 1.0) * groups
    rows_from = _rows_from(recipe)
    amplification = _decodings(rows_from, _amplification(plan, world) * order.passes)
    mixing = (
        0.0 if order.name == "source" else 1.0 if order.name == "global" else min(open_groups / groups, 1.0)
    )
    gathered, (before, after) = _row_bytes(recipe), augmented_bytes(recipe)
    partners = 2 if recipe.augment is not None and recipe.augment.partner is not None else 1
    open_memory = (
        _batches_memory(plan, world, options, gathered)
        if rows_from in _GATHERED
        else _peak_memory(recipe, plan, world, options, gathered)
    )
    return Explanation(
        samples=plan.count,
        steps=plan.steps(world),
        batch_size=plan.batch_size(0, world) if plan.steps(world) else 0,
        world_size=world.size,
        row_groups=len(manifest),
        shuffle=order.name,
        rows_from=rows_from,
        read_amplification=amplification,
        open_row_groups=open_groups / world.size,
        mixing=mixing,
        row_bytes=gathered - before + after,
        peak_memory=open_memory * partners + _batches_memory(plan, world, options, after),
        advice=(
            *_advice_on_reads(
                recipe, rows_from, order.passes, amplification, gathered * plan.samples.set.count
            ),
            *_advice_on_mixing(mixing, order.name, groups),
            *_notes(recipe),
        ),
    )


def _rows_from(recipe: Recipe) -> str:
    """Where batches take their rows from, as far as a store shows that has been opened already."""
    if isinstance(recipe, CachedRecipe):
        return _CACHED_ARRAYS if recipe.is_whole else _CACHED_GROUPS
    return _ROW_GROUPS if find_in_memory(recipe) is None else _MEMORY


def _decodings(rows_from: str, amplification: float) -> float:
    """How often a row group is decoded, if it were so often by reads alone."""
    return 0.0 if rows_from in _GATHERED else 1.0 if rows_from == _CACHED_GROUPS else amplification


def _amplification(plan: Plan, world: World) -> float:
    """How many ranks decode a row group, on average.

    A rank decodes the lanes that its slices of the global batches touch. Where a slice begins
    inside a lane depends on the step, so the first steps are tried.
    """
    cut, lanes = plan.cut(world), plan.order.lanes
    edges = np.arange(world.size + 1) * cut.size // world.size
    touched = np.zeros((world.size, lanes), np.bool_)
    for step in range(min(cut.steps - (cut.last_size < cut.size), _STEPS_TRIED)):
        begin, end = cut.bounds(step)
        counts = np.bincount(np.arange(begin, end) % lanes, minlength=lanes)
        ends = np.cumsum(counts)
        first = np.searchsorted(ends, edges[:-1], side="right")
        last = np.searchsorted(ends, edges[1:] - 1, side="right")
        touched |= (np.arange(lanes) >= first[:, None]) & (np.arange(lanes) <= last[:, None])
    return max(float(touched.sum()) / lanes, 1.0)


def _batches_memory(plan: Plan, world: World, options: StreamOptions, row_bytes: int) -> int:
    """The batches that are prepared ahead, one under way in each thread, and the consumer's own."""
    batch = plan.batch_size(0, world) if plan.steps(world) else 0
    task = max(batch, min(TASK_ROWS, TASK_BYTES // max(row_bytes, 1)))
    ahead = max(options.ahead * batch, task) if options.threads else 0
    return (ahead + task * (options.threads + 1)) * row_bytes


def _peak_memory(recipe: Recipe, plan: Plan, world: World, options: StreamOptions, row_bytes: int) -> int:
    """Open batches, the reads that fill them, and the row groups that the threads are decoding."""
    sizes, counts = plan.manifest.nbytes, np.diff(plan.manifest.starts)
    batch = plan.batch_size(0, world) if plan.steps(world) else 0
    window = plan.open_samples(world)
    room = room_ahead(window, int(counts.max(initial=0)), batch, options)
    # A quick consumer leaves one window open, a slow one as many samples as there is room for.
    open_rows = min((window + room) // 2, plan.count)
    decoding = int(sizes.max(initial=0) * _share_read(recipe) * DECODING_FACTOR) * max(options.threads, 1)
    return open_rows * row_bytes + min(window, plan.count) * _PLAN_BYTES + decoding


def _share_read(recipe: Recipe) -> float:
    """Which share of a row group's bytes the decoded columns hold."""
    schema = recipe.source.schema
    widths = {field.name: _width(field.type) for field in schema}
    return sum(widths[name] for name in recipe.decoded) / max(sum(widths.values()), 1)


def _row_bytes(recipe: Recipe) -> int:
    """Bytes of one delivered sample, its id included."""
    kinds = {field.name: field.type for field in recipe.schema}
    id_bytes = np.dtype(np.int64).itemsize
    if recipe.pack is None:
        return sum(map(_width, kinds.values())) + id_bytes
    widths = [
        _packed_width(recipe.pack, name, kinds[column])
        for name, group in recipe.pack.groups.items()
        for column in ([group] if isinstance(group, str) else group)
    ]
    return sum(widths) + id_bytes


def _packed_width(pack: Pack, name: str, kind: pa.DataType) -> int:
    """Bytes of one sample of an array, with its length where it is padded."""
    values = None if pack.padding is None else pack.padding.width_of(name)
    if values is None or not is_list(kind):
        return _width(kind)
    return values * _width(kind.value_type) + np.dtype(np.int64).itemsize


def _width(kind: pa.DataType) -> int:
    if isinstance(kind, pa.FixedShapeTensorType):
        return int(np.prod(kind.shape)) * _width(kind.value_type)
    try:
        return max(kind.bit_width // 8, 1)
    except ValueError:
        return _TEXT_BYTES


def _advice_on_reads(
    recipe: Recipe, rows_from: str, passes: int, amplification: float, nbytes: int
) -> list[str]:
    if rows_from == _CACHED_GROUPS:
        limit = None if recipe.cache is None else recipe.cache.limit
        if limit is not None and limit < nbytes:
            return [
                f"the cache may keep {limit:,} of {nbytes:,} bytes, so the other row groups are decoded in "
                "every epoch; raise `limit`"
            ]
        return [
            "the first epoch fills the cache, as far as it is not filled yet; `ds.materialize()` does so "
            "beforehand"
        ]
    if rows_from == _ROW_GROUPS and passes > 1:
        return [
            f'shuffle="global" decodes each row group {passes} times an epoch; `ds.cache(...)` decodes it '
            "once and takes all later epochs from arrays, and shuffle=True decodes it once an epoch"
        ]
    if rows_from == _ROW_GROUPS and amplification > 1:
        return [
            f"ranks share row groups, so each is decoded {amplification:.2f} times; choose lanes in "
            "`hr.BlockShuffle(lanes=...)` that are a multiple of the world size and divide the global batch"
        ]
    return []


def _advice_on_mixing(mixing: float, order: str, groups: int) -> list[str]:
    if order.startswith("block") and groups > 1 and mixing < _GOOD_SHARE:
        return [
            f"a sample meets {mixing:.0%} of the others; a larger `hr.BlockShuffle(window=...)` mixes more "
            "and takes more memory"
        ]
    return []


def _notes(recipe: Recipe) -> tuple[str, ...]:
    """What the source has to say, such as a format without checksums."""
    return tuple(getattr(recipe.source, "notes", ()))


def _shown(name: str, value: Any) -> str:
    if name in ("peak_memory", "row_bytes"):
        return f"{value:,} bytes"
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
