"""Every exception that headrace raises, in one tree.

Each class also inherits the builtin that a caller would catch:

    HeadraceError
    ├── OptionError(ValueError)             an argument that cannot be right
    ├── SourceError(OSError)                a shard that cannot be read
    │   ├── MissingSourceError(FileNotFoundError)   nothing lies under that name
    │   ├── CorruptSourceError              the bytes are not what the format promises
    │   │   └── UndecodableError            some samples of a row group, while the others are sound
    │   ├── ChangedSourceError              a shard was replaced after it was opened
    │   └── UnfinishedError                 the output of a job that is not complete
    ├── SchemaError(TypeError)              columns or types that do not fit together
    │   └── UnknownColumnError(KeyError)    a column that is not there
    ├── UnknownSampleError(IndexError)      a sample id that the data set does not hold
    ├── UnknownPartError(KeyError)          a part that a split does not have
    ├── MemoryLimitError(MemoryError)       more bytes than `memory_limit` allows
    │   └── DeviceMemoryError               more bytes than a device has left
    ├── CapacityError(OverflowError)        more keys than a Bloom filter was made for
    ├── PrepareError(RuntimeError)          an expression or a user's function failed
    ├── StateError(ValueError)              a state, an index or a report of something else
    ├── DuplicateShareError(ValueError)     duplicates make up more of a source than is allowed
    ├── WorkerError(RuntimeError)           a process of an executor died
    ├── JobError(RuntimeError)              a job that could not write all of its shards
    ├── OutputError(OSError)                a folder that must not or cannot be written to
    ├── CacheError(OSError)                 a store that must not or cannot be used
    ├── FingerprintError(TypeError)         a setting that cannot be identified by value
    ├── ClosedError(RuntimeError)           use after `close`
    └── MissingDependencyError(ImportError) an extra that is not installed

Two warnings are classes of their own: PrecisionWarning and DuplicateShareWarning.

Every message says what must hold, what was found, where, and what to do. Every class can be
rebuilt from its message alone, so that an error survives pickling and the way in which
`torch.utils.data.DataLoader` re-raises what happened in a worker process.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Self


class HeadraceError(Exception):
    """The root of all errors raised on purpose.

    Example:
        >>> import headrace as hr
        >>> try:
        ...     hr.open("nowhere/*.parquet")
        ... except hr.HeadraceError as error:
        ...     print(type(error).__name__)
        MissingSourceError
    """

    def __str__(self) -> str:
        """Return the message as written; KeyError would put it in quotes."""
        return str(self.args[0]) if self.args else ""


class OptionError(HeadraceError, ValueError):
    """An argument that cannot be right."""


class SourceError(HeadraceError, OSError):
    """A shard that cannot be read."""


class MissingSourceError(SourceError, FileNotFoundError):
    """Nothing lies under the name that was given."""


class CorruptSourceError(SourceError):
    """The bytes of a shard or of an index are not what its format, footer or header promises."""


class UndecodableError(CorruptSourceError):
    """Some samples of a row group cannot be decoded, while the others can.

    Attributes:
        rows: Places of those samples among the samples that were asked for; in an error of
            `read`, their rows in the row group. A source's `read_rows` delivers the others, so
            that `on_error="skip"` leaves out no more than these.
    """

    rows: tuple[int, ...] = ()

    @staticmethod
    def at(rows: Sequence[int], where: str, reason: object) -> UndecodableError:
        """Word the error from the first such sample."""
        more = f"; so are {len(rows) - 1} more of this row group" if len(rows) > 1 else ""
        cause = f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else reason
        error = UndecodableError(f"{where}: cannot be decoded: {cause}{more}")
        error.rows = tuple(rows)
        error.__cause__ = reason if isinstance(reason, BaseException) else None
        return error


class ChangedSourceError(SourceError):
    """A shard was replaced or rewritten after it was opened."""


class UnfinishedError(SourceError):
    """The output of a job that is not complete; running the job again continues it."""


class SchemaError(HeadraceError, TypeError):
    """Columns or types that do not fit together."""


class UnknownColumnError(SchemaError, KeyError):
    """A column that is not there."""

    @classmethod
    def from_names(cls, missing: Iterable[str], available: Iterable[str], where: str) -> UnknownColumnError:
        """Word the error from the names asked for and the names there are."""
        wanted, names = list(missing), list(available)
        near = get_close_matches(wanted[0], names, n=3) if wanted else []
        hint = f"did you mean {_quoted(near)}?" if near else f"it has {_quoted(names[:20])}"
        more = f" and {len(names) - 20} more" if len(names) > 20 and not near else ""
        return cls(f"{where} has no column {_quoted(wanted)}; {hint}{more}")


class UnknownSampleError(HeadraceError, IndexError):
    """A sample id that the data set does not hold."""


class UnknownPartError(HeadraceError, KeyError):
    """A part that a split does not have."""


class MemoryLimitError(HeadraceError, MemoryError):
    """More bytes than `memory_limit` allows would be needed."""

    def __new__(cls, *arguments: object) -> Self:
        """Make it as an error of ours: what MemoryError has of its own refuses classes with two bases.

        Only those notice who rebuild errors by `__new__`, as pickling does once dask is imported.
        """
        return HeadraceError.__new__(cls, *arguments)


class DeviceMemoryError(MemoryLimitError):
    """More bytes than a device, or page-locked memory, has left.

    Example:
        >>> import headrace as hr
        >>> from headrace.execution.device.host import HostDevice
        >>> loader = hr.from_arrays({"x": [1, 2]}).loader(2, device=HostDevice(limit=0), output="numpy")
        >>> try:
        ...     next(iter(loader))
        ... except hr.DeviceMemoryError as error:
        ...     print(str(error)[:16])
        epoch 0, step 0:
    """


class CapacityError(HeadraceError, OverflowError):
    """More distinct keys than a Bloom filter was made for, which must not grow."""


class PrepareError(HeadraceError, RuntimeError):
    """An expression or a user's function failed on a row group."""


