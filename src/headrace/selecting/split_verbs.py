"""The verbs that part a data set's samples: split, kfold, time_folds, balance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from headrace.errors import OptionError, check_whole
from headrace.execution.executors import Executor
from headrace.selecting.assigning import Shares
from headrace.selecting.balance import How, resample, weigh
from headrace.selecting.base import Selectable
from headrace.selecting.folds import Folds, make_folds, make_time_folds
from headrace.selecting.identity import By, check_by
from headrace.selecting.split import (
    DEFAULT_SHARES,
    SplitOptions,
    Splits,
    check_alone,
    split,
    split_by_time,
)
from headrace.selecting.times import Gap

D = TypeVar("D", bound=Selectable)


class SplitVerbs:
    """Splits, folds and class balance, as verbs of a data set.

    All of them work over the samples that take part, keep their order, and decide for a sample that is
    selected several times once, with all its copies (`balance` counts each copy). What they return shares
    the source and the recipe.
    """

    __slots__ = ()

    def split(  # noqa: PLR0913  the names are those of scikit-learn, each one word
        self: D,
        shares: Mapping[str, float] | None = None,
        *,
        seed: int = 0,
        by: By = None,
        stratify: str | None = None,
        time: str | None = None,
        gap: Gap | None = None,
        exact: bool = False,
        executor: Executor | None = None,
        **named: float,
    ) -> Splits[D]:
        """Part the samples by name, so that no sample is in two parts.

        A sample's part follows from a keyed hash of what it is: its group, its contents, or its id. Sizes
        are statistical then. The part is the same on every machine, and never changes when data is added.

        Args:
            shares: Name to share, instead of keywords.
            seed: Chooses which samples go where.
            by: A column, or several, whose equal values stay together, or `hr.Content()`, which keeps equal
                samples together, or `hr.Duplicates(report)`, which keeps near copies together. A sample with
                a null in one of the columns stands alone, by its id.
            stratify: A column whose classes each part gets its share of, to within one sample. With `by`,
                as near as whole groups allow. Exact, so no promise holds when data is added.
            time: A column of times or numbers by whose values the parts follow each other. Equal values
                stay together; nothing is drawn.
            gap: With `time`, how much is left out at the end of each part before the next one begins: a
                `timedelta`, a text such as "7d", or a number beside a column of numbers.
            exact: Exact sizes, rounded to whole samples; with `by`, as near as whole groups allow. No
                promise holds when data is added.
            executor: Where columns are read; threads by default.
            named: Name to share. What the shares lack to 1 is left out. By default `train=0.7`,
                `val=0.15`, `test=0.15`.

        Raises:
            OptionError: An argument cannot be right, or a cut by time leaves a part empty.
            UnknownColumnError: A column is not there.
            StateError: The report of `hr.Duplicates` is about other samples.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"user": [n // 4 for n in range(400)], "y": [n % 2 for n in range(400)]})
            >>> parts = ds.split(train=0.8, test=0.2, seed=1, by="user")
            >>> parts
            Splits(train=324, test=76)
            >>> parts.report().shared_groups
            0
        """
        check_whole("seed", seed)
        if shares is not None and named:
            raise OptionError("give shares as keywords or as one mapping, not both")
        chosen = Shares.of(shares or named or DEFAULT_SHARES)
        if time is not None:
            check_alone("time", by=by, stratify=stratify, exact=exact)
            return split_by_time(self, chosen, time, gap, executor)
        if gap is not None:
            raise OptionError(f"`gap` goes with `time`, got {gap=} alone")
        check_by(self, by)
        return split(self, chosen, SplitOptions(seed, by, stratify, exact, executor))

    def kfold(
        self: D,
        k: int = 5,
        *,
        seed: int = 0,
        by: By = None,
        stratify: str | None = None,
        executor: Executor | None = None,
    ) -> Folds[D]:
        """Part the samples into k folds, each of which is once what the others are judged by.

        Sizes differ by at most one sample. With `stratify` those of each class do; with `by` whole groups
        are assigned, large ones first, each where it evens out sizes and classes most.

        Args:
            k: How many folds, at least 2.
            seed: Chooses which samples go where.
            by: As in `split`.
            stratify: As in `split`.
            executor: Where columns are read; threads by default.

        Raises:
            OptionError: There are fewer samples or groups than folds.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"x": list(range(10))})
            >>> [len(fold.validation) for fold in ds.kfold(3, seed=1)]
            [4, 3, 3]
        """
        check_whole("seed", seed)
        check_by(self, by)
        return make_folds(self, k, SplitOptions(seed, by, stratify, exact=True, executor=executor))

    def time_folds(
        self: D,
        k: int = 5,
        *,
        time: str | None = None,
        gap: Gap | None = None,
        executor: Executor | None = None,
    ) -> Folds[D]:
        """Make k folds that learn from the past and are judged by what comes next.

        The samples are cut along time into k + 1 parts. Fold i is judged by one of the last k, and learns
        from all before it.

        Args:
            k: How many folds, at least 2.
            time: As in `split`; the order in which the samples lie by default.
            gap: As in `split`: what is left out before the samples that a fold is judged by. Without `time`
                a number of samples.
            executor: Where the column is read; threads by default.

        Raises:
            OptionError: A fold would have nothing to learn from, or nothing to be judged by.

        Example:
            >>> import headrace as hr
            >>> for fold in hr.from_arrays({"x": list(range(8))}).time_folds(3, gap=1):
            ...     print(fold.train.sample_ids, fold.validation.sample_ids)
            [0] [2 3]
            [0 1 2] [4 5]
            [0 1 2 3 4] [6 7]
        """
        return make_time_folds(self, k, time, gap, executor)

    def balance(
        self: D,
        label: str,
        how: How = "oversample",
        *,
        seed: int = 0,
        name: str = "weight",
        executor: Executor | None = None,
    ) -> D:
        """Make all classes count the same. A mix whose samples are repeated or left out ends here.

        Args:
            label: The column that tells the class; null is a class, too.
            how: `"oversample"` repeats samples until each class has as many as the largest one: each as
                often as the others of its class, or once more. `"undersample"` leaves out samples until each
                class has as many as the smallest one. `"weights"` adds a column of float64, the weight of
                each sample's class: samples / (classes x samples of the class).
            seed: Chooses which samples are repeated or left out.
            name: Of the column of weights.
            executor: Where the column is read; threads by default.

        Raises:
            OptionError: `how` is none of the three, or the data set has a column `name`.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"y": ["a", "a", "a", "b"]})
            >>> ds.balance("y", how="oversample").sample_ids.tolist()
            [0, 1, 2, 3, 3, 3]
            >>> len(ds.balance("y", how="undersample"))
            2
            >>> ds.balance("y", how="weights").to_polars()["weight"].round(2).to_list()
            [0.67, 0.67, 0.67, 2.0]
        """
        check_whole("seed", seed)
        if how == "weights":
            return self.prepare(weigh(self, label, name, executor))
        if how not in ("oversample", "undersample"):
            raise OptionError(f'`how` must be "oversample", "undersample" or "weights", got {how!r}')
        return resample(self, label, how == "oversample", seed, executor)
