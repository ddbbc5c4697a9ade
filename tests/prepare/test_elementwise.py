"""`with_columns` takes expressions that look at one row at a time, and refuses all others by name."""

from __future__ import annotations

import warnings
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest

import headrace as hr

A, B, S, T = pl.col("a"), pl.col("b"), pl.col("s"), pl.col("t")
FRAME = pl.DataFrame(
    {
        "a": [3, 1, None, 2],
        "b": [0.5, float("nan"), 2.0, None],
        "s": ["2020-01-01", "x1", None, "2021-12-31"],
        "t": pl.Series([0, 86_400_000, 1, None]).cast(pl.Datetime("ms")),
        "k": [True, False, None, True],
        "l": [[1, 2], [], None, [3]],
        "st": [{"x": 1, "y": "p"}, {"x": None, "y": "q"}, {"x": 3, "y": None}, None],
    }
)
ELEMENTWISE: dict[str, Any] = {
    "arithmetic": A * 2 + B,
    "comparison": (A > 1) & ~pl.col("k"),
    "is_in list": A.is_in([1, 2]),
    "is_in texts": S.is_in(["x1"]),
    "is_in series": A.is_in(pl.Series([1, 2]).implode()),
    "is_between": A.is_between(1, 2),
    "replace": A.replace({1: 2}),
    "replace_strict": A.replace_strict({1: 2}, default=None),
    "when": pl.when(A > 1).then(B).otherwise(0).alias("z"),
    "cast": A.cast(pl.Float32),
    "fill_null": A.fill_null(0),
    "fill_nan": B.fill_nan(None),
    "clip": A.clip(0, 2),
    "literal": pl.lit(1).alias("one"),
    "literal text": pl.lit("x").alias("one"),
    "literal list": pl.lit([1, 2]).alias("z"),
    "struct": pl.struct("a", "b").alias("z"),
    "field": pl.col("st").struct.field("x"),
    "with_fields": pl.col("st").struct.with_fields(pl.field("x") * 2),
    "concat_str": pl.concat_str("a", "s").alias("z"),
    "concat_list": pl.concat_list("a", "b").alias("z"),
    "format": pl.format("{}-{}", "a", "s").alias("z"),
    "coalesce": pl.coalesce("a", "b"),
    "horizontal": pl.sum_horizontal("a", "b").alias("z"),
    "list length": pl.col("l").list.len(),
    "list sum": pl.col("l").list.sum(),
    "list eval": pl.col("l").list.eval(pl.element() * 2),
    "rank within a list": pl.col("l").list.eval(pl.element().rank()),
    "text": S.str.to_uppercase().str.len_chars(),
    "extract": S.str.extract(r"(\d+)"),
    "parse with a format": S.str.to_date("%Y-%m-%d", strict=False),
    "date parts": T.dt.hour(),
    "alias inside": A.alias("q") + 1,
    "name suffix": A.name.suffix("_x"),
    "name keep": (A * 2).alias("q").name.keep(),
    "all": pl.all().is_null(),
    "regex": pl.col("^(a|b)$") + 1,
    "several": pl.col("a", "b") * 2,
    "by type": pl.col(pl.Int64) + 1,
    "exclude": pl.all().exclude("a").is_null(),
    "selector": cs.numeric() * 2,
    "selectors": (cs.numeric() - cs.by_name("a")).cast(pl.Float32),
    "selector with a name": cs.starts_with("a").name.prefix("p_"),
    "first column": pl.first() * 2,
    "SQL arithmetic": pl.sql_expr("a * 2 / (b + 1) % 3 - a // 2 AS z"),
    "SQL functions": pl.sql_expr("ROUND(SIN(b) + POW(a, 2), 1) AS z"),
    "SQL conditions": pl.sql_expr("a IN (1, 2) AND s NOT IN ('x1') OR b BETWEEN 0 AND 1 AS z"),
    "SQL case": pl.sql_expr("CASE WHEN a > 1 THEN COALESCE(b, 0) * 2 ELSE NULLIF(a, 1) END AS z"),
}
MANY_ROWS: dict[str, tuple[Any, str]] = {
    "mean": (A - A.mean(), "mean"),
    "aggregate alone": (A.sum(), "sum"),
    "alias inside": (A - A.mean().alias("m"), "mean"),
    "quantile": (A.quantile(0.5), "quantile"),
    "null_count": (A.null_count(), "null_count"),
    "any": (pl.col("k").any(), "any"),
    "first": (A.first(), "first"),
    "shift": (A.shift(1), "shift"),
    "diff": (A.diff(), "diff"),
    "cum_sum": (A.cum_sum(), "cum_sum"),
    "cum_count": (A.cum_count(), "cum_count"),
    "rolling": (A.rolling_mean(3), "rolling_mean"),
    "ewm": (A.ewm_mean(com=1), "ewm_mean"),
    "over": (A.sum().over("s"), "over"),
    "elementwise over": ((A + 1).over("s"), "over"),
    "rank": (A.rank(), "rank"),
    "len": (pl.len(), "len"),
    "by len": (A / pl.len(), "len"),
    "int_range": (pl.int_range(pl.len()).alias("i"), "int_range"),
    "sort": (A.sort(), "sort"),
    "sort_by": (A.sort_by("b"), "sort_by"),
    "reverse": (A.reverse(), "reverse"),
    "sample": (A.sample(fraction=1.0), "sample"),
    "shuffle": (A.shuffle(seed=1), "shuffle"),
    "unique": (A.unique(), "unique"),
    "head": (A.head(3), "slice"),
    "gather": (A.gather([0]), "gather"),
    "filter": (A.filter(B > 0), "filter"),
    "drop_nulls": (A.drop_nulls(), "drop_nulls"),
    "explode": (pl.col("l").explode(), "explode"),
    "implode": (A.implode(), "implode"),
    "append": (A.append(B), "a"),
    "reshape": (A.reshape((-1,)), "reshape"),
    "forward fill": (A.forward_fill(), "a"),
    "fill by mean": (A.fill_null(strategy="mean"), "a"),
    "interpolate": (A.interpolate(), "interpolate"),
    "is_duplicated": (A.is_duplicated(), "is_duplicated"),
    "is_first_distinct": (A.is_first_distinct(), "is_first_distinct"),
    "rle_id": (A.rle_id(), "rle_id"),
    "series": (pl.lit(pl.Series([1, 2, 3])).alias("z"), "Series"),
    "series inside": (A + pl.lit(pl.Series([1, 2, 3])), "Series"),
    "aggregate in when": (pl.when(A.mean() < A).then(1).otherwise(0), "mean"),
    "aggregate in a struct": (pl.struct(A.mean(), "b").alias("z"), "mean"),
    "aggregate in a list": (A.is_in(B.implode()), "implode"),
    "aggregate in a field": (pl.col("st").struct.with_fields(pl.field("x").mean()), "mean"),
    "selector": (cs.numeric() - cs.numeric().mean(), "mean"),
    "all": (pl.all().max(), "max"),
    "regex": (pl.col("^a$").shift(), "shift"),
    "guessed format": (S.str.to_date(), "strptime"),
    "SQL aggregate": (pl.sql_expr("a * MAX(b)"), "max"),
    "SQL aggregate in a product": (pl.sql_expr("a / AVG(a)"), "mean"),
    "SQL window": (pl.sql_expr("a * 2 + RANK() OVER (ORDER BY a)"), "count"),
}