class StateError(HeadraceError, ValueError):
    """A saved state, index or report that belongs to other data, samples, another recipe or order."""


class DuplicateShareError(HeadraceError, ValueError):
    """Duplicates make up more of a shard, or of the samples of one value, than `stop_above` allows."""


class CacheError(HeadraceError, OSError):
    """A store that must not be used, or that cannot be used where that was asked to be an error."""


class FingerprintError(HeadraceError, TypeError):
    """A setting that cannot be identified by its value."""


class WorkerError(HeadraceError, RuntimeError):
    """A process of an executor died before it could answer."""


class JobError(HeadraceError, RuntimeError):
    """A job could not write all of its shards; what is written is kept, and running it again continues."""


class OutputError(HeadraceError, OSError):
    """A folder that a job must not write to (foreign, in use) or cannot (full, read-only)."""


class ClosedError(HeadraceError, RuntimeError):
    """Something was used after it was closed."""


class MissingDependencyError(HeadraceError, ImportError):
    """A library that an extra brings is not installed."""

    @classmethod
    def from_extra(cls, library: str, extra: str, purpose: str) -> MissingDependencyError:
        """Word the error from the library, the extra that brings it and what it is for."""
        return cls(
            f"{purpose} needs `{library}`, which is not installed; run `pip install headrace[{extra}]`"
        )


class PrecisionWarning(UserWarning):
    """Whole numbers beyond 2**53 became floats, which lose digits of them.

    Example:
        >>> import warnings
        >>> import headrace as hr
        >>> pipe = hr.Pipeline([hr.StandardScaler()]).fit(hr.from_arrays({"x": [2**53, 2**53 + 1]}))
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("error", hr.PrecisionWarning)
        ...     try:
        ...         pipe.transform({"x": 2**53 + 1})
        ...     except hr.PrecisionWarning:
        ...         print("digits are lost")
        digits are lost
    """


class DuplicateShareWarning(UserWarning):
    """Duplicates make up more of a shard, or of the samples of one value, than `warn_above` says.

    Example:
        >>> import warnings
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": list(range(60)) + [0] * 30})
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("error", hr.DuplicateShareWarning)
        ...     try:
        ...         ds.dedup()
        ...     except hr.DuplicateShareWarning:
        ...         print("look before you leave them out")
        look before you leave them out
    """


def check_whole(name: str, value: object, least: int | None = None) -> int:
    """Return a whole number, or refuse what is none or lies below the least.

    Raises:
        OptionError: The message names the argument and shows the value.

    Example:
        >>> check_whole("batch_size", 256, least=1)
        256
    """
    if isinstance(value, int) and not isinstance(value, bool) and (least is None or value >= least):
        return value
    bound = "" if least is None else f" of at least {least}"
    raise OptionError(f"`{name}` must be a whole number{bound}, got {value!r}")


def warn_caller(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and name the line that called this package, however deep in it this is called."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
