"""What a method of telling duplicates is made of: signatures of samples, and matches between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.execution.executors import Executor, Serial, Threads

Ranks = NDArray[np.int64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a method needs to know of the samples of one row group.

    Attributes:
        rows: The rows that it is about, rising; None for all. A row that never equals another one, for a
            null in its columns, is not among them.
        arrays: NumPy arrays of any shapes by name.
    """

    rows: Rows | None
    arrays: dict[str, NDArray[Any]]


class Signer(Protocol):
    """Makes signatures: a frozen dataclass of plain settings, thread-safe and picklable.

    Its fields are all that signatures depend on, since kept ones are found again by its fingerprint.
    """

    def __call__(self, batch: pa.RecordBatch) -> Signature:
        """Make the signatures of some samples from the compared columns; a pure function."""
        ...


@dataclass(frozen=True, slots=True)
class Signed:
    """Samples and their signatures.

    Attributes:
        ranks: A number for each sample: of two duplicates, the one with the smaller number is preferred.
        arrays: Of the signatures, which speak of these samples in this order.
    """

    ranks: Ranks
    arrays: dict[str, NDArray[Any]]


class Signatures(Protocol):
    """All samples that are compared. Each iteration reads them once, in an order that is always the same."""

    @property
    def count(self) -> int:
        """How many samples there are, those without a signature included."""
        ...

    def __iter__(self) -> Iterator[Signed]:
        """Yield the signatures of each row group."""
        ...

    def values(self, ranks: Ranks) -> Iterator[tuple[Ranks, pa.RecordBatch]]:
        """Read the compared columns of some samples again, in the same order.

        Args:
            ranks: Of the samples, in any order, each once.

        Yields:
            Ranks of samples of one row group, and their values.
        """
        ...


@dataclass(frozen=True, slots=True)
class MatchOptions:
    """Where matching runs, and what it may take.

    Attributes:
        executor: Where row groups are read; None for threads.
        memory_limit: Bytes that signatures may take in memory; beyond it they go to temporary files.
    """

    executor: Executor | None = None
    memory_limit: int = 1 << 30

    @property
    def threads(self) -> Serial | Threads:
        """Where kernels run; they need no other processes."""
        return self.executor if isinstance(self.executor, (Serial, Threads)) else Threads()

    @property
    def workers(self) -> int:
        """How many kernels run at the same time."""
        threads = self.threads
        return threads.count if isinstance(threads, Threads) else 1


@dataclass(frozen=True, slots=True)
class Edges:
    """Samples that were found and verified to be duplicates of each other, in no particular order.

    Samples that are the same to the method are linked to the preferred one of them alone, and only that
    one to samples that are merely similar.

    Attributes:
        losers: Rank of the less preferred sample of each two, int64 of shape [edges].
        winners: Rank of the other one, int64 of shape [edges]; always smaller.
        scores: How similar they are, 0 to 1; float64 of shape [edges].
        is_same: Whether they are the same to the method, so that whatever is a duplicate of one is one of
            the other too; bool of shape [edges].
        is_exact: Whether they were told by equality of their values, rather than by likeness; bool.
    """

    losers: Ranks
    winners: Ranks
    scores: NDArray[np.float64]
    is_same: NDArray[np.bool_]
    is_exact: NDArray[np.bool_]

    @staticmethod
    def of_equal(losers: Ranks, winners: Ranks) -> Edges:
        """Link samples whose values are equal."""
        every = np.ones(len(losers), np.bool_)
        return Edges(losers, winners, np.ones(len(losers)), every, every)

    @staticmethod
    def of_same(losers: Ranks, winners: Ranks) -> Edges:
        """Link samples that are the same to the method, though their values may differ."""
        every = np.ones(len(losers), np.bool_)
        return Edges(losers, winners, np.ones(len(losers)), every, ~every)

    @staticmethod
    def of_similar(losers: Ranks, winners: Ranks, scores: NDArray[np.float64]) -> Edges:
        """Link samples that are similar."""
        none = np.zeros(len(losers), np.bool_)
        return Edges(losers, winners, scores, none, none)

    @staticmethod
    def concat(parts: Sequence[Edges]) -> Edges:
        """Lay edges end to end."""
        if not parts:
            return Edges.of_equal(np.zeros(0, np.int64), np.zeros(0, np.int64))
        return Edges(
            np.concatenate([part.losers for part in parts]),
            np.concatenate([part.winners for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.is_same for part in parts]),
            np.concatenate([part.is_exact for part in parts]),
        )


@runtime_checkable
class Method(Protocol):
    """A way to tell duplicates: a frozen dataclass of settings.

    Attributes:
        name: What reports call it.
    """

    name: ClassVar[str]

    def columns(self, schema: pa.Schema) -> tuple[str, ...]:
        """Choose the columns to compare where the user names none.

        Raises:
            OptionError: They cannot be told.
        """
        ...

    def signer(self, schema: pa.Schema) -> Signer:
        """Return what makes signatures of the compared columns.

        Raises:
            SchemaError: A column's values cannot be compared in this way.
        """
        ...

    def match(self, signatures: Signatures, options: MatchOptions) -> Edges:
        """Find all duplicates; the same edges whatever executor, batch size and memory there are."""
        ...


@runtime_checkable
class SupportsThreshold(Protocol):
    """A method that finds likeness; what has none finds equal samples alone, whose score is 1."""

    @property
    def threshold(self) -> float:
        """The least score of the samples that it links, 0 to 1."""
        ...


@runtime_checkable
class SupportsDescribe(Protocol):
    """A method that tells more of itself than its settings, such as how much it finds."""

    def describe(self) -> str:
        """Return what reports print of it, some lines."""
        ...
