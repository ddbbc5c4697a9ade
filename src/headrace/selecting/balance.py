"""Class balance: samples repeated, samples left out, or a weight for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError, PrepareError, UnknownColumnError
from headrace.execution.executors import Executor
from headrace.fingerprint import derive_key
from headrace.hashing.columns import hash_column
from headrace.planning.permutation import KeyedPermutation
from headrace.prepare.base import Names, Step
from headrace.prepare.columns import WithColumns
from headrace.selecting.assigning import SPLIT_VERSION
from headrace.selecting.base import Selectable
from headrace.selecting.classes import Classes, read_classes

if TYPE_CHECKING:
    import polars as pl

Ids = NDArray[np.int64]
How = Literal["oversample", "undersample", "weights"]
D = TypeVar("D", bound=Selectable)


@dataclass(frozen=True, eq=False)
class ClassWeights:
    """A step that adds the weight of each sample's class as a column.

    Attributes:
        column: Which column tells the class.
        hashes: Of the classes, in rising order; uint64 of shape [classes].
        weights: Of the classes, float64 of shape [classes].
        name: What the new column is called.
    """

    column: str
    hashes: NDArray[np.uint64]
    weights: NDArray[np.float64]
    name: str

    def output_names(self, names: Names) -> Names:
        """Return the old names, then the new one."""
        if self.column not in names:
            raise UnknownColumnError.from_names([self.column], names, "the data set")
        if self.name in names:
            raise OptionError(f"the data set has a column `{self.name}` already; rename it, or pass `name=`")
        return (*names, self.name)

    def narrow(
        self, names: Names | None, wanted: frozenset[str] | None
    ) -> tuple[Step, frozenset[str] | None]:
        """Take the class beside what is wanted; do nothing where the weights are not wanted."""
        if wanted is None:
            return self, None
        if self.name not in wanted:
            return WithColumns(()), wanted
        return self, (wanted - {self.name}) | {self.column}

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the weights, null where no sample of that class takes part."""
        import polars as pl

        if self.column not in frame.columns:  # behind a function, whose columns only running it tells
            raise PrepareError(f"the classes lie in column `{self.column}`, which is not there")
        found = hash_column(frame[self.column].rechunk().to_arrow(), self.column)
        places = np.minimum(np.searchsorted(self.hashes, found), len(self.hashes) - 1)
        weights = pl.Series(self.name, self.weights[places])
        known = pl.Series(self.hashes[places] == found)
        return frame.with_columns(weights.zip_with(known, pl.Series([None], dtype=pl.Float64)))


def resample(dataset: D, column: str, is_over: bool, seed: int, executor: Executor | None) -> D:
    """Repeat samples of small classes, or leave out some of large ones, until all classes are equal.

    Order and repeats of the selection stay; copies lie beside each other. A mix ends here.
    """
    classes = read_classes(dataset, column, executor)
    selection = dataset.selection
    ids = selection.ids
    if not len(ids):
        return dataset
    codes = classes.codes[selection.rank(ids)]
    counts = np.bincount(codes)
    wanted = counts.max() if is_over else counts.min()
    times = np.zeros(len(ids), np.int64)
    for number, here in enumerate(np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])):
        whole, rest = divmod(int(wanted), len(here))
        key = derive_key("balance", SPLIT_VERSION, seed, number)
        times[here] = whole + (KeyedPermutation(len(here), key)(np.arange(len(here))) < rest)
    return dataset.rows(np.repeat(ids, times))


def weigh(dataset: Selectable, column: str, name: str, executor: Executor | None) -> ClassWeights:
    """Weigh each class by samples / (classes x samples of the class), so that all classes weigh the same."""
    classes: Classes = read_classes(dataset, column, executor)
    selection = dataset.selection
    counts = np.bincount(classes.codes[selection.rank(selection.ids)], minlength=1)
    if not selection.count:
        raise OptionError(f"the weights of the classes in `{column}` need a sample, got none")
    order = np.argsort(classes.hashes)
    return ClassWeights(
        column, classes.hashes[order], (selection.count / (len(counts) * counts))[order], name
    )
