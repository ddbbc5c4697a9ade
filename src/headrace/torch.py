"""The border to PyTorch: batches as tensors, and data sets for `torch.utils.data.DataLoader`.

The only file that imports torch; it loads when tensors are first asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    epoch: int

    def __len__(self) -> int: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
    def set_epoch(self, epoch: int) -> None: ...
    def iterate(self, first: int, stride: int) -> Iterator[Any]:
        """Yield every `stride`-th batch from step `first` of what the loader has before it."""
        ...


class TorchIterable(IterableDataset[Any]):
    """A loader as an `IterableDataset`, for `DataLoader(..., batch_size=None, num_workers=k)`.

    Batches come in the same order for every number of workers and every start method: worker w
    of k yields steps w, w + k, and so on. Each worker decodes the row groups of its own steps,
    so threads (the loader by itself) read less than workers do.
    """

    def __init__(self, loader: SteppedLoader) -> None:
        """Wrap a loader; its epoch and its loaded state are followed."""
        super().__init__()
        self._loader = loader
        # Shared with workers that outlive an epoch: the epoch, the cursor to begin at, and a
        # count of changes, so that a worker sees what the main process set meanwhile.
        self._shared = torch.zeros(3, dtype=torch.int64).share_memory_()
        self._seen = 0
        self._delivered = 0

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        """Yield this worker's batches."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        self._follow()
        for batch in self._loader.iterate(worker, workers):
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, also in workers that are running already."""
        self._loader.set_epoch(epoch)
        self._publish(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the loader's state."""
        return self._loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next iteration at a saved state."""
        self._loader.load_state_dict(state)

    def _publish(self, epoch: int) -> None:
        self._shared[0] = epoch
        self._shared[2] += 1
        self._seen = int(self._shared[2])

    def _follow(self) -> None:
        changes = int(self._shared[2])
        if changes != self._seen:
            self._seen = changes
            self._loader.set_epoch(int(self._shared[0]))


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
