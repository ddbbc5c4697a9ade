"""The loader: iterates over an epoch's batches, remembers what it delivered, resumes exactly."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from headrace.batch import Batch
from headrace.errors import ClosedError, OptionError, StateError
from headrace.execution.build import build_batch
from headrace.execution.deliver import to_arrow, to_numpy
from headrace.execution.executors import default_threads
from headrace.execution.explain import Explanation, explain
from headrace.execution.memory import BatchMemory
from headrace.execution.recipe import Recipe
from headrace.execution.stats import Stats, measured
from headrace.execution.stream import StreamOptions, Workshop, stream
from headrace.planning.order import ORDER_VERSION
from headrace.planning.plan import Plan
from headrace.planning.world import World

STATE_VERSION = 1

Output = Literal["torch", "numpy", "arrow"]
OnError = Literal["raise", "skip"]

# Parts of a state that must not change between saving and loading, and what errors call them.
_FIXED_PARTS = {
    "version": "the state's format",
    "order_version": "the version of the order's algorithm",
    "data": "the data",
    "selection": "the selected samples",
    "recipe": "the recipe",
    "seed": "the seed",
    "shuffle": "the shuffle",
}


@dataclass(frozen=True, slots=True)
class LoaderOptions:
    """How batches are delivered, without influence on which samples they hold.

    Attributes:
        world: Which rank of how many; None asks `World.detect()` at the first use.
        output: `"torch"`, `"numpy"` or `"arrow"`.
        threads: Threads that read and prepare; None picks from the cores, 0 works in the
            calling thread.
        ahead: Batches prepared ahead of the consumer, beyond the window of the shuffle.
        on_error: `"raise"`, or `"skip"` to leave out row groups that cannot be read.
        with_ids: Whether each batch carries its samples' ids under the key "sample_id".
    """

    world: World | None = None
    output: Output = "torch"
    threads: int | None = None
    ahead: int = 2
    on_error: OnError = "raise"
    with_ids: bool = False

    def __post_init__(self) -> None:
        if self.output not in ("torch", "numpy", "arrow"):
            raise OptionError(f'`output` must be "torch", "numpy" or "arrow", got {self.output!r}')
        if self.on_error not in ("raise", "skip"):
            raise OptionError(f'`on_error` must be "raise" or "skip", got {self.on_error!r}')
        for name, least in (("threads", 0), ("ahead", 0)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise OptionError(f"`{name}` must be a whole number of at least {least}, got {value!r}")


class Loader:
    """Iterates over the batches of an epoch.

    Every batch is a pure function of (data, recipe, seed, epoch, step). Threads, prefetching
    and interruptions decide when it is computed, never what it holds. A loader is used from one
    thread; iterate over it again for the next epoch.

    Example:
        >>> import headrace as hr
        >>> loader = hr.from_arrays({"x": [1, 2, 3]}).loader(batch_size=2, shuffle=False, output="numpy")
        >>> [batch["x"].tolist() for batch in loader]
        [[1, 2], [3]]
        >>> loader.epoch
        1
    """

    def __init__(self, recipe: Recipe, plan: Plan, options: LoaderOptions) -> None:
        """Bind a recipe to a plan; nothing is read before the first batch is asked for."""
        self._recipe = recipe if options.output != "arrow" else replace(recipe, keep_arrow=True)
        self._plan = plan
        self._options = options
        self._stats = Stats()
        self._memory = BatchMemory()
        self._begin: int | None = None
        self._delivered = (plan.epoch, 0)
        self._closed = False
        self._iterators: weakref.WeakSet[_Iterator] = weakref.WeakSet()
        if plan.count == 0:
            raise OptionError(f"{_name(recipe)}: at least one sample is needed to make batches, got none")
        if options.world is not None:
            self._check_world(options.world)

    @property
    def epoch(self) -> int:
        """The current epoch; finishing it advances it by one, `break` does not."""
        return self._plan.epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch's beginning; for the current one a loaded state is kept."""
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise OptionError(f"an epoch must be a whole number of at least 0, got {epoch!r}")
        if epoch != self._plan.epoch:
            self._plan = replace(self._plan, epoch=epoch)
            self._begin = None
            self._delivered = (epoch, 0)

    def __len__(self) -> int:
        """How many steps a whole epoch has, the same on every rank."""
        return self._plan.at(0).steps(self._world)

    def __iter__(self) -> Iterator[Any]:
        """Start the current epoch at its beginning, or at a loaded state."""
        return self.iterate(0, 1)

    def iterate(self, first: int, stride: int) -> Iterator[Any]:
        """Yield every `stride`-th batch from step `first` of what lies before the loader."""
        self._check_open()
        plan = self._plan.at(self._begin or 0)
        self._begin = None
        self._delivered = (plan.epoch, plan.cursor)
        steps = range(first, plan.steps(self._world), stride)
        iterator = _Iterator(self, self._batches(plan, steps))
        self._iterators.add(iterator)
        return iterator

    def batch(self, step: int) -> Any:
        """Compute the batch of one step of the current epoch, whatever was delivered before."""
        self._check_open()
        return self._deliver(build_batch(self._recipe, self._plan.at(0).batch(step, self._world)))

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the last delivered batch: plain JSON types, equal on all ranks."""
        epoch, cursor = self._delivered if self._begin is None else (self._plan.epoch, self._begin)
        return {**self._identity, "epoch": epoch, "cursor": cursor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next iteration at a saved position.

        World size, batch size, tail, threads, prefetch and output may differ from those that
        the state was saved with.

        Raises:
            StateError: The state belongs to other data, another recipe, seed or shuffle.
        """
        self._check_open()
        self._check_state(state)
        epoch, cursor = state["epoch"], state["cursor"]
        if cursor >= self._plan.count:
            epoch, cursor = epoch + 1, 0
        self._plan = replace(self._plan, epoch=epoch)
        self._begin = cursor
        self._delivered = (epoch, cursor)

    def stats(self) -> dict[str, Any]:
        """Return what was done so far: rows, steps, seconds by room, share of waiting, skips."""
        return self._stats.as_dict()

    def explain(self) -> Explanation:
        """Say what an epoch will cost and how well it mixes; prints as a table."""
        return explain(self._recipe, self._plan.at(0), self._world, self._stream_options)

    def to_torch(self) -> Any:
        """Return a `torch.utils.data.IterableDataset` of whole batches.

        Use it as `DataLoader(loader.to_torch(), batch_size=None, num_workers=2)`.
        """
        from headrace.torch import TorchIterable

        return TorchIterable(self)

    def close(self) -> None:
        """Stop all threads and free what was prepared; may be called again."""
        self._closed = True
        for iterator in list(self._iterators):
            iterator.close()
        self._memory.clear()

    def __enter__(self) -> Loader:
        """Return the loader, which closes at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the loader."""
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Leave running iterators behind."""
        return {name: value for name, value in vars(self).items() if name != "_iterators"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin without running iterators."""
        vars(self).update(state)
        self._iterators = weakref.WeakSet()

    @cached_property
    def _world(self) -> World:
        world = self._options.world or World.detect()
        self._check_world(world)
        return world

    @property
    def _stream_options(self) -> StreamOptions:
        threads = default_threads() if self._options.threads is None else self._options.threads
        return StreamOptions(threads, self._options.ahead, self._options.on_error == "skip")

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """What a state must agree with."""
        return {
            "version": STATE_VERSION,
            "order_version": ORDER_VERSION,
            "data": self._plan.manifest.fingerprint,
            "selection": self._plan.selection.fingerprint,
            "recipe": self._recipe.fingerprint,
            "seed": self._plan.seed,
            "shuffle": self._plan.order.name,
        }

    @cached_property
    def _deliver(self) -> Callable[[Batch], Any]:
        with_ids = self._options.with_ids
        if self._options.output == "torch":
            from headrace.torch import to_tensors

            return lambda batch: to_tensors(batch, with_ids)
        convert = to_numpy if self._options.output == "numpy" else to_arrow
        return lambda batch: convert(batch, with_ids)

    def _batches(self, plan: Plan, steps: range) -> Iterator[Any]:
        deliver, world, last = self._deliver, self._world, plan.steps(self._world) - 1
        self._stats.start()
        batches = stream(self._recipe, plan, world, steps, Workshop(self._stream_options, self._stats, self._memory))
        for step, batch in zip(steps, batches, strict=True):
            with measured(self._stats, "deliver"):
                delivered = deliver(batch)
            self._stats.deliver(len(batch))
            is_over = step == last
            self._delivered = (plan.epoch + 1, 0) if is_over else (plan.epoch, plan.cursor_after(step, world))
            yield delivered
        if self._plan.epoch == plan.epoch:
            self._plan = replace(plan, epoch=plan.epoch + 1, cursor=0)
            self._delivered = (plan.epoch + 1, 0)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the loader is closed; make another one with `ds.loader(...)`")

    def _check_world(self, world: World) -> None:
        if world.size > self._plan.count and self._plan.batching.tail != "pad":
            raise OptionError(
                f"{self._plan.count} samples cannot be divided among {world.size} ranks; use fewer ranks, or "
                'tail="pad" to repeat samples'
            )
        self._plan.at(0).cut(world)

    def _check_state(self, state: dict[str, Any]) -> None:
        missing = [name for name in (*_FIXED_PARTS, "epoch", "cursor") if name not in state]
        if missing:
            raise StateError(f"a loader's state must hold {', '.join(missing)}; got the keys {sorted(state)}")
        for name, title in _FIXED_PARTS.items():
            if state[name] != self._identity[name]:
                raise StateError(
                    f"the state does not fit: {title} differs (`{name}` is {self._identity[name]!r}, and "
                    f"{state[name]!r} in the state); load it into a loader like the one that saved it"
                )
        for name in ("epoch", "cursor"):
            if isinstance(state[name], bool) or not isinstance(state[name], int) or state[name] < 0:
                raise StateError(f"`{name}` in a state must be a whole number of at least 0, got {state[name]!r}")


class _Iterator(Iterator[Any]):
    """One pass over batches; dropping it stops its threads."""

    def __init__(self, loader: Loader, batches: Iterator[Any]) -> None:
        self._loader = loader
        self._batches: Any = batches

    def __iter__(self) -> _Iterator:
        return self

    def __next__(self) -> Any:
        self._loader._check_open()  # pyright: ignore[reportPrivateUsage]  one class in two parts
        return next(self._batches)

    def close(self) -> None:
        self._batches.close()


def _name(recipe: Recipe) -> str:
    shards = recipe.source.manifest.shards
    return shards[0].name if shards else "the data set"
