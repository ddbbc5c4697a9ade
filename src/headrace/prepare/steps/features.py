"""Steps that compute columns of others: expressions, crosses, products."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, combinations_with_replacement
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError, PrepareError, SchemaError, check_whole
from headrace.prepare.columns import check_elementwise
from headrace.prepare.step import PrepareStep
from headrace.prepare.steps.adding import AddingStep, Made
from headrace.prepare.steps.matching import kind_of_type, one_line

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, init=False)
class Expression(PrepareStep):
    """Add or replace columns by Polars expressions that look at one sample at a time.

    Null, NaN and infinity are what the expressions make of them. Floats are new numbers and take the
    pipeline's dtype. Polars divides one row otherwise than many; here one row is computed as two, so that
    it gets the same bits.

    An expression that looks at other samples (a mean, a shift, a window) is refused, and so is one that
    calls a Python function; take `FunctionStep`.

    Attributes:
        expressions: One or more, or given by name.

    Example:
        >>> import headrace as hr, polars as pl
        >>> ds = hr.from_arrays({"miles": [10.0, 30.0], "hours": [2.0, 4.0]})
        >>> pipe = hr.Pipeline([hr.Expression(speed=pl.col("miles") / pl.col("hours"))]).fit(ds)
        >>> pipe.transform({"miles": 30.0, "hours": 4.0})
        {'miles': 30.0, 'hours': 4.0, 'speed': 7.5}
    """

    expressions: tuple[pl.Expr, ...]

    def __init__(
        self, expressions: pl.Expr | Iterable[pl.Expr] = (), *, columns: None = None, **named: pl.Expr
    ) -> None:
        import polars as pl

        given = [expressions] if isinstance(expressions, pl.Expr) else list(expressions)
        wrong = [it for it in (*given, *named.values()) if not isinstance(it, pl.Expr)]  # pyright: ignore[reportUnnecessaryIsInstance]
        if wrong or columns is not None:
            raise OptionError(
                f"Expression takes Polars expressions alone, got {wrong[0] if wrong else columns!r}"
            )
        everything = (*given, *(expression.alias(name) for name, expression in named.items()))
        if not everything:
            raise OptionError('Expression needs at least one expression, like `double=pl.col("x") * 2`')
        for expression in everything:
            check_elementwise(expression, "use a step that is fitted, or `FunctionStep`")
        object.__setattr__(self, "expressions", everything)
        object.__setattr__(self, "columns", None)
        object.__setattr__(self, "learned", {})

    def treats(self, dtype: pl.DataType) -> bool:
        """The expressions name what they look at."""
        return True

    def bound(self, schema: pl.Schema) -> Self:
        """Find what the expressions look at, and what they make.

        Raises:
            SchemaError: An expression does not fit the columns, or two make the same one.
        """
        import polars as pl

        made: list[list[str]] = []
        inputs: list[list[str]] = []
        for expression in self.expressions:
            try:
                made.append(schema.to_frame().select(expression).columns)
            except pl.exceptions.PolarsError as error:
                raise SchemaError(
                    f"Expression: `{expression}` does not fit {schema.names()}: {one_line(error)}"
                ) from error
            names = expression.meta.root_names()
            inputs.append(
                schema.names() if expression.meta.has_multiple_outputs() else list(dict.fromkeys(names))
            )
        everything = list(chain.from_iterable(made))
        twice = [name for place, name in enumerate(everything) if name in everything[:place]]
        if twice:
            raise SchemaError(
                f"Expression: each column can be made once, but several expressions make `{twice[0]}`"
            )
        replaced = [name for name in everything if name in schema]
        learned = {"made_": made, "inputs_": inputs, "places_": list(range(len(made))), "replaced_": replaced}
        return self.with_learned({"columns_": list(dict.fromkeys(chain.from_iterable(inputs))), **learned})

    @property
    def makes_floats(self) -> bool:
        """Computed numbers are new."""
        return True

    @property
    def rewrites(self) -> tuple[str, ...]:
        """The columns that are replaced."""
        return tuple(name for name in self.replaced_ if name in self._made)

    @property
    def _made(self) -> list[str]:
        return list(chain.from_iterable(self.made_))

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Send no samples through the step."""
        return self.apply(schema.to_frame()).schema

    def outputs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """New columns come last, replaced ones stay in their place."""
        return tuple(dict.fromkeys((*names, *self._made)))

    def narrowed(self, wanted: frozenset[str]) -> tuple[Self | None, frozenset[str]]:
        """Leave out expressions that make nothing that is wanted."""
        kept = [place for place, names in enumerate(self.made_) if not wanted.isdisjoint(names)]
        if not kept:
            return None, wanted
        made = [self.made_[place] for place in kept]
        inputs = [self.inputs_[place] for place in kept]
        needed = frozenset(chain.from_iterable(inputs))
        learned = {"made_": made, "inputs_": inputs, "places_": [self.places_[place] for place in kept]}
        columns = [name for name in self.names if name in needed]
        step = self.with_learned({"columns_": columns, **learned})
        return step, (wanted - frozenset(chain.from_iterable(made))) | needed

    def inverse(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """Leave the new columns out again; None if old ones were replaced."""
        return None if self.replaced_ else frame.drop(self._made, strict=False)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with columns computed; thread-safe.

        Raises:
            PrepareError: An expression failed.
        """
        import polars as pl

        chosen = [self.expressions[place] for place in self.places_]
        try:
            result = _plain_frame(frame).with_columns(chosen)
        except pl.exceptions.PolarsError as error:
            raise PrepareError(f"Expression failed: {one_line(error)}") from error
        return result.head(1) if frame.height == 1 else result


def _plain_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame of whole columns, with one row twice.

    Polars computes otherwise, to the last bit, for one row, for a chunk of one row and for a column that it
    keeps as one repeated value.
    """
    import polars as pl

    columns = frame.get_columns()
    if frame.height == 1:
        columns = [pl.concat([series, series]) for series in columns]
    return pl.DataFrame([series.rechunk() for series in columns])


@dataclass(frozen=True)
class Cross(AddingStep):
    """Join the categories of several columns to one category, as text.

    Null if any of them is null. Texts that hold the separator may join to the same text in two ways; take a
    separator that does not occur.

    Events: "separator", by new column: samples of which a value holds the separator.

    Attributes:
        into: The new column; by default the names joined by the separator.
        separator: What stands between the values.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"sex": ["F", "M"], "age": [3, 4]})
        >>> hr.Pipeline([hr.Cross(columns=["sex", "age"], into="who")]).fit(ds).transform(
        ...     {"sex": "F", "age": 3}
        ... )
        {'sex': 'F', 'age': 3, 'who': 'F_3'}
    """

    into: str | None = None
    separator: str = "_"

    def __post_init__(self) -> None:
        if self.columns is None:
            raise OptionError('Cross needs `columns`, like `Cross(columns=["city", "day"])`')
        if not isinstance(self.separator, str) or not self.separator:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(f"`separator` must be a text of at least one character, got {self.separator!r}")

    def treats(self, dtype: pl.DataType) -> bool:
        """Categories: text, whole numbers, truth values and times; floats are put into buckets before."""
        return kind_of_type(dtype) not in (None, "bytes") and not dtype.is_float()

    def makes(self, schema: pl.Schema) -> Made:
        """One column of all."""
        if len(self.names) < 2:
            raise OptionError(f"Cross needs at least two columns, got {list(self.names)}")
        return [(self.into or self.separator.join(self.names), self.names)]

    def compute(self, frame: pl.DataFrame) -> Sequence[pl.Series]:
        """Join the texts."""
        import polars as pl

        texts = [pl.col(name).cast(pl.String) for name in self.names]
        joined = pl.concat_str(texts, separator=self.separator).alias(self.made_[0])
        return [frame.select(joined).to_series()]

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count samples of which a value holds the separator."""
        import polars as pl

        texts = [pl.col(name).cast(pl.String) for name in self.names]
        holds = pl.any_horizontal([text.str.contains(self.separator, literal=True) for text in texts])
        return {name: {"separator": int(frame.select(holds.sum()).item())} for name in self.made_}


@dataclass(frozen=True)
class Polynomial(AddingStep):
    """Add the products of columns up to a degree.

    Columns and their order are those of scikit-learn's `PolynomialFeatures`: "a^2", "a b". The columns
    themselves stay as they are. Products are float64 and multiplied in a fixed order, so that one row gets
    the same bits as many. A missing factor (null, NaN) makes a missing product, and so does infinity times
    zero.

    Attributes:
        degree: The most factors of a product.
        interaction_only: Whether a column is a factor at most once.
        include_bias: Whether a column "1" of ones comes first.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"a": [2.0], "b": [3.0]})
        >>> hr.Pipeline([hr.Polynomial()]).fit(ds).transform({"a": 2.0, "b": 3.0})
        {'a': 2.0, 'b': 3.0, 'a^2': 4.0, 'a b': 6.0, 'b^2': 9.0}
    """

    degree: int = 2
    interaction_only: bool = False
    include_bias: bool = False

    def __post_init__(self) -> None:
        check_whole("degree", self.degree, least=2)

    @property
    def makes_floats(self) -> bool:
        """Products are new numbers."""
        return True

    def treats(self, dtype: pl.DataType) -> bool:
        """Numbers are multiplied."""
        return dtype.is_numeric()

    def makes(self, schema: pl.Schema) -> Made:
        """One column for each product, by rising degree."""
        choose = combinations if self.interaction_only else combinations_with_replacement
        products = chain.from_iterable(choose(self.names, degree) for degree in range(2, self.degree + 1))
        bias: Made = [("1", ())] if self.include_bias else []
        return [*bias, *((_product_name(factors), factors) for factors in products)]

    def compute(self, frame: pl.DataFrame) -> Sequence[pl.Series]:
        """Multiply, the last factors first."""
        import polars as pl

        values: dict[str, NDArray[np.float64]] = {
            name: frame[name].cast(pl.Float64).to_numpy() for name in self.names
        }
        made: list[pl.Series] = []
        for name in self.made_:
            product = np.ones(frame.height)
            with np.errstate(all="ignore"):
                for factor in reversed(self.inputs_[name]):
                    product = values[factor] * product
            made.append(pl.Series(name, product, pl.Float64).fill_nan(None))
        return made


def _product_name(factors: Sequence[str]) -> str:
    """Name a product as scikit-learn does."""
    powers = {factor: factors.count(factor) for factor in dict.fromkeys(factors)}
    return " ".join(name if power == 1 else f"{name}^{power}" for name, power in powers.items())
