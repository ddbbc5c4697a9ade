"""The border to PyTorch: batches as tensors, and data sets for `torch.utils.data.DataLoader`.

The only file that imports torch; it loads when tensors are first asked for.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headrace.batch import Batch, Ragged, Sparse
from headrace.errors import (
    DeviceMemoryError,
    MissingDependencyError,
    OptionError,
    StateError,
    UnknownSampleError,
    check_whole,
)
from headrace.execution.access import RandomAccess
from headrace.execution.deliver import extras, plain
from headrace.execution.device.base import Stream
from headrace.execution.device.cuda import CudaDevice, CudaStream, look
from headrace.planning.world import World

if TYPE_CHECKING:
    from headrace.dataset import Dataset
    from headrace.loader import Loader

try:
    import torch
    from torch.utils.data import Dataset as TorchDataset
    from torch.utils.data import IterableDataset, get_worker_info
except ImportError as error:
    raise MissingDependencyError.from_extra("torch", "torch", 'output="torch"') from error


Ids = NDArray[np.int64]


def to_tensors(batch: Batch, with_ids: bool) -> dict[str, Any]:
    """Return the batch as tensors that share its memory.

    Lists of numbers become nested tensors of jagged layout, sparse rows CSR tensors, strings
    Python lists, time stamps and dates int64 in the column's own unit.
    """
    columns = {name: to_tensor(plain(column)) for name, column in batch.columns.items()}
    return columns | {name: torch.from_numpy(array) for name, array in extras(batch, with_ids).items()}


def to_tensor(column: Any) -> Any:
    """Wrap one column; what is no array of numbers stays what it is."""
    if isinstance(column, Ragged):
        return torch.nested.nested_tensor_from_jagged(_dense(column.values), _dense(column.offsets))
    if isinstance(column, Sparse):
        values: Any = column.values  # of what came from a device it is a tensor
        return _sparse_csr(column.canonical() if isinstance(values, np.ndarray) else column)
    return _dense(column) if isinstance(column, np.ndarray) else column


def _dense(array: Any) -> torch.Tensor:
    """Wrap an array; what came from a device is a tensor already."""
    if isinstance(array, torch.Tensor):
        return array
    array = array.view(np.int64) if array.dtype.kind in "mM" else array
    # Values out of Arrow are read-only, which no tensor can be.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _sparse_csr(column: Sparse) -> torch.Tensor:
    parts = (column.offsets, column.indices, column.values)
    tensors = [_dense(part) for part in parts]
    tensors[1] = tensors[1].to(torch.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Ss]parse.*")  # torch says once that CSR is in beta
        # `Sparse` has checked offsets and bounds, and `canonical` the order within rows.
        return torch.sparse_csr_tensor(*tensors, size=column.shape, check_invariants=False)


class TorchOutputs:
    """Tensors on the calling thread's current stream, owned by torch."""

    def __init__(self, device: CudaDevice) -> None:
        """Take memory of that device."""
        self._ordinal = device.ordinal

    def current(self) -> CudaStream:
        """Return torch's current stream of the calling thread."""
        return CudaStream(self._ordinal, torch.cuda.current_stream(self._ordinal).cuda_stream)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> torch.Tensor:
        """Take a tensor."""
        try:
            return torch.empty(shape, dtype=getattr(torch, dtype.name), device=f"cuda:{self._ordinal}")
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(f"cuda:{self._ordinal}: {error}") from error

    def view(self, delivered: torch.Tensor) -> Any:
        """Look at a tensor as a CuPy array."""
        dtype = np.dtype(str(delivered.dtype).removeprefix("torch."))
        return look(self._ordinal, delivered.data_ptr(), tuple(delivered.shape), dtype, delivered)

    def hand_over(self, delivered: torch.Tensor, stream: Stream) -> torch.Tensor:
        """Return the tensor; if the consumer has gone to another stream, torch is told of it."""
        now = torch.cuda.current_stream(self._ordinal)
        if isinstance(stream, CudaStream) and now.cuda_stream != stream.pointer:
            delivered.record_stream(now)
        return delivered


def check_cuda(name: str) -> None:
    """See whether torch can use CUDA.

    Raises:
        OptionError: It was built without, or finds no device.
    """
    if not torch.cuda.is_available():
        raise OptionError(
            f'`device="{name}"` with `output="torch"` needs a torch that finds a CUDA device, and torch '
            f'{torch.__version__} finds none; install a build with CUDA, or use `output="cupy"`'
        )


