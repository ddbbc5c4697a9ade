"""The border to PyTorch: batches as tensors, and data sets for `torch.utils.data.DataLoader`.

The only file that imports torch; it loads when tensors are first asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from headrace.batch import Batch, Ragged
from headrace.errors import MissingDependencyError, UnknownSampleError
from headrace.execution.deliver import extras, plain

try:
    import torch
    from torch.utils.data import Dataset as TorchDataset
    from torch.utils.data import IterableDataset, get_worker_info
except ImportError as error:
    raise MissingDependencyError.from_extra("torch", "torch", 'output="torch"') from error


def to_tensors(batch: Batch, with_ids: bool) -> dict[str, Any]:
    """Return the batch as tensors that share its memory.

    Lists of numbers become nested tensors of jagged layout, strings Python lists, time stamps
    and dates int64 in the column's own unit.
    """
    columns = {name: to_tensor(plain(column)) for name, column in batch.columns.items()}
    return columns | {name: torch.from_numpy(array) for name, array in extras(batch, with_ids).items()}


def to_tensor(column: Any) -> Any:
    """Wrap one column; what is no array of numbers stays what it is."""
    if isinstance(column, Ragged):
        values, offsets = torch.from_numpy(column.values), torch.from_numpy(column.offsets)
        return torch.nested.nested_tensor_from_jagged(values, offsets)
    if isinstance(column, np.ndarray):
        return torch.from_numpy(column.view(np.int64) if column.dtype.kind in "mM" else column)
    return column


class SteppedLoader(Protocol):
    """What the torch data sets need of a loader."""

    @property
    def world(self) -> World: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
    def set_epoch(self, epoch: int) -> None: ...
    def state_at(self, epoch: int, cursor: int, delivered: int = 0) -> dict[str, Any]: ...
    def read_state(self, state: dict[str, Any]) -> tuple[int, int]: ...
    def steps(self, epoch: int, cursor: int) -> int: ...
    def walk(self, epoch: int, cursor: int, first: int = 0, stride: int = 1) -> Iterator[Any]: ...
    def for_worker(self, world: World, workers: int) -> SteppedLoader: ...


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one worker stands: the pass that it is at, and how many of its own batches it yielded."""

    epoch: int
    cursor: int
    delivered: int = 0
    is_dry: bool = False


