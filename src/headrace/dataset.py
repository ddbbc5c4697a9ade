"""Dataset: the immutable recipe. Each verb returns a new one; nothing is read before it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.batch import Batch
from headrace.caching import CacheVerbs
from headrace.dedup.verbs import DedupVerbs
from headrace.devices import find_device
from headrace.errors import OptionError, UnknownSampleError, check_whole
from headrace.execution.build import build_batch
from headrace.execution.cached import CachedRecipe
from headrace.execution.executors import Executor, Threads
from headrace.execution.measure import measure_lengths
from headrace.execution.options import Host, LoaderOptions, OnError, Output
from headrace.execution.recipe import Recipe
from headrace.fingerprint import digest
from headrace.index.verbs import IndexVerbs
from headrace.loader import Loader
from headrace.manifest import Manifest
from headrace.planning.batching import Batching, Tail
from headrace.planning.buckets import Buckets
from headrace.planning.lengths import Lengths
from headrace.planning.mixing import Mixing
from headrace.planning.order import Shuffle, check_shuffle
from headrace.planning.plan import BatchPlan, Plan
from headrace.planning.selection import Selection
from headrace.planning.world import World
from headrace.selecting.dask_verbs import DaskVerbs
from headrace.selecting.split_verbs import SplitVerbs
from headrace.selecting.verbs import SampleVerbs
from headrace.sources.base import Source
from headrace.values import ValueVerbs
from headrace.writing.verbs import WriteVerbs

if TYPE_CHECKING:
    import polars as pl

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset(ValueVerbs, SampleVerbs, SplitVerbs, IndexVerbs, DedupVerbs, CacheVerbs, WriteVerbs, DaskVerbs):
    """Samples and what is done to them, as a value.

    Immutable, thread-safe, and picklable if its functions are. Make one with `hr.open`,
    `hr.from_arrays`, `hr.from_arrow` or `hr.from_polars`.

    Example:
        >>> import headrace as hr, polars as pl
        >>> ds = hr.from_arrays({"a": [1, 2, 3], "b": [4.0, 5.0, 6.0]})
        >>> ds = ds.with_columns((pl.col("a") * 10).alias("tens")).select(["tens", "b"])
        >>> ds.take([2, 0])["tens"].tolist()
        [30, 10]
    """

    recipe: Recipe
    selection: Selection
    mixing: Mixing | None = None

    @staticmethod
    def of(source: Source) -> Dataset:
        """Take all samples of a source as they are."""
        return Dataset(Recipe(source), Selection(source.manifest.total))

    @property
    def manifest(self) -> Manifest:
        """The shards and row groups."""
        return self.recipe.source.manifest

    @property
    def schema(self) -> pa.Schema:
        """The columns and their types, before `pack`; N-d columns are fixed-shape tensors."""
        return self.recipe.schema

    @cached_property
    def fingerprint(self) -> str:
        """Digest of data, selection and recipe; independent of paths.

        Raises:
            FingerprintError: A function of the recipe cannot be identified by value.
        """
        mixing = () if self.mixing is None else (self.mixing,)
        return digest(self.manifest.fingerprint, self.selection.fingerprint, self.recipe.fingerprint, *mixing)

    @property
    def sample_ids(self) -> Ids:
        """The samples' fixed numbers, int64 of shape [n], as a fresh array."""
        return self.selection.ids

    def __len__(self) -> int:
        """How many samples take part."""
        return self.selection.count

    def __repr__(self) -> str:
        names = self.recipe.names
        columns = "columns known when read" if names is None else ", ".join(names)
        return f"Dataset({len(self):,} samples in {len(self.manifest):,} row groups: {columns})"

    # Which samples

    def rows(self, ids: Ids | Sequence[int]) -> Dataset:
        """Take the samples with these ids, in this order; repeats are allowed. A mix ends here.

        Raises:
            UnknownSampleError: An id does not take part in this data set.
        """
        return replace(self, selection=self._select(ids), mixing=None)

    def with_recipe(self, recipe: Recipe) -> Dataset:
        """Do something else to the same samples."""
        return replace(self, recipe=recipe)

    def with_selection(self, selection: Selection) -> Dataset:
        """Return the same recipe over other samples of the manifest."""
        return replace(self, selection=selection)

    # Looking at it

    def head(self, n: int = 5) -> pl.DataFrame:
        """Return the first n samples as a Polars frame, before `pack`."""
        return self.rows(self.sample_ids[: max(n, 0)]).to_polars()

    def take(self, ids: Ids | Sequence[int]) -> Batch:
        """Read the samples with these ids, in this order, as a `Batch`.

        Raises:
            UnknownSampleError: An id does not take part in this data set.
        """
        chosen = self._select(ids).ids
        return build_batch(self._bound, BatchPlan(0, 0, chosen))

    def to_arrow(self, executor: Executor | None = None) -> pa.Table:
        """Read everything into one Arrow table, before `pack`, nulls included."""
        selection = self.selection.by_id
        counts = selection.counts(self.manifest.starts)
        wanted = [self.manifest[int(number)] for number in np.flatnonzero(counts)]
        tables = [
            pa.Table.from_batches([batch])
            for batch in (executor or Threads()).map(self.recipe.frame, wanted, ahead=len(wanted))
        ]
        if not tables:
            return self.schema.empty_table()
        table = pa.concat_tables(tables)
        if self.selection.count == self.manifest.total and self.selection.listed is None:
            return table
        first = np.array([row_group.first for row_group in wanted])
        before = np.cumsum([0, *(row_group.rows for row_group in wanted)])[:-1]
        ids = self.selection.ids
        place = np.searchsorted(first, ids, side="right") - 1
        return table.take(pa.array(ids - first[place] + before[place]))

    def to_polars(self, executor: Executor | None = None) -> pl.DataFrame:
        """Read everything into one Polars frame, before `pack`, nulls included."""
        from headrace.prepare.base import to_frame

        table = self.to_arrow(executor).combine_chunks()
        return to_frame(
            pa.RecordBatch.from_arrays([_flat(column) for column in table.columns], schema=table.schema)
        )

    # Into the training loop

    def loader(  # noqa: PLR0913  the names that users of torch know; each is one word of the contract
        self,
        batch_size: int = 1,
        *,
        shuffle: Shuffle = False,
        seed: int = 0,
        drop_last: bool = False,
        tail: Tail | None = None,
        global_batch_size: int | None = None,
        world: World | None = None,
        num_replicas: int | None = None,
        rank: int | None = None,
        device: object = "cpu",
        output: Output = "torch",
        threads: int | None = None,
        ahead: int = 2,
        on_error: OnError = "raise",
        with_ids: bool = False,
        reuse: bool = False,
        host: Host = "thread",
        batch_by: str | None = None,
        bucket_by: str | Buckets | None = None,
    ) -> Loader:
        """Make a loader of batches.

        Args:
            batch_size: Samples of each rank's batch.
            shuffle: True for `hr.BlockShuffle()`, `"global"`, or False for the data's order.
            seed: Chooses the order, together with the epoch.
            drop_last: The same as `tail="drop"`.
            tail: What happens to the samples that do not fill a step: `"keep"` (default),
                `"drop"`, or `"pad"`, which repeats samples and marks them in `is_padding`.
            global_batch_size: Samples of a step over all ranks, instead of `batch_size`.
            world: Which rank of how many; detected at the first use by default.
            num_replicas: With `rank`, another way to say `world`.
            rank: See `num_replicas`.
            device: `"cpu"`, `"cuda"`, `"cuda:1"` or a `torch.device`: where batches are delivered and
                augmented.
            output: `"torch"`, `"numpy"` or `"arrow"`; on a CUDA device `"torch"` or `"cupy"`.
            threads: Threads that read and prepare; None picks from the cores, 0 works in the
                calling thread.
            ahead: Batches prepared ahead of the consumer.
            on_error: `"raise"`, or `"skip"` to leave out samples that cannot be read, or their row group.
            with_ids: Adds each sample's id under the key "sample_id".
            reuse: On a device, write into the same arrays again: a batch is valid until the one after the
                next is asked for, and fewer bytes are taken. By default every batch is fresh.
            host: `"thread"` computes batches on threads of this process, `"process"` in a process of
                its own, for trainings that threads beside them would slow down. The batches come
                through shared memory and are the same.
            batch_by: A column of lengths that the batch size counts instead of samples: a step
                takes as many samples as fit, and the ranks share its tokens evenly. The column
                is read when the loader is made.
            bucket_by: A column of lengths, or `hr.Buckets(...)`: samples of like length come
                together. Also read when the loader is made.

        Raises:
            OptionError: An argument cannot be right, or there are fewer samples than ranks.
            MissingDependencyError: The device needs CuPy, which is not installed.
        """
        check_whole("seed", seed)
        if drop_last and tail not in (None, "drop"):
            raise OptionError(f'`drop_last=True` means `tail="drop"`, got {tail=} beside it')
        batching = Batching(batch_size, global_batch_size, "drop" if drop_last else tail or "keep")
        shuffle = check_shuffle(shuffle)
        if batch_by is not None and batching.tail == "pad":
            raise OptionError('`batch_by` goes with tail="keep" or "drop"; steps of tokens are not padded')
        buckets = Buckets(bucket_by) if isinstance(bucket_by, str) else bucket_by
        plan = Plan(
            self.manifest,
            self.selection,
            shuffle,
            batching,
            seed,
            mixing=self.mixing,
            batch_by=None if batch_by is None else self._lengths(batch_by),
            bucket_by=None if buckets is None else (buckets, self._lengths(buckets.column)),
        )
        options = LoaderOptions(
            _world(world, num_replicas, rank),
            output,
            threads,
            ahead,
            on_error,
            with_ids,
            device=find_device(device, output, reuse),
            reuse=reuse,
            host=host,
        )
        return Loader(self.recipe, plan, options)

    @cached_property
    def _bound(self) -> Recipe:
        """The recipe with its cache, if it has one."""
        return CachedRecipe.of(self.recipe, self.selection)

    def _lengths(self, column: str) -> Lengths:
        self.check_names([column])
        return measure_lengths(self.recipe, self.selection, column)

    def to_torch_map(self, seed: int = 0) -> Any:
        """Return a map-style `torch.utils.data.Dataset`, for torch's own samplers.

        Args:
            seed: What augmentations draw by, together with the epoch that its `set_epoch` says.
        """
        from headrace.torch import TorchMap

        return TorchMap(self, seed)

    def _select(self, ids: Ids | Sequence[int]) -> Selection:
        chosen = Selection.of(ids, self.manifest.total)
        foreign = (chosen - self.selection).ids
        if len(foreign):
            raise UnknownSampleError(f"sample {int(foreign[0])} does not take part in this data set")
        return chosen


def _world(world: World | None, size: int | None, rank: int | None) -> World | None:
    if size is None and rank is None:
        return world
    if world is not None or size is None or rank is None:
        raise OptionError(
            "give either `world`, or `num_replicas` and `rank` together, got "
            f"{world=}, num_replicas={size}, {rank=}"
        )
    return World(rank, size)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
