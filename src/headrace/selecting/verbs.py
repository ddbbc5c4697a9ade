"""The verbs of a data set that choose samples by value, by place or by chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from headrace.errors import OptionError
from headrace.execution.executors import Executor
from headrace.execution.progress import Progress
from headrace.planning.selection import Selection
from headrace.selecting.base import Selectable
from headrace.selecting.filtering import filtered
from headrace.selecting.joining import How, On, Readable, make_join, matched, read_table
from headrace.selecting.outliers import Limits, Method, fit_limits, inliers
from headrace.selecting.sampling import sampled, sliced
from headrace.selecting.scan import ScanOptions
from headrace.selecting.stored import Cache

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

Chosen = TypeVar("Chosen", bound=Selectable)


class SampleVerbs:
    """Each verb returns the same recipe over fewer, or repeated, samples; ids stay the source's."""

    def filter(
        self: Chosen,
        *predicates: pl.Expr | Iterable[pl.Expr],
        executor: Executor | None = None,
        cache: Cache = None,
        progress: Progress = True,
    ) -> Chosen:
        """Keep the samples for which all predicates are true, in their order.

        The scan runs now, so that the length is exact from here on. Only the columns that the
        predicates need are read, only in row groups that hold samples which take part, and only
        where statistics do not tell the outcome. Null counts as not true.

        Args:
            predicates: Polars expressions that look at one row at a time, over the columns after
                the verbs so far.
            executor: Where row groups are read; threads by default.
            cache: A folder that keeps the outcome for the next time, or True for `_headrace` beside
                the data. An entry that is damaged is made again, with a warning.
            progress: True for a bar on a terminal once a second has passed, or a function of how
                many row groups are done and how many there are.

        Raises:
            OptionError: A predicate looks at several rows, or gives no truth value.
            UnknownColumnError: It names a column that is not there.

        Example:
            >>> import headrace as hr, polars as pl
            >>> ds = hr.from_arrays({"age": [17, 30, 18], "height": [1.8, 1.7, 1.6]})
            >>> ds.filter(pl.col("age") >= 18, pl.col("height") < 1.7).sample_ids.tolist()
            [2]
        """
        options = ScanOptions(executor, progress)
        return self.with_selection(filtered(self, predicates, cache, options))

    def drop_nulls(
        self: Chosen,
        columns: Sequence[str] | None = None,
        *,
        executor: Executor | None = None,
        cache: Cache = None,
        progress: Progress = True,
    ) -> Chosen:
        """Leave out the samples that are null in one of some columns, by default of all.

        NaN is a number and stays. The arguments are those of `filter`.

        Example:
            >>> import headrace as hr, polars as pl
            >>> ds = hr.from_polars(pl.DataFrame({"x": [1, None, 3], "label": [None, 0, 1]}))
            >>> ds.drop_nulls(["label"]).sample_ids.tolist(), ds.drop_nulls().sample_ids.tolist()
            ([1, 2], [2])
        """
        import polars as pl

        names = self.schema.names if columns is None else [columns] if isinstance(columns, str) else columns
        options = ScanOptions(executor, progress)
        return self.with_selection(
            filtered(self, [pl.col(name).is_not_null() for name in names], cache, options)
        )

    def drop_outliers(
        self: Chosen,
        columns: Sequence[str],
        method: Method = "iqr",
        limits: float | tuple[float | None, float | None] | Mapping[str, Limits] | None = None,
        *,
        executor: Executor | None = None,
        progress: Progress = True,
    ) -> Chosen:
        """Leave out the samples that lie outside of limits in one of some columns of numbers.

        The limits are fitted to the samples that take part, or given. A value on a limit stays, and
        so do null and NaN, which are missing and not far away. Infinite values have no part in a
        fit and lie outside of fitted limits.

        Args:
            columns: Columns of numbers.
            method: `"quantile"`, from one quantile to another; `"iqr"`, at most so many times the
                interquartile range beyond the quartiles; `"zscore"`, at most so many standard
                deviations from the mean; `"mad"`, the same with the median and 1.4826 times the
                median absolute deviation; or `"limits"` that are given.
            limits: What the method takes: (0.01, 0.99), 1.5, 3 or 3.5 by default; with
                `method="limits"` a pair, None for an open end, or a pair for each column.
            executor: Where row groups are read; threads by default.
            progress: As for `filter`.

        Raises:
            OptionError: An argument cannot be right.
            SchemaError: A column holds no numbers, or is not there.
            MemoryLimitError: One column takes more memory than reading the data may; all methods
                but `"zscore"` and `"limits"` hold one column at a time.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"x": [1.0, 2.0, 3.0, 2.0, 1.0, 100.0]})
            >>> ds.drop_outliers(["x"]).sample_ids.tolist()
            [0, 1, 2, 3, 4]
            >>> ds.drop_outliers(["x"], "limits", (2, None)).sample_ids.tolist()
            [1, 2, 3, 5]
        """
        options = ScanOptions(executor, progress)
        names = [columns] if isinstance(columns, str) else list(columns)
        if not names:
            raise OptionError("`drop_outliers` needs at least one column, got none")
        found = fit_limits(self, names, method, limits, options)
        return self.with_selection(filtered(self, inliers(found, self.schema), None, options))

    def outlier_limits(
        self: Selectable,
        columns: Sequence[str],
        method: Method = "iqr",
        limits: float | tuple[float | None, float | None] | None = None,
        *,
        executor: Executor | None = None,
        progress: Progress = True,
    ) -> dict[str, Limits]:
        """Fit the limits of `drop_outliers`, to look at them or to use them on other samples.

        Example:
            >>> import headrace as hr
            >>> train = hr.from_arrays({"x": [1.0, 2.0, 3.0, 2.0, 1.0, 100.0]})
            >>> limits = train.outlier_limits(["x"])
            >>> limits
            {'x': (-1.0, 5.0)}
            >>> len(hr.from_arrays({"x": [0.0, 6.0]}).drop_outliers(["x"], "limits", limits))
            1
        """
        options = ScanOptions(executor, progress)
        return fit_limits(self, [columns] if isinstance(columns, str) else columns, method, limits, options)

    def join(  # noqa: PLR0913  the words of joins that users of frames know
        self: Chosen,
        table: Readable | pl.DataFrame | pa.Table,
        on: On,
        *,
        how: How = "left",
        columns: Sequence[str] | None = None,
        suffix: str | None = None,
        executor: Executor | None = None,
        progress: Progress = True,
    ) -> Chosen:
        """Add columns of a small table: to each sample those of the row with equal keys.

        The table is read now and kept in memory, in each process that works on the recipe, and it goes to
        each of them with the recipe. It is a part of the recipe's identity, by value. A sample stays one
        sample, as no two rows of the table may have equal keys.

        Keys are whole numbers, texts, truth values, bytes, dates or times, of one type on both sides; whole
        numbers of any width are compared exactly. Null equals nothing, not even null. Floats are refused.

        Args:
            table: A data set, a Polars frame or an Arrow table, of any number of rows.
            on: The key columns: a name, several names, or the data set's names to the table's.
            how: `"left"` gives nulls to samples without a match; `"inner"` leaves them out, for which the
                keys are read now.
            columns: Which of the table's columns come along; all but the keys by default.
            suffix: Is put behind the names of columns that the data set has already.
            executor: Where the table and the keys are read; threads by default.
            progress: As for `filter`.

        Raises:
            OptionError: Keys repeat in the table, a column's name is taken, or an argument cannot be right.
            UnknownColumnError: A column is not there.
            SchemaError: The keys' types do not agree, or are no keys.

        Example:
            >>> import headrace as hr, polars as pl
            >>> ds = hr.from_arrays({"city": ["Oslo", "Rome", "Bern"], "sold": [3, 1, 2]})
            >>> weather = pl.DataFrame({"city": ["Rome", "Oslo"], "degrees": [28, 17]})
            >>> ds.join(weather, on="city").to_polars()["degrees"].to_list()
            [17, 28, None]
            >>> ds.join(weather, on="city", how="inner").to_polars().rows()
            [('Oslo', 3, 17), ('Rome', 1, 28)]
        """
        if how not in ("left", "inner"):
            raise OptionError(f'`how` must be "left" or "inner", got {how!r}')
        join = make_join(self, read_table(table, executor), on, columns, suffix)
        joined = self.prepare(join)
        if how == "left":
            return joined
        return joined.with_selection(matched(self, join, ScanOptions(executor, progress)))

    def slice(self: Chosen, offset: int, length: int | None = None) -> Chosen:
        """Keep samples that follow each other; a negative offset counts from the end.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"x": list(range(10))})
            >>> ds.slice(2, 3).sample_ids.tolist(), ds.slice(-2).sample_ids.tolist()
            ([2, 3, 4], [8, 9])
        """
        return self.with_selection(sliced(self.selection, offset, length))

    def sample(
        self: Chosen,
        n: int | None = None,
        fraction: float | None = None,
        seed: int = 0,
        *,
        replace: bool = False,
    ) -> Chosen:
        """Keep samples chosen by chance, in their order; the same on any machine.

        Without replacement a smaller sample lies within a larger one of the same seed.

        Args:
            n: How many.
            fraction: Or which share: `round(fraction * len(ds))` samples.
            seed: Chooses the samples.
            replace: Whether a sample may be drawn again, which repeats it. The samples never drawn
                are `ds.minus(bag)`.

        Raises:
            OptionError: An argument cannot be right, or there are too few samples.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"x": list(range(1000))})
            >>> len(ds.sample(fraction=0.1, seed=7))
            100
            >>> bag = ds.sample(fraction=1.0, replace=True, seed=7)
            >>> len(bag), len(ds.minus(bag))
            (1000, 379)
        """
        return self.with_selection(sampled(self.selection, n, fraction, seed, replace=replace))

    def minus(self: Chosen, other: Selectable) -> Chosen:
        """Keep the samples that another data set over the same data does not hold.

        Raises:
            OptionError: The other one is over other data.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"x": [5, 6, 7]})
            >>> ds.minus(ds.rows([1])).sample_ids.tolist()
            [0, 2]
        """
        return self.with_selection(self.selection - _of_same_data(self, other))

    def intersect(self: Chosen, other: Selectable) -> Chosen:
        """Keep the samples that another data set over the same data holds too.

        Raises:
            OptionError: The other one is over other data.
        """
        return self.with_selection(self.selection & _of_same_data(self, other))

    def union(self: Chosen, other: Selectable) -> Chosen:
        """Take the samples that either of two data sets over the same data holds, once, in the order of ids.

        The recipe is that of the first.

        Raises:
            OptionError: The other one is over other data.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"x": [5, 6, 7]})
            >>> ds.rows([2]).union(ds.rows([0, 0])).sample_ids.tolist()
            [0, 2]
        """
        return self.with_selection(self.selection | _of_same_data(self, other))


def _of_same_data(ds: Selectable, other: Any) -> Selection:
    if ds.manifest is not other.manifest and ds.manifest.fingerprint != other.manifest.fingerprint:
        raise OptionError("samples can be compared between data sets over the same data only; these differ")
    return other.selection
