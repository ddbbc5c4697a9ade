"""Steps that choose, name and compute columns."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from headrace.errors import OptionError, PrepareError, UnknownColumnError
from headrace.fingerprint import digest
from headrace.prepare.base import Names, Step

if TYPE_CHECKING:
    import polars as pl

_WHERE = "the data set"


@dataclass(frozen=True, slots=True)
class Select:
    """Keep these columns, in this order."""

    columns: Names

    def __post_init__(self) -> None:
        if not self.columns:
            raise OptionError("at least one column must be kept, got none to select")

    def output_names(self, names: Names) -> Names:
        """Return the chosen columns."""
        _check(self.columns, names)
        return self.columns

    def narrow(
        self, names: Names | None, wanted: frozenset[str] | None
    ) -> tuple[Step, frozenset[str] | None]:
        """Take only what is wanted of the chosen columns, but one at least, which carries the rows."""
        kept = tuple(name for name in self.columns if wanted is None or name in wanted) or self.columns[:1]
        return Select(kept), frozenset(kept)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the chosen columns."""
        return frame[list(self.columns)]


@dataclass(frozen=True, slots=True)
class Drop:
    """Leave these columns out."""

    columns: Names

    def output_names(self, names: Names) -> Names:
        """Return the columns that are left."""
        _check(self.columns, names)
        left = tuple(name for name in names if name not in self.columns)
        if not left:
            raise OptionError(f"at least one column must be kept, but {list(self.columns)} are all there are")
        return left

    def narrow(
        self, names: Names | None, wanted: frozenset[str] | None
    ) -> tuple[Step, frozenset[str] | None]:
        """Where the names are known, select what is left of them, so that the rest is not even read."""
        if names is not None:
            return Select(self.output_names(names)).narrow(names, wanted)
        return self, None if wanted is None else wanted | frozenset(self.columns)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the columns that are left."""
        return frame.drop(self.columns)


@dataclass(frozen=True, slots=True)
class Rename:
    """Give columns new names.

    Attributes:
        mapping: Old name to new name.
        kept: After narrowing, the columns to return, under their new names; None for all.
    """

    mapping: Mapping[str, str]
    kept: Names | None = field(default=None, metadata={"fingerprint": False})

    def output_names(self, names: Names) -> Names:
        """Return the names after the change."""
        _check(tuple(self.mapping), names)
        renamed = tuple(self.mapping.get(name, name) for name in names)
        if len(set(renamed)) != len(renamed):
            raise OptionError(
                f"column names must be unique, but renaming by {dict(self.mapping)} gives {renamed}"
            )
        return renamed

    def narrow(
        self, names: Names | None, wanted: frozenset[str] | None
    ) -> tuple[Step, frozenset[str] | None]:
        """Translate the wanted names back."""
        if wanted is None:
            return self, None
        if names is None:
            return self, frozenset(self.mapping) | (wanted - frozenset(self.mapping.values()))
        pairs = [(old, self.mapping.get(old, old)) for old in names]
        pairs = [(old, new) for old, new in pairs if new in wanted] or pairs[:1]
        changed = {old: new for old, new in pairs if old != new}
        return Rename(changed, tuple(new for _, new in pairs)), frozenset(old for old, _ in pairs)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame under its new names."""
        if self.kept is None:
            return frame.rename(dict(self.mapping))
        # A step before may give more than was asked for, even under a name that is given here.
        before = {new: old for old, new in self.mapping.items()}
        return frame.select(before.get(new, new) for new in self.kept).rename(dict(self.mapping))


@dataclass(frozen=True, slots=True)
class WithColumns:
    """Add or replace columns by Polars expressions that look at one row at a time.

    An expression that looks at other rows (a mean, a shift, a window) would see one row group
    and not the data set, so it is refused.
    """

    expressions: tuple[pl.Expr, ...]

    def __post_init__(self) -> None:
        for expression in self.expressions:
            check_elementwise(expression)
        named = Counter(_output_name(expression) for expression in self.expressions)
        twice = [name for name, count in named.items() if name is not None and count > 1]
        if twice:
            raise OptionError(f"each column can be given once, but several expressions give `{twice[0]}`")

    @property
    def made(self) -> Names | None:
        """The columns added or replaced; None if only the columns' types tell them."""
        added = [_output_name(expression) for expression in self.expressions]
        return None if None in added else tuple(name for name in added if name is not None)

    def output_names(self, names: Names) -> Names | None:
        """Return the old names, then the new ones; None if only the columns' types tell them."""
        made = self.made
        if made is None:
            return None
        for expression in self.expressions:
            _check(tuple(expression.meta.root_names()), names)
        return tuple(dict.fromkeys((*names, *made)))

    def narrow(
        self, names: Names | None, wanted: frozenset[str] | None
    ) -> tuple[Step, frozenset[str] | None]:
        """Leave out expressions whose result nobody wants."""
        named = [(_output_name(expression), expression) for expression in self.expressions]
        if wanted is None or any(name is None for name, _ in named):
            return self, None
        kept = [(name, expression) for name, expression in named if name in wanted]
        roots = {root for _, expression in kept for root in expression.meta.root_names()}
        made = {name for name, _ in kept}
        return WithColumns(tuple(expression for _, expression in kept)), frozenset((wanted - made) | roots)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the columns added."""
        return frame.with_columns(self.expressions)


@dataclass(frozen=True, slots=True)
class Map:
    """Send each row group's frame through a function that keeps the number of rows.

    Attributes:
        function: Takes and returns a Polars frame; must be deterministic and thread-safe.
        version: Stands for the function in the fingerprint, where it cannot be identified by
            its code and the values that it closes over.
    """

    function: Callable[[pl.DataFrame], pl.DataFrame] = field(metadata={"fingerprint": "now"})
    version: str | None = None
    identity: str = ""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise OptionError(f"`map` takes a function of a Polars frame, got {self.function!r}")
        if not self.identity:
            identity = (
                digest("map", self.version) if self.version is not None else digest("map", self.function)
            )
            object.__setattr__(self, "identity", identity)

    def output_names(self, names: Names) -> None:
        """Only running the function can tell."""

    def narrow(
        self, names: Names | None, wanted: frozenset[str] | None
    ) -> tuple[Step, frozenset[str] | None]:
        """The function may look at any column."""
        return self, None

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Call the function and check what it returns."""
        import polars as pl

        result: Any = self.function(frame)
        if not isinstance(result, pl.DataFrame):
            raise PrepareError(f"{self.label} must return a Polars DataFrame, got {type(result).__name__}")
        if result.height != frame.height:
            raise PrepareError(
                f"{self.label} must keep the number of rows, got {result.height} for {frame.height}; "
                "to leave samples out, select them before they are prepared"
            )
        return result

    @property
    def label(self) -> str:
        """What errors call the function."""
        code = getattr(self.function, "__code__", None)
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        return f"`{name}` (line {code.co_firstlineno} of {code.co_filename})" if code else f"`{name}`"

    def __str__(self) -> str:
        return f"map by {self.label}"