class TorchIterable(IterableDataset[Any]):
    """A loader as an `IterableDataset`, for `DataLoader(..., batch_size=None, num_workers=k)`.

    Batches come in the same order for every number of workers and every start method: worker w
    of k yields steps w, w + k, and so on. Each worker decodes the row groups of its own steps,
    so threads (the loader by itself) read less than workers do.

    `set_epoch` and `load_state_dict`, here or on the loader, are followed by all workers from
    their next pass on, persistent ones too; call them between passes. An epoch that the workers
    read to its end advances `loader.epoch` by one, as it does without workers. Workers read ahead,
    so after a `break` within the last `num_workers * prefetch_factor` batches the epoch may count
    as read; say `set_epoch` then. After any other `break`, the next pass begins where the last one
    did.

    `loader.stats()` counts what this process did, not its workers.
    """

    def __init__(self, loader: SteppedLoader) -> None:
        """Wrap a loader; its epoch and its loaded state are followed."""
        super().__init__()
        self._loader = loader
        self._passes = Passes()
        self._world: World | None = None
        self._worker: SteppedLoader | None = None
        self._loaded: _Place | None = None
        self._place: _Place | None = None
        self.move(*self._position())

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        """Yield all batches or, in a worker of a `DataLoader`, this worker's part of them."""
        info = get_worker_info()
        if info is None:
            return iter(self._loader)
        if self._worker is None:
            self._worker = self._loader.for_worker(self._world or self._loader.world, info.num_workers)
        key = self._passes.begin(info.seed - info.id)
        place = self._loaded or _Place(*self._passes.start_of(key))
        self._loaded, self._place = None, place
        self._passes.set_under_way(key, place.epoch, place.cursor)
        return self._work(self._worker, place, key, (info.id, info.num_workers))

    def _work(self, loader: SteppedLoader, place: _Place, key: Key, who: tuple[int, int]) -> Iterator[Any]:
        number, count = who
        first = number + place.delivered * count
        for batch in loader.walk(place.epoch, place.cursor, first, count):
            self._place = place = replace(place, delivered=place.delivered + 1)
            yield batch
        self._place = place = replace(place, is_dry=True)
        # Only one worker holds the last step: it alone says that the pass is over.
        if (max(loader.steps(place.epoch, place.cursor), 1) - 1) % count == number:
            self._passes.finish(key, place.epoch, place.cursor)

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch's beginning, as does `loader.set_epoch`."""
        self._loader.set_epoch(epoch)

    def state_dict(self, delivered: int | None = None) -> dict[str, Any]:
        """Return the loader's state or, in a worker, this worker's.

        Args:
            delivered: How many batches of the present pass the training loop has taken. Needed in
                the middle of a pass by workers, which read ahead; torchdata's
                `StatefulDataLoader` asks the workers instead.
        """
        if get_worker_info() is not None and self._place is not None:
            place = self._place
            state = self._loader.state_at(place.epoch, place.cursor)
            return state | {_DELIVERED: place.delivered, _IS_DRY: place.is_dry}
        if delivered is None:
            return self._loader.state_dict()
        return self._loader.state_at(*(self._passes.start_under_way() or self._position()), delivered)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next pass at a saved state.

        Raises:
            StateError: The state belongs to something else.
        """
        info = get_worker_info()
        if info is None:
            if _DELIVERED in state:
                raise StateError(
                    "the state was saved by one worker of a StatefulDataLoader; load the whole state into such a "
                    "loader with as many workers"
                )
            self._loader.load_state_dict(state)
            return
        delivered, is_dry = int(state.get(_DELIVERED, 0)), bool(state.get(_IS_DRY, False))
        self._loaded = place = _Place(*self._loader.read_state(state), delivered, is_dry)
        steps = self._loader.steps(place.epoch, place.cursor)
        if (max(steps, 1) - 1) % info.num_workers == info.id:
            # The main process, and workers made later, learn which epoch this is.
            over = place.epoch if is_dry else place.epoch - 1
            self._passes.finish(self._passes.key(info.seed - info.id), over, 0)

    def move(self, epoch: int, cursor: int) -> None:
        """Tell all copies in workers where the next pass begins."""
        self._passes.move(epoch, cursor)

    def reached(self) -> int | None:
        """Return the epoch that the workers have come to, or None if they finished none."""
        return self._passes.reached()

    def under_way(self) -> bool:
        """Whether workers have begun a pass and not read it to its end."""
        return self._passes.start_under_way() is not None

    def _position(self) -> tuple[int, int]:
        state = self._loader.state_dict()
        return state["epoch"], state["cursor"]

    def __getstate__(self) -> dict[str, Any]:
        """Take along the world of this process, which a spawned worker could not detect."""
        return vars(self) | {"_world": self._world or self._loader.world, "_worker": None}


class MapSource(Protocol):
    """What the map-style data set needs of a data set."""

    @property
    def sample_ids(self) -> np.ndarray[Any, np.dtype[np.int64]]: ...
    def __len__(self) -> int: ...
    def take(self, ids: Any) -> Batch: ...


class TorchMap(TorchDataset[dict[str, Any]]):
    """A data set with random access, for samplers such as `DistributedSampler`.

    Every access decodes the row groups that it touches; `DataLoader` asks for a whole batch at
    once. For speed use `ds.loader(...)`.
    """

    def __init__(self, source: MapSource) -> None:
        """Wrap a data set."""
        self._source = source
        self._ids = source.sample_ids

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample: scalars as tensors without dimensions, negative indices from the end."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several samples, read together."""
        places = np.asarray([int(index) for index in indices], np.int64)
        bad = (places < -len(self._ids)) | (places >= len(self._ids))
        if bad.any():
            raise UnknownSampleError(f"an index must lie in 0..{len(self._ids) - 1}, got {int(places[bad][0])}")
        tensors = to_tensors(self._source.take(self._ids[places]), with_ids=False)
        columns = {name: list(column) for name, column in tensors.items()}
        return [{name: column[row] for name, column in columns.items()} for row in range(len(places))]