def current_ordinal() -> int:
    """Return torch's current device of the calling thread."""
    return torch.cuda.current_device()


Key = tuple[int, int, int]
"""One pass of one set of workers: the main process's count of moves, the set, the pass."""

_MOVE, _UNDER_WAY, _FINISHED = slice(0, 3), slice(3, 9), slice(9, 15)
_DELIVERED = "delivered"


class Passes:
    """Where the passes of worker processes begin, agreed upon through shared memory.

    Nobody tells the main process when a `DataLoader` starts or ends a pass, and a slow worker may
    begin one that a fast worker has finished. So whoever finishes a pass writes down which one it
    was and where it began: a worker that begins the same pass then begins there, and one that
    begins another pass starts the epoch after it. What the main process sets counts as a new
    move, which voids all that was written down before.
    """

    def __init__(self, epoch: int = 0, cursor: int = 0) -> None:
        """Let the first pass begin there."""
        self._cells = torch.zeros(15, dtype=torch.int64).share_memory_()
        self._move = (0, epoch, cursor)  # as it was when this copy was made, the same in a set of workers
        self._count = 0
        self.move(epoch, cursor)

    def move(self, epoch: int, cursor: int) -> None:
        """In the main process: set where the next pass begins."""
        self._move = (self._move[0] + 1, epoch, cursor)
        self._cells.numpy()[_MOVE] = self._move

    def begin(self, workers: int) -> Key:
        """In a worker: begin its next pass, and return its key."""
        if self._count:
            self._move = tuple(self._cells[_MOVE].tolist())
        self._count += 1
        return self.key(workers)

    def key(self, workers: int) -> Key:
        """Return the key of this worker's present pass."""
        return (self._move[0], workers, self._count)

    def start_of(self, key: Key) -> tuple[int, int]:
        """Return the epoch and the cursor that a pass begins at."""
        finished = self._read(_FINISHED)
        if finished is None or finished[0] != key[0]:
            return self._move[1:]
        return finished[3:] if finished[:3] == key else (finished[3] + 1, 0)

    def set_under_way(self, key: Key, epoch: int, cursor: int) -> None:
        """Write down that a pass has begun; all of its workers write the same."""
        self._write(_UNDER_WAY, (*key, epoch, cursor))

    def finish(self, key: Key, epoch: int, cursor: int) -> None:
        """Write down that a pass was read to its end."""
        self._write(_FINISHED, (*key, epoch, cursor))

    def reached(self) -> int | None:
        """Return the epoch after the last one that was finished since the last move."""
        finished = self._read(_FINISHED)
        return finished[3] + 1 if finished is not None and finished[0] == self._move[0] else None

    def start_under_way(self) -> tuple[int, int] | None:
        """Return where a pass began that is under way since the last move."""
        begun, finished = self._read(_UNDER_WAY), self._read(_FINISHED)
        if begun is None or begun[0] != self._move[0] or (finished and finished[:3] == begun[:3]):
            return None
        return begun[3:]

    def _write(self, place: slice, values: tuple[int, ...]) -> None:
        cells = np.array([*values, 0], np.int64)
        cells[-1] = 1 + cells.sum()
        self._cells.numpy()[place] = cells

    def _read(self, place: slice) -> tuple[int, int, int, int, int] | None:
        """Read what `_write` wrote; torn while it writes, so the last cell is a check sum."""
        for _ in range(1000):
            cells = self._cells.numpy()[place].copy()
            if not cells.any():
                return None
            if cells[-1] == 1 + cells[:-1].sum():
                return tuple(cells[:-1].tolist())
            time.sleep(0.001)
        return None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Share the memory again, also of a copy made outside of a `DataLoader`."""
        vars(self).update(state)
        self._cells.share_memory_()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one worker stands: the pass that it is at, and how many of its own batches it yielded."""

    epoch: int
    cursor: int
    delivered: int = 0


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

    def __init__(self, loader: Loader, passes: Passes) -> None:
        """Wrap a loader that tells `passes` whenever it moves."""
        super().__init__()
        self._loader = loader
        self._passes = passes
        self._world: World | None = None
        self._worker: Loader | None = None
        self._loaded: _Place | None = None
        self._place: _Place | None = None

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        """Yield all batches or, in a worker of a `DataLoader`, this worker's part of them."""
        info = get_worker_info()
        if info is None:
            return iter(self._loader)
        key = self._passes.begin(info.seed - info.id)
        place = self._loaded or _Place(*self._passes.start_of(key))
        self._loaded, self._place = None, place
        self._passes.set_under_way(key, place.epoch, place.cursor)
        return self._work(place, key, info.id, info.num_workers)

    def _work(self, place: _Place, key: Key, number: int, count: int) -> Iterator[Any]:
        loader = self._in_worker(count)
        first = number + place.delivered * count
        for batch in loader.walk(place.epoch, place.cursor, first, count):
            self._place = place = replace(place, delivered=place.delivered + 1)
            yield batch
        if _last_step(loader, place) % count == number:
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
            state = self._in_worker(1).state_at(place.epoch, place.cursor)
            return state | {_DELIVERED: place.delivered}
        if delivered is None:
            return self._loader.state_dict()
        start = self._passes.start_under_way() or self._loader.position
        return self._loader.state_at(*start, delivered)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next pass at a saved state.

        Raises:
            StateError: The state belongs to something else.
        """
        info = get_worker_info()
        if info is None:
            if _DELIVERED in state:
                raise StateError(
                    "the state was saved by one worker of a StatefulDataLoader; load the whole state into "
                    "such a loader with as many workers"
                )
            self._loader.load_state_dict(state)
            return
        loader = self._in_worker(info.num_workers)
        self._loaded = place = _Place(*loader.read_state(state), int(state.get(_DELIVERED, 0)))
        last = _last_step(loader, place)
        if last % info.num_workers == info.id:
            # The main process, and workers made later, learn which epoch this is, or that it is over.
            is_over = info.id + place.delivered * info.num_workers > last
            epoch = place.epoch if is_over else place.epoch - 1
            self._passes.finish(self._passes.key(info.seed - info.id), epoch, 0)

    def _in_worker(self, workers: int) -> Loader:
        """Return the loader of this worker process."""
        if self._worker is None:
            self._worker = self._loader.for_worker(self._world or self._loader.world, workers)
        return self._worker

    def __getstate__(self) -> dict[str, Any]:
        """Take along the world of this process, which a spawned worker could not detect."""
        return vars(self) | {"_world": self._world or self._loader.world, "_worker": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Let the copy's own loader lead the copy."""
        vars(self).update(state)
        self._loader.attach(self._passes)