_FLOATS = ("Float", "Float32", "Float64")
_INSTEAD = "use a step that is fitted, or `map` to work on each row group"


def check_elementwise(expression: pl.Expr, instead: str = _INSTEAD) -> None:
    """Refuse an expression that looks at more than one row at a time.

    Args:
        expression: What to judge.
        instead: What the error advises.

    Raises:
        OptionError: The message names the part that does.
        FingerprintError: It calls a Python function, of which nothing can be told.
    """
    digest(expression)
    for part in _parts(_plain(expression)):
        if not _looks_at_one_row(part):
            raise OptionError(
                f"`{expression}` must look at one row at a time, but `{part}` looks at others and would see "
                f"one row group instead of the data set; {instead}"
            )


def _output_name(expression: pl.Expr) -> str | None:
    """Name the one column that an expression gives, None if it gives several or only running it tells."""
    import polars as pl

    if expression.meta.has_multiple_outputs():
        return None
    try:
        return expression.meta.output_name()
    except pl.exceptions.PolarsError:
        return None


def _looks_at_one_row(part: pl.Expr) -> bool:
    import polars as pl

    meta = part.meta
    try:
        if meta.is_literal():
            return meta.is_scalar()
        keeps_rows = meta.is_row_separable() and (meta.is_length_preserving() or meta.is_scalar())
        # The version of Polars at hand does not call an alias separable, though it only renames.
        return keeps_rows or _renames(part)
    except pl.exceptions.PolarsError:  # it cannot be judged without the types of the columns
        return False


def _renames(part: pl.Expr) -> bool:
    inputs = part.meta.pop()
    return len(inputs) == 1 and part.meta.undo_aliases().meta.eq(inputs[0].meta.undo_aliases())


def _plain(expression: pl.Expr) -> pl.Expr:
    """Rewrite what Polars cannot judge without a schema into what looks at as many rows."""
    import polars as pl

    text = expression.meta.serialize(format="json")
    tree = _rewritten(json.loads(text))
    return pl.Expr.deserialize(io.StringIO(json.dumps(tree)), format="json")


def _rewritten(node: Any) -> Any:
    """Rewrite selectors, evaluations within lists and structs, and lists of values to look for."""
    match node:
        case list():
            return [_rewritten(member) for member in cast("list[Any]", node)]
        case {"Selector": _} | {"Field": _}:  # the latter within the evaluation of a struct
            return {"Column": "column"}
        case {"StructEval": {"expr": first, "evaluation": [*rest]}} | {
            "Function": {
                "input": [first, *rest],
                # What `pl.sql_expr` makes of `*`, `/`, `%`, `IN`, `ROUND`, and of numbers for functions.
                "function": {"Sql": {"Binary": _} | {"IsIn": _} | {"Round": _} | "ToFloat"},
            }
        }:
            tree = _rewritten(first)
            for part in rest:
                if "Series" not in part.get("Literal", {}):
                    tree = {"BinaryExpr": {"left": tree, "op": "Plus", "right": _rewritten(part)}}
            return tree
        case (
            {"Eval": {"expr": inner}}  # within each list by itself
            | {
                "Function": {
                    "input": [inner, {"Literal": {"Series": _}}],
                    "function": {"Boolean": {"IsIn": _}},
                }
            }
        ):
            return _rewritten(inner)
        case dict():
            items = cast("dict[str, Any]", node).items()
            # JSON has no infinity and no NaN, which a literal may be.
            return {key: 0.0 if key in _FLOATS and it is None else _rewritten(it) for key, it in items}
        case _:
            return node


def _parts(expression: pl.Expr) -> Iterator[pl.Expr]:
    yield expression
    for part in expression.meta.pop():
        yield from _parts(part)


def _check(wanted: Names, names: Names) -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UnknownColumnError.from_names(missing, names, _WHERE)
