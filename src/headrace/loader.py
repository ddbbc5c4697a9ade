"""The loader: iterates over an epoch's batches, remembers what it delivered, resumes exactly."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import Any, SupportsInt, cast

from headrace.batch import Batch
from headrace.devices import find_delivery
from headrace.errors import ClosedError, OptionError, StateError, check_whole
from headrace.execution.build import build_batch
from headrace.execution.cached import CachedRecipe
from headrace.execution.delivery import Delivery
from headrace.execution.executors import default_threads
from headrace.execution.explain import Explanation, explain
from headrace.execution.following import Follower
from headrace.execution.host.job import Job
from headrace.execution.host.process import ProcessHost
from headrace.execution.memory import BatchMemory
from headrace.execution.options import LoaderOptions
from headrace.execution.peek import Peek, peek
from headrace.execution.recipe import Recipe
from headrace.execution.state import identify, read_state
from headrace.execution.stats import Stats, measured
from headrace.execution.stream import stream
from headrace.execution.workshop import StreamOptions, Workshop
from headrace.planning.plan import Plan
from headrace.planning.world import World

# What a copy of a loader does without: what runs, and what it finds by itself.
_LEFT_BEHIND = ("_iterators", "_owner", "_follower", "_stats", "_memory", "_delivery", "_world", "_host")


class Loader:
    """Iterates over the batches of an epoch.

    Every batch is a pure function of (data, recipe, seed, epoch, step). Threads, prefetching and
    interruptions decide when it is computed, never what it holds. To be used from one thread.

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
        recipe = recipe if options.output != "arrow" else replace(recipe, keep_arrow=True)
        self._recipe = CachedRecipe.of(recipe, plan.selection)
        self._plan = plan
        self._options = options
        self._stats = Stats()
        self._memory = BatchMemory()
        self._begin: int | None = None
        self._delivered = (plan.epoch, 0)
        self._closed = False
        self._host: ProcessHost | None = None
        self._owner: object = None  # the iterator whose batches move the loader
        self._follower: Follower | None = None
        self._iterators: list[weakref.ref[_Iterator]] = []
        if plan.count == 0:
            raise OptionError(f"{_name(recipe)}: at least one sample is needed to make batches, got none")
        if options.world is not None:
            self._check_world(options.world)

    @property
    def epoch(self) -> int:
        """The current epoch; finishing it advances it by one, `break` does not."""
        self._catch_up()
        return self._plan.epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch's beginning; for the current one a loaded state is kept."""
        check_whole("epoch", epoch, least=0)
        if epoch != self.epoch:
            self._move(epoch, 0)

    @property
    def position(self) -> tuple[int, int]:
        """The epoch, and how many of its samples the next iteration leaves out."""
        self._catch_up()
        return self._plan.epoch, self._begin or 0

    @property
    def world(self) -> World:
        """Which rank of how many; detected at the first use if it was not given."""
        return self._world

    def __len__(self) -> int:
        """How many steps a whole epoch has, the same on every rank."""
        return self._plan.at(0).steps(self._world)

    def __iter__(self) -> Iterator[Any]:
        """Start the current epoch at its beginning, or at a loaded state."""
        self._check_open()
        self._catch_up()
        plan = self._plan.at(self._begin or 0)
        self._move(plan.epoch, 0)  # a loaded state is used once
        self._delivered = (plan.epoch, plan.cursor)
        self._owner = object()
        return self._keep(self._advance(plan, range(plan.steps(self._world)), self._owner))

    def walk(self, epoch: int, cursor: int, first: int = 0, stride: int = 1) -> Iterator[Any]:
        """Yield every `stride`-th batch from step `first` of what follows a position.

        Other than iteration this neither asks nor changes where the loader stands.
        """
        self._check_open()
        plan = replace(self._plan, epoch=epoch, cursor=cursor)
        return self._keep(self._batches(plan, range(first, plan.steps(self._world), stride)))

    def steps(self, epoch: int, cursor: int) -> int:
        """How many steps follow a position."""
        return replace(self._plan, epoch=epoch, cursor=cursor).steps(self._world)

    def batch(self, step: int) -> Any:
        """Compute the batch of one step of the current epoch, whatever was delivered before."""
        self._check_open()
        self._catch_up()
        chain = self._recipe.augment
        partner = None if chain is None else chain.partner
        chosen = self._plan.at(0).batch(step, self._world, partner)
        batch = build_batch(self._recipe, chosen, self._delivery.augmenter())
        return self._delivery.one(batch, chosen.epoch, step)

    def peek(self, sample_id: SupportsInt, epoch: int | None = None, repeat: int = 0) -> Peek:
        """Render one sample alone, as its batch holds it, with every parameter that was drawn for it.

        Mixing, draws for whole batches and repeats first look for the sample's place in the epoch.

        Args:
            sample_id: Which sample, as `with_ids=True` delivers its number.
            epoch: In which epoch, by default the current one.
            repeat: Which delivery of a sample that the epoch repeats, from 0 on.

        Raises:
            UnknownSampleError: The epoch does not deliver that sample so often.
        """
        self._check_open()
        epoch = self.epoch if epoch is None else check_whole("epoch", epoch, least=0)
        plan = replace(self._plan, epoch=epoch, cursor=0)
        return peek(self._recipe, plan, self._world, sample_id, repeat)

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the last delivered batch: plain JSON types, equal on all ranks.

        Raises:
            StateError: A `DataLoader` with workers is in the middle of a pass; only the training
                loop knows how many of its batches were delivered.
        """
        self._catch_up()
        if self._follower is not None and self._follower.start_under_way() is not None:
            raise StateError(
                "workers of a DataLoader have begun this epoch, and only the training loop knows how many of "
                "their batches it took; say so by `loader.to_torch().state_dict(delivered=n)`, or use "
                "torchdata's StatefulDataLoader"
            )
        epoch, cursor = self._delivered if self._begin is None else (self._plan.epoch, self._begin)
        return self.state_at(epoch, cursor)

    def state_at(self, epoch: int, cursor: int, delivered: int = 0) -> dict[str, Any]:
        """Return the state at a position, or after so many of the batches that follow it."""
        if delivered:
            plan = replace(self._plan, epoch=epoch, cursor=cursor)
            steps = plan.steps(self._world)
            if not 0 < delivered <= steps:
                raise OptionError(f"from 0 to {steps} batches can be delivered, got {delivered}")
            is_over = delivered == steps
            cursor = 0 if is_over else plan.cursor_after(delivered - 1, self._world)
            epoch += is_over
        return {**self._identity, "epoch": epoch, "cursor": cursor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next iteration at a saved position.

        World size, batch size, tail, threads, prefetch and output may differ from those that
        the state was saved with.

        Raises:
            StateError: The state belongs to other data, another recipe, seed or shuffle.
        """
        self._check_open()
        self._move(*self.read_state(state))

    def read_state(self, state: dict[str, Any]) -> tuple[int, int]:
        """Return the epoch and the cursor of a saved position, after checking that it fits.

        Raises:
            StateError: The state belongs to other data, another recipe, seed or shuffle.
        """
        return read_state(state, self._identity, self._plan.count)

    def stats(self) -> dict[str, Any]:
        """Return what was done so far: rows, steps, seconds by room, share of waiting, skips, and the cache.

        Of the cache: `cache_hits`, `cache_misses`, `cache_corrupt`, `cache_rebuilt`, `cache_evicted`,
        `cache_outages` and `cache_bytes`, all of this process and its host; see
        `headrace.stores.counts.Counts`.
        """
        elsewhere = {} if self._host is None else self._host.cache
        counts = self._recipe.counts.as_dict()
        return self._stats.as_dict() | {
            name: count + elsewhere.get(name, 0) for name, count in counts.items()
        }

    def explain(self) -> Explanation:
        """Say what an epoch will cost and how well it mixes; prints as a table."""
        return explain(self._recipe, self._plan.at(0), self._world, self._stream_options)

    def to_torch(self) -> Any:
        """Return a `torch.utils.data.IterableDataset` of whole batches.

        Use it as `DataLoader(loader.to_torch(), batch_size=None, num_workers=2)`. It follows this
        loader, and this loader's epoch follows its workers.
        """
        from headrace.torch import Passes, TorchIterable

        if self._options.device is not None:
            raise OptionError(
                'a loader with `device` delivers in this process; iterate over it, or use `device="cpu"` '
                "for workers of a DataLoader"
            )
        if self._follower is None:
            self.attach(Passes(*self.position))
        return TorchIterable(self, cast("Passes", self._follower))

    def attach(self, follower: Follower) -> None:
        """Tell a follower wherever this loader goes from now on."""
        self._follower = follower

    def close(self) -> None:
        """Stop all threads and free what was prepared; may be called again."""
        self._closed = True
        for iterator in filter(None, [reference() for reference in self._iterators]):
            iterator.close()
        if self._host is not None:
            self._host.close()
        self._memory.clear()
        self._recipe.close()

    def __enter__(self) -> Loader:
        """Return the loader, which closes at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the loader."""
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what runs and what is found anew, such as the world."""
        self._catch_up()
        return {name: value for name, value in vars(self).items() if name not in _LEFT_BEHIND}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin without running iterators, counting from zero."""
        vars(self).update(state)
        self._stats = Stats()
        self._memory = BatchMemory()
        self._owner = self._follower = self._host = None
        self._iterators = []

    def for_worker(self, world: World, workers: int) -> Loader:
        """Return a copy for one of several worker processes, which share the cores."""
        worker = copy.copy(self)
        threads = self._options.threads
        share = max(default_threads() // workers, 1) if threads is None else threads
        worker._options = replace(self._options, world=world, threads=share, host="thread")
        return worker

    def _catch_up(self) -> None:
        """Go where worker processes have come to."""
        reached = None if self._follower is None else self._follower.reached()
        if reached is not None and reached != self._plan.epoch:
            self._place(reached, 0)

    def _move(self, epoch: int, cursor: int) -> None:
        """Go to a position, and take the workers along."""
        self._place(epoch, cursor)
        if self._follower is not None:
            self._follower.move(epoch, cursor)

    def _place(self, epoch: int, cursor: int) -> None:
        self._plan = replace(self._plan, epoch=epoch, cursor=0)
        self._begin = cursor or None
        self._delivered = (epoch, cursor)
        self._owner = None

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
        return identify(self._plan, self._recipe.fingerprint)

    @cached_property
    def _delivery(self) -> Delivery:
        return find_delivery(self._options, self._recipe.augment, self._stats)

    def _keep(self, batches: Iterator[Any]) -> _Iterator:
        iterator = _Iterator(self, batches)
        # No WeakSet: a Ctrl-C that meets its callback, which is Python code, is lost.
        alive = [one for one in self._iterators if one() is not None]
        self._iterators = [*alive, weakref.ref(iterator)]
        return iterator

    def _advance(self, plan: Plan, steps: range, owner: object) -> Iterator[Any]:
        """Yield batches and move the loader along, unless it was sent elsewhere meanwhile."""
        with closing(self._batches(plan, steps)) as batches:
            for step, batch in zip(steps, batches, strict=True):
                if self._owner is owner:
                    is_over = step == steps[-1]
                    cursor = 0 if is_over else plan.cursor_after(step, self._world)
                    self._delivered = (plan.epoch + is_over, cursor)
                yield batch
        if self._owner is owner:
            self._move(plan.epoch + 1, 0)

    def _batches(self, plan: Plan, steps: range) -> Generator[Any]:
        delivery = self._delivery
        self._stats.start()
        source: Any = self._sourced(plan, steps)
        with closing(source), closing(delivery(source, plan.epoch, steps)) as batches:
            for delivered, rows in batches:
                self._stats.deliver(rows)
                with measured(self._stats, "consumer"):
                    yield delivered

    def _sourced(self, plan: Plan, steps: range) -> Iterator[Batch]:
        """Compute batches, here or in the host process."""
        if self._options.host == "process":
            if self._host is None:
                job = Job(self._recipe, self._plan, self._world, self._stream_options)
                self._host = ProcessHost(job, self._stats)
            return self._host.batches(plan, steps)
        # Found here and not by several threads at once; a fork meanwhile would also find them locked.
        _ = self._recipe.columns, self._recipe.needs_frame
        self._recipe.refresh()
        workshop = self._delivery.equip(Workshop(self._stream_options, self._stats, self._memory))
        return stream(self._recipe, plan, self._world, steps, workshop)

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


class _Iterator(Iterator[Any]):
    """One pass over batches; closing or dropping it stops its threads."""

    def __init__(self, loader: Loader, batches: Iterator[Any]) -> None:
        self._loader = loader
        self._batches: Any = batches

    def __iter__(self) -> _Iterator:
        return self

    def __next__(self) -> Any:
        self._loader._check_open()  # pyright: ignore[reportPrivateUsage]  one class in two parts
        return next(self._batches)

    def close(self) -> None:
        """Stop the threads and free what was prepared; may be called again."""
        self._batches.close()


def _name(recipe: Recipe) -> str:
    shards = recipe.source.manifest.shards
    return shards[0].name if shards else "the data set"
