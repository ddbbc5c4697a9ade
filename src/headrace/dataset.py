"""Dataset: the immutable recipe. Each verb returns a new one; nothing is read before it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.batch import Batch
from headrace.errors import OptionError, UnknownColumnError, UnknownSampleError, check_whole
from headrace.execution.build import build_batch
from headrace.execution.executors import Executor, Threads
from headrace.execution.recipe import Recipe
from headrace.fingerprint import digest
from headrace.loader import Loader, LoaderOptions, OnError, Output
from headrace.manifest import Manifest
from headrace.planning.batching import Batching, Tail
from headrace.planning.mixing import Mixing
from headrace.planning.order import Shuffle, check_shuffle
from headrace.planning.plan import BatchPlan, Plan
from headrace.planning.selection import Selection
from headrace.planning.world import World
from headrace.prepare.base import Step
from headrace.prepare.columns import Drop, Map, Rename, Select, WithColumns
from headrace.prepare.pack import Pack
from headrace.prepare.padding import Padding, PadTo
from headrace.selecting.verbs import SampleVerbs
from headrace.sources.base import Source

if TYPE_CHECKING:
    import polars as pl

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset(SampleVerbs):
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
        return self.selection.ids()

    def __len__(self) -> int:
        """How many samples take part."""
        return self.selection.count

    def __repr__(self) -> str:
        names = self.recipe.names
        columns = "columns known when read" if names is None else ", ".join(names)
        return f"Dataset({len(self):,} samples in {len(self.manifest):,} row groups: {columns})"

    # What values: deterministic, row group by row group

    def select(self, columns: Sequence[str]) -> Dataset:
        """Keep these columns, in this order; others are not even read.

        Example:
            >>> import headrace as hr
            >>> hr.from_arrays({"a": [1], "b": [2]}).select(["b"]).schema.names
            ['b']
        """
        return self._with(Select(_names(columns)))

    def drop(self, columns: Sequence[str]) -> Dataset:
        """Leave these columns out; they are not even read."""
        return self._with(Drop(_names(columns)))

    def rename(self, mapping: Mapping[str, str]) -> Dataset:
        """Give columns new names: old name to new name."""
        return self._with(Rename(dict(mapping)))

    def with_columns(self, *expressions: pl.Expr | Iterable[pl.Expr], **named: Any) -> Dataset:
        """Add or replace columns by Polars expressions that look at one row at a time.

        Raises:
            OptionError: An expression looks at several rows, such as a mean or a shift; it
                would see one row group and not the data set.

        Example:
            >>> import headrace as hr, polars as pl
            >>> ds = hr.from_arrays({"a": [1, 2]}).with_columns(double=pl.col("a") * 2)
            >>> ds.to_polars()["double"].to_list()
            [2, 4]
        """
        return self._with(WithColumns(_expressions(expressions, named)))

    def map(self, function: Callable[[pl.DataFrame], pl.DataFrame], version: str | None = None) -> Dataset:
        """Send each row group's frame through a function.

        Args:
            function: Takes and returns a Polars frame and keeps the number of rows. It must be
                deterministic and thread-safe.
            version: Stands for the function in the fingerprint, where it closes over what
                cannot be identified by value.

        Raises:
            FingerprintError: The function cannot be identified and no `version` was given.
        """
        return self._with(Map(function, version))

    def prepare(self, *steps: Step) -> Dataset:
        """Apply steps that turn columns into others, such as `hr.DecodeImage` or `hr.Tokens`.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"text": ["ab", ""]}).prepare(hr.Tokens("text", into="ids"))
            >>> ds.to_polars()["ids"].to_list()
            [[97, 98], []]
        """
        if not steps:
            raise OptionError('`prepare` needs at least one step, like `prepare(hr.Tokens("text"))`')
        prepared = self
        for step in steps:
            if isinstance(step, type) or not isinstance(step, Step):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise OptionError(f'`prepare` takes steps, like `hr.DecodeImage("image")`, got {step!r}')
            prepared = prepared._with(step)
        return prepared

    def pack(
        self,
        *,
        null_mask: bool = False,
        dtype: str | Mapping[str, str] | None = None,
        pad_to: PadTo | Mapping[str, PadTo] | None = None,
        pad_value: float | Mapping[str, float] | None = None,
        truncate: bool = False,
        **groups: str | Sequence[str],
    ) -> Dataset:
        """Lay columns out as arrays, and deliver those alone: the last of the deterministic verbs.

        Args:
            null_mask: Adds `<name>_null_mask` to each array, True where a value was null.
            dtype: One dtype for all arrays, or one by name; by default the smallest NumPy dtype
                that holds all of an array's columns.
            pad_to: Lays lists of numbers out as [n, pad_to], or as wide as the `"longest"` of each
                batch, and adds their lengths as `<name>_length`; one for all lists or one by name
                of the array. A longer list is an error.
            pad_value: What stands behind a list's values, 0 by default; one for all or by name.
            truncate: Cuts lists that are longer than `pad_to`.
            groups: Name of the array to one column (shape [n]) or several (shape [n, k]).

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"a": [1.0, 2.0], "b": [3.0, 4.0], "tokens": [[5], [6, 7]]})
            >>> batch = ds.pack(x=["a", "b"], tokens="tokens", pad_to=3).take([1])
            >>> batch["x"].tolist(), batch["tokens"].tolist(), batch["tokens_length"].tolist()
            ([[2.0, 4.0]], [[6, 7, 0]], [2])
        """
        self._check_unpacked("pack")
        arrays = {name: group if isinstance(group, str) else tuple(group) for name, group in groups.items()}
        by_name = dict.fromkeys(arrays, dtype) if isinstance(dtype, str) else dtype
        if pad_to is None and (pad_value is not None or truncate):
            raise OptionError("`pad_value` and `truncate` need `pad_to`, which says how long lists become")
        padding = None if pad_to is None else Padding(pad_to, 0 if pad_value is None else pad_value, truncate)
        pack = Pack(arrays, null_mask, by_name, padding)
        self._check_names(pack.columns)
        return replace(self, recipe=replace(self.recipe, pack=pack))

    # Which samples

    def rows(self, ids: Ids | Sequence[int]) -> Dataset:
        """Take the samples with these ids, in this order; repeats are allowed. A mix ends here.

        Raises:
            UnknownSampleError: An id does not take part in this data set.
        """
        return replace(self, selection=self._select(ids), mixing=None)

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
        chosen = self._select(ids).ids()
        return build_batch(self.recipe, BatchPlan(0, 0, chosen))

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
        ids = self.selection.ids()
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
        device: str = "cpu",
        output: Output = "torch",
        threads: int | None = None,
        ahead: int = 2,
        on_error: OnError = "raise",
        with_ids: bool = False,
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
            device: `"cpu"`.
            output: `"torch"`, `"numpy"` or `"arrow"`.
            threads: Threads that read and prepare; None picks from the cores, 0 works in the
                calling thread.
            ahead: Batches prepared ahead of the consumer.
            on_error: `"raise"`, or `"skip"` to leave out row groups that cannot be read.
            with_ids: Adds each sample's id under the key "sample_id".

        Raises:
            OptionError: An argument cannot be right, or there are fewer samples than ranks.
        """
        if device != "cpu":
            raise OptionError(f'`device` must be "cpu", got {device!r}')
        check_whole("seed", seed)
        if drop_last and tail not in (None, "drop"):
            raise OptionError(f'`drop_last=True` means `tail="drop"`, got {tail=} beside it')
        batching = Batching(batch_size, global_batch_size, "drop" if drop_last else tail or "keep")
        shuffle = check_shuffle(shuffle)
        plan = Plan(self.manifest, self.selection, shuffle, batching, seed, mixing=self.mixing)
        options = LoaderOptions(_world(world, num_replicas, rank), output, threads, ahead, on_error, with_ids)
        return Loader(self.recipe, plan, options)

    def to_torch_map(self) -> Any:
        """Return a map-style `torch.utils.data.Dataset`, for torch's own samplers."""
        from headrace.torch import TorchMap

        return TorchMap(self)

    def _with(self, step: Step) -> Dataset:
        self._check_unpacked(type(step).__name__)
        names = self.recipe.names
        if names is not None:
            step.output_names(names)
        return replace(self, recipe=replace(self.recipe, steps=(*self.recipe.steps, step)))

    def _check_unpacked(self, verb: str) -> None:
        if self.recipe.pack is not None:
            raise OptionError(
                f"`{verb}` must come before `pack`, which is the last of the deterministic verbs"
            )

    def _check_names(self, wanted: Iterable[str]) -> None:
        names = self.recipe.names
        missing = [] if names is None else sorted(set(wanted) - set(names))
        if missing:
            raise UnknownColumnError.from_names(missing, names or (), "the data set")

    def _select(self, ids: Ids | Sequence[int]) -> Selection:
        chosen = Selection.of(ids, self.manifest.total)
        foreign = (chosen - self.selection).ids()
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


def _names(columns: Sequence[str]) -> tuple[str, ...]:
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    if len(set(names)) != len(names):
        raise OptionError(f"each column can be named once, got {names}")
    return names


def _expressions(expressions: Iterable[Any], named: Mapping[str, Any]) -> tuple[pl.Expr, ...]:
    import polars as pl

    flat: list[Any] = []
    for expression in expressions:
        flat.extend(expression if isinstance(expression, (list, tuple)) else [expression])
    flat.extend(
        (value if isinstance(value, pl.Expr) else pl.lit(value)).alias(name) for name, value in named.items()
    )
    for expression in flat:
        if not isinstance(expression, pl.Expr):
            raise OptionError(
                f"`with_columns` takes Polars expressions such as `pl.col(...) * 2`, got {expression!r}"
            )
    return tuple(flat)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