def cut(frame: pl.DataFrame) -> hr.Dataset:
    """Give every row a row group of its own, so that what looks further sees too little."""
    return hr.Dataset.of(OneRowGroups(frame))


class OneRowGroups:
    """A source whose row groups hold one row each."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._inner = hr.from_polars(frame).recipe.source
        shard = hr.Shard("frame", (1,) * frame.height, (8,) * frame.height, "00")
        self.schema, self.manifest = self._inner.schema, hr.Manifest((shard,))

    def read(self, row_group: hr.RowGroup, columns: Any) -> Any:
        return self._inner.read(row_group, columns)


@pytest.mark.parametrize("expression", ELEMENTWISE.values(), ids=ELEMENTWISE)
def test_elementwise_expressions_do_not_depend_on_row_groups(expression: pl.Expr) -> None:
    """What looks at one row at a time gives the same in row groups of one row as over the whole frame."""
    expected = FRAME.with_columns(expression)

    assert cut(FRAME).with_columns(expression).to_polars().equals(expected)


@pytest.mark.parametrize(("expression", "part"), MANY_ROWS.values(), ids=MANY_ROWS)
def test_expressions_over_many_rows_are_refused(expression: pl.Expr, part: str) -> None:
    """What looks at other rows is refused when the data set is made, and the part that does is named."""
    with pytest.raises(
        hr.OptionError, match=r"must look at one row at a time, but `.*` looks at others"
    ) as caught:
        hr.from_polars(FRAME).with_columns(expression)
    assert part in str(caught.value).split(" but ")[1]
    assert "`map`" in str(caught.value)


def test_python_functions_in_expressions_are_refused() -> None:
    """A Python function inside an expression cannot be identified by value; the error points to `map`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expressions = [
            A.map_elements(lambda value: value + 1, return_dtype=pl.Int64),
            A.map_batches(lambda series: series, return_dtype=pl.Int64, is_elementwise=True),
            pl.fold(pl.lit(0), lambda one, two: one + two, ["a"]).alias("z"),
        ]
    for expression in expressions:
        with pytest.raises(hr.FingerprintError, match=r"Python function.*`ds\.map\(function\)`"):
            hr.from_polars(FRAME).with_columns(expression)


def test_named_values_and_lists_of_expressions() -> None:
    """Expressions may be given by name, in lists, and as plain values."""
    ds = hr.from_polars(FRAME).with_columns([A + 1, B * 2], c=A * B, d=7)

    assert ds.to_polars().equals(FRAME.with_columns([A + 1, B * 2], c=A * B, d=7))


def test_one_name_for_two_expressions() -> None:
    """Two expressions of one name are refused when the data set is made."""
    with pytest.raises(hr.OptionError, match="several expressions give `a`"):
        hr.from_polars(FRAME).with_columns(A + 1, (B * 2).alias("a"))


def test_unknown_column_in_an_expression() -> None:
    """A column that is not there is refused when the data set is made, with near matches."""
    ds = hr.from_arrays({"weight": [1.0]})

    with pytest.raises(hr.UnknownColumnError, match=r"`wieght`; did you mean `weight`"):
        ds.with_columns(double=pl.col("wieght") * 2)


def test_expression_that_fails_while_reading() -> None:
    """An expression that fails on some values is an error with the row group, and the cause kept."""
    ds = hr.from_arrays({"s": ["1", "x"]}).with_columns(pl.col("s").cast(pl.Int64))

    with pytest.raises(hr.PrepareError, match=r"memory, row group 0: .*InvalidOperationError") as caught:
        ds.to_polars()
    assert isinstance(caught.value.__cause__, pl.exceptions.PolarsError)
