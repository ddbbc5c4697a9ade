"""What a Polars predicate asks of each column, as a tree that statistics can answer.

Polars names the operation of each part in the JSON form of an expression. Its literals are taken
from the expression itself, for JSON has no infinities and no NaN. What is not understood becomes a
test that statistics cannot answer, so a change of that form costs time and never a sample.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["order", "equal", "unequal", "among", "null", "not null", "nan", "not nan", "other"]

_ORDERED = {"Lt", "LtEq", "Gt", "GtEq"}
_EQUAL: dict[str, Kind] = {
    "Eq": "equal", "EqValidity": "equal", "NotEq": "unequal", "NotEqValidity": "unequal",
}  # fmt: skip
_CHECKS: dict[str, Kind] = {
    "IsNull": "null", "IsNotNull": "not null", "IsNan": "nan", "IsNotNan": "not nan",
}  # fmt: skip
_BOUNDS = {"Both": ("GtEq", "LtEq"), "Left": ("GtEq", "Lt"), "Right": ("Gt", "LtEq"), "None": ("Gt", "Lt")}


@dataclass(frozen=True, eq=False)
class Test:
    """A question about the values of at most one column, or one that cannot be answered.

    Attributes:
        kind: `"order"` if the answer changes at most once as the value rises, from false to true
            or from true to false.
        expression: What tells the answer.
        column: The column; None if there is none, or there are several.
        literal: What the column is compared with.
    """

    kind: Kind
    expression: pl.Expr
    column: str | None = None
    literal: pl.Expr | None = None

    @property
    def columns(self) -> frozenset[str]:
        """The column, if there is one."""
        return frozenset() if self.column is None else frozenset((self.column,))

    @property
    def is_constant(self) -> bool:
        """Whether no column has a part in the answer."""
        return self.column is None and _is_one(self.expression)


@dataclass(frozen=True, eq=False)
class Joined:
    """Several predicates joined by "and" or "or"."""

    operation: Literal["and", "or"]
    parts: tuple[Predicate, ...]

    @property
    def columns(self) -> frozenset[str]:
        """The columns of all parts."""
        return frozenset[str]().union(*(part.columns for part in self.parts))


@dataclass(frozen=True, eq=False)
class Negated:
    """The opposite of a predicate; null stays null."""

    part: Predicate

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the part."""
        return self.part.columns


Predicate = Test | Joined | Negated


def parse(expression: pl.Expr) -> Predicate:
    """Take a predicate apart.

    Example:
        >>> import polars as pl
        >>> tree = parse((pl.col("a") > 1) & pl.col("b").is_null())
        >>> [part.kind for part in tree.parts], sorted(tree.columns)
        (['order', 'null'], ['a', 'b'])
    """
    return _parse(expression, json.loads(expression.meta.serialize(format="json")))


def conjuncts(predicate: Predicate) -> list[Predicate]:
    """List the predicates that must all be true."""
    if isinstance(predicate, Joined) and predicate.operation == "and":
        return [part for joined in predicate.parts for part in conjuncts(joined)]
    return [predicate]


def _parse(expression: pl.Expr, tree: Any) -> Predicate:
    inputs = list(reversed(expression.meta.pop()))
    match tree:
        case {"Alias": [inner, _]}:
            return _parse(inputs[0], inner)
        case {"BinaryExpr": {"left": left, "op": "And" | "Or" as operation, "right": right}}:
            parts = (_parse(inputs[0], left), _parse(inputs[1], right))
            return Joined("and" if operation == "And" else "or", parts)
        case {"BinaryExpr": {"left": left, "op": operation, "right": right}}:
            return _compared(expression, operation, inputs, (left, right))
        case {"Function": {"input": [*trees], "function": {"Boolean": operation}}}:
            return _called(expression, operation, inputs, trees)
        case _:
            return _other(expression, tree)


def _compared(expression: pl.Expr, operation: Any, inputs: list[pl.Expr], trees: tuple[Any, Any]) -> Test:
    """Parse a comparison of a column with something that has no column, on either side."""
    for column, other in ((0, 1), (1, 0)):
        name = _column(trees[column])
        if name is not None and _is_one(inputs[other]):
            if operation in _ORDERED:
                return Test("order", expression, name)
            if operation in _EQUAL:
                return Test(_EQUAL[operation], expression, name, inputs[other])
    return _other(expression, None)


def _called(expression: pl.Expr, operation: Any, inputs: list[pl.Expr], trees: list[Any]) -> Predicate:
    if len(inputs) != len(trees):
        operation = None
    match operation, trees:
        case "Not", [tree]:
            return Negated(_parse(inputs[0], tree))
        case "AllHorizontal" | "AnyHorizontal", [*_]:
            parts = tuple(_parse(part, tree) for part, tree in zip(inputs, trees, strict=True))
            return Joined("and" if operation == "AllHorizontal" else "or", parts)
        case {"IsBetween": {"closed": closed}}, [_, _, _] if closed in _BOUNDS:
            return _between(inputs, trees, *_BOUNDS[closed])
        case {"IsIn": _}, [tree, {"Literal": _}] if (name := _column(tree)) is not None:
            return Test("among", expression, name, inputs[1])
        case str(), [tree] if operation in _CHECKS and (name := _column(tree)) is not None:
            return Test(_CHECKS[operation], expression, name)
        case _:
            return _other(expression, None)


def _between(inputs: list[pl.Expr], trees: list[Any], above: str, below: str) -> Joined:
    """Parse a range as two comparisons, which it stands for."""
    column, low, high = inputs
    over = column >= low if above == "GtEq" else column > low
    under = column <= high if below == "LtEq" else column < high
    return Joined(
        "and",
        (
            _compared(over, above, [column, low], (trees[0], trees[1])),
            _compared(under, below, [column, high], (trees[0], trees[2])),
        ),
    )


def _other(expression: pl.Expr, tree: Any) -> Test:
    name = _column(tree)
    if name is not None:  # a column of truth values, of which false lies below true
        return Test("order", expression, name)
    roots = set(expression.meta.root_names())
    is_of_one = len(roots) == 1 and not has_selector(expression)
    return Test("other", expression, roots.pop() if is_of_one else None)


def _column(tree: Any) -> str | None:
    match tree:
        case {"Column": str(name)}:
            return name
        case {"Alias": [inner, _]}:
            return _column(inner)
        case _:
            return None


def _is_one(expression: pl.Expr) -> bool:
    """Whether an expression is one value, whatever the data."""
    return not expression.meta.root_names() and not has_selector(expression)


def has_selector(expression: pl.Expr) -> bool:
    """Whether the columns of an expression depend on the frame, so that it names none of them."""
    return expression.meta.has_multiple_outputs() or '"Selector"' in expression.meta.serialize(format="json")
