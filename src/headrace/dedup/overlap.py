"""What two data sets share, such as samples to test by that were trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.dedup.find import FindOptions, On, chosen_method, compared, sign
from headrace.dedup.method import Edges, Method, SupportsThreshold
from headrace.dedup.preference import Preference
from headrace.dedup.report.shares import percent
from headrace.dedup.signing import JoinedSignatures
from headrace.errors import SchemaError
from headrace.execution.executors import Executor
from headrace.execution.progress import Progress
from headrace.hashing.kinds import kind_of
from headrace.selecting.base import Selectable
from headrace.selecting.stored import Cache

if TYPE_CHECKING:
    import polars as pl

Ids = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Overlap:
    """Samples of two data sets that are duplicates of each other; prints as a summary.

    Attributes:
        pairs: A Polars frame of `train_id`, `test_id` and `score`, in the order of the test samples: one row
            for each two that are duplicates. Of equal train samples only the first is named.
        train_ids: All train samples with a duplicate in test, equal ones included; int64, rising.
        test_ids: All test samples with a duplicate in train; int64, rising.
        train_samples: How many train samples were compared.
        test_samples: How many test samples were compared.
        method: The method with its settings, as text.

    Example:
        >>> import headrace as hr
        >>> train, test = hr.from_arrays({"x": [1, 2, 2]}), hr.from_arrays({"x": [2, 3]})
        >>> print(hr.overlap(train, test))
        test      1 of 2 samples (50.0 %) have a duplicate in train
        train     2 of 3 samples (66.7 %) have a duplicate in test
        found by  Exact(normalize=None, nulls_equal=False, verify=False)
    """

    pairs: pl.DataFrame
    train_ids: Ids
    test_ids: Ids
    train_samples: int
    test_samples: int
    method: str

    @cached_property
    def share(self) -> float:
        """Share of the test samples that have a duplicate in train, 0 to 1."""
        return len(self.test_ids) / max(self.test_samples, 1)

    def __str__(self) -> str:
        return "\n".join(
            (
                f"test      {_share(len(self.test_ids), self.test_samples)} have a duplicate in train",
                f"train     {_share(len(self.train_ids), self.train_samples)} have a duplicate in test",
                f"found by  {self.method}",
            )
        )


def overlap(  # noqa: PLR0913  each is one word of the contract
    train: Selectable,
    test: Selectable,
    method: Method | None = None,
    on: On = None,
    *,
    executor: Executor | None = None,
    cache: Cache = None,
    memory_limit: str | int | None = None,
    progress: Progress = True,
) -> Overlap:
    """Find the samples of one data set that have duplicates in another one; nothing is dropped.

    Both may be parts of one data set; a sample that is in both is a duplicate of itself. Duplicates
    within one of them do not matter, and do not hide what they share with the other one. Memory is
    that of a search among the samples of both.

    Args:
        train: Whose ids are `train_id`.
        test: Whose ids are `test_id`.
        method: As in `hr.find_duplicates`; `hr.Exact()` by default.
        on: The columns to compare, which both have; by default all of train's that the method can compare.
        executor: Where row groups are read; threads by default.
        cache: A folder that keeps the signatures of each shard; True for `_headrace` beside the data of each.
        memory_limit: What signatures may take in memory, as in `hr.find_duplicates`.
        progress: True for a bar on a terminal, or a function of row groups done and in all, for each of both.

    Raises:
        OptionError: An argument cannot be right.
        UnknownColumnError: A column is not in both.
        SchemaError: A column's values are of different kinds, or the method cannot compare them.

    Example:
        >>> import headrace as hr
        >>> train = hr.from_arrays({"text": ["a", "b", "a"]})
        >>> test = hr.from_arrays({"text": ["c", "a"]})
        >>> found = hr.overlap(train, test, hr.Exact())
        >>> found.pairs.rows(), found.train_ids.tolist(), found.share
        ([(0, 1, 1.0)], [0, 2], 0.5)
        >>> test.minus(test.rows(found.test_ids)).to_polars()["text"].to_list()
        ['c']
    """
    chosen = chosen_method(method)
    columns = compared(train, on, chosen)
    compared(test, columns, chosen)
    if not isinstance(chosen, SupportsThreshold):  # the others know what is like what
        check_kinds(train.schema, test.schema, columns)
    options = FindOptions(executor, cache, memory_limit, progress)
    offset = train.manifest.total  # train samples come first, and so are the preferred ones
    signatures = (
        sign(train, columns, chosen, Preference(), options),
        sign(test, columns, chosen, Preference(), options, offset),
    )
    edges = chosen.match(JoinedSignatures(signatures), options.matching)
    return _overlap(edges, offset, (signatures[0].count, signatures[1].count), repr(chosen))


def check_kinds(train: pa.Schema, test: pa.Schema, columns: tuple[str, ...]) -> None:
    """Refuse columns whose values could never be equal for their types.

    Raises:
        SchemaError: The message names the column and both types.
    """
    for name in columns:
        one, other = train.field(name).type, test.field(name).type
        if kind_of(one) != kind_of(other):
            raise SchemaError(
                f"column `{name}` must hold values of one kind in both data sets, got {one} in train and "
                f"{other} in test; cast it by `hr.Cast` in one of them"
            )


def _overlap(edges: Edges, offset: int, samples: tuple[int, int], method: str) -> Overlap:
    """Read what two data sets share from the links between all their samples.

    Samples that are the same are linked to the first of them alone, and only that one to similar ones. So
    whatever is linked with it is a duplicate of each of them.
    """
    import polars as pl

    same = pl.DataFrame({"first": edges.winners[edges.is_same], "rank": edges.losers[edges.is_same]})
    ends = np.concatenate([edges.winners, edges.losers[~edges.is_same]])
    firsts = np.setdiff1d(ends, edges.losers[edges.is_same])
    members = pl.concat([pl.DataFrame({"first": firsts, "rank": firsts}), same])
    is_test = pl.col("rank") >= offset
    # Of a group with train samples the first one is of train, as these have the smaller ranks.
    winners = pl.Series("train_id", np.concatenate([firsts, edges.winners[~edges.is_same]]))
    links = pl.DataFrame(
        {
            "train_id": winners,
            "first": np.concatenate([firsts, edges.losers[~edges.is_same]]),
            "score": np.concatenate([np.ones(len(firsts)), edges.scores[~edges.is_same]]),
        }
    )
    # A train sample that comes behind the other one in the links.
    turned = links.select(pl.col("first").alias("train_id"), pl.col("train_id").alias("first"), "score")
    every = pl.concat([links, turned.filter(pl.col("first") != pl.col("train_id"))])
    pairs = (
        every.filter(pl.col("train_id") < offset)
        .join(members.filter(is_test), on="first")
        .select("train_id", (pl.col("rank") - offset).alias("test_id"), "score")
        .sort("test_id", "train_id")
    )
    shared = pairs.select(pl.col("train_id").unique().alias("first"))
    train = members.filter(~is_test).join(shared, on="first", how="semi")["rank"].sort()
    return Overlap(
        pairs, train.to_numpy(), pairs["test_id"].unique().sort().to_numpy(), samples[0], samples[1], method
    )


def _share(count: int, total: int) -> str:
    return f"{count:,} of {total:,} samples ({percent(count / max(total, 1))})"