def _last_step(loader: Loader, place: _Place) -> int:
    """The last step of a pass: the one worker that holds it can tell that the pass is over."""
    return max(loader.steps(place.epoch, place.cursor), 1) - 1


class TorchMap(TorchDataset[dict[str, Any]]):
    """A data set with random access, for samplers such as `DistributedSampler`.

    Thread-safe and picklable. Each access reads the row groups that it touches; up to 256 MB of
    them are kept as they are once prepared, or all of them as `ds.cache` says. `DataLoader` asks for
    a whole batch at once. For speed and an order that resumes use `ds.loader(...)`.

    Augmentations draw by seed, epoch and sample, so say `set_epoch` before each epoch, as to a
    `DistributedSampler`; without it, every epoch changes a sample alike.

    Example:
        >>> import headrace as hr
        >>> samples = hr.from_arrays({"x": [1, 2, 3]}).to_torch_map()
        >>> len(samples), samples[-1]
        (3, {'x': tensor(3)})
    """

    def __init__(self, source: Dataset, seed: int = 0) -> None:
        """Wrap a data set, whose augmentations draw by this seed."""
        self._access = RandomAccess(source.recipe, source.selection, seed)
        self._count = len(source)
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # workers see it change

    def __len__(self) -> int:
        """How many samples there are."""
        return self._count

    def set_epoch(self, epoch: int) -> None:
        """Change samples as in that epoch from now on, also in workers; it begins with 0."""
        self._epoch[0] = check_whole("epoch", epoch, least=0)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample: scalars as tensors without dimensions, negative indices from the end."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several samples, read together."""
        places = np.asarray([int(index) for index in indices], np.int64)
        bad = (places < -self._count) | (places >= self._count)
        if bad.any():
            raise UnknownSampleError(
                f"an index must lie in {-self._count}..{self._count - 1}, got {int(places[bad][0])}"
            )
        batch = self._access.batch(places % max(self._count, 1), int(self._epoch))
        columns = {name: list(column) for name, column in to_tensors(batch, with_ids=False).items()}
        return [{name: column[row] for name, column in columns.items()} for row in range(len(places))]
