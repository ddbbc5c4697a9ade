"""The verbs that say what values samples have: deterministic, row group by row group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from headrace.augment.base import Augmentation
from headrace.augment.chain import Chain as RandomChain
from headrace.errors import OptionError, StateError, UnknownColumnError
from headrace.execution.foreseen import check_augmentations
from headrace.execution.recipe import Recipe
from headrace.prepare.base import Step, frame_schema
from headrace.prepare.chain import Chain
from headrace.prepare.columns import Drop, Map, Rename, Select, WithColumns
from headrace.prepare.pack import Pack
from headrace.prepare.padding import Padding, PadTo
from headrace.prepare.step import PrepareStep

if TYPE_CHECKING:
    import polars as pl


class ValueVerbs:
    """The part of a data set that changes its recipe.

    Attributes:
        recipe: What is done to the samples.
    """

    recipe: Recipe

    def with_recipe(self, recipe: Recipe) -> Self:
        """Do something else to the same samples."""
        raise NotImplementedError

    def select(self, columns: Sequence[str]) -> Self:
        """Keep these columns, in this order; others are not even read.

        Example:
            >>> import headrace as hr
            >>> hr.from_arrays({"a": [1], "b": [2]}).select(["b"]).schema.names
            ['b']
        """
        return self._with(Select(_names(columns)))

    def drop(self, columns: Sequence[str]) -> Self:
        """Leave these columns out; they are not even read."""
        return self._with(Drop(_names(columns)))

    def rename(self, mapping: Mapping[str, str]) -> Self:
        """Give columns new names: old name to new name."""
        return self._with(Rename(dict(mapping)))

    def with_columns(self, *expressions: pl.Expr | Iterable[pl.Expr], **named: Any) -> Self:
        """Add or replace columns by Polars expressions that look at one row at a time.

        Raises:
            OptionError: An expression looks at several rows, such as a mean or a shift; it
                would see one row group and not the data set.

        Example:
            >>> import headrace as hr, polars as pl
            >>> ds = hr.from_arrays({"a": [1, 2]}).with_columns(double=pl.col("a") * 2)
            >>> ds.to_polars()["double"].to_list()
            [2, 4]
        """
        return self._with(WithColumns(_expressions(expressions, named)))

    def map(self, function: Callable[[pl.DataFrame], pl.DataFrame], version: str | None = None) -> Self:
        """Send each row group's frame through a function.

        Args:
            function: Takes and returns a Polars frame and keeps the number of rows. It must be
                deterministic and thread-safe.
            version: Stands for the function in the fingerprint, where it closes over what
                cannot be identified by value.

        Raises:
            FingerprintError: The function cannot be identified and no `version` was given.
        """
        return self._with(Map(function, version))

    def prepare(self, *steps: Any) -> Self:
        """Apply fitted pipelines and steps that need no fit, such as `hr.DecodeImage` or `hr.Tokens`.

        Raises:
            StateError: A pipeline is not fitted, or a step has to be fitted first.

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"text": ["ab", ""]}).prepare(hr.Tokens("text", into="ids"))
            >>> ds.to_polars()["ids"].to_list()
            [[97, 98], []]
        """
        if not steps:
            raise OptionError('`prepare` needs at least one step, like `prepare(hr.Tokens("text"))`')
        prepared = self
        for given in steps:
            step: Any = getattr(given, "step", given)  # a pipeline gives what it has learned so far
            if isinstance(step, PrepareStep):
                step = _without_fit(step, frame_schema(prepared.recipe.schema))
            if isinstance(step, type) or not isinstance(step, Step):
                raise OptionError(f'`prepare` takes steps, like `hr.DecodeImage("image")`, got {step!r}')
            prepared = prepared._with(step)
        return prepared

    def pack(
        self,
        *,
        null_mask: bool = False,
        dtype: str | Mapping[str, str] | None = None,
        pad_to: PadTo | Mapping[str, PadTo] | None = None,
        pad_value: float | Mapping[str, float] | None = None,
        truncate: bool = False,
        **groups: str | Sequence[str],
    ) -> Self:
        """Lay columns out as arrays, and deliver those alone: the last of the deterministic verbs.

        Args:
            null_mask: Adds `<name>_null_mask` to each array, True where a value was null.
            dtype: One dtype for all arrays, or one by name; by default the smallest NumPy dtype
                that holds all of an array's columns.
            pad_to: Lays lists of numbers out as [n, pad_to], or as wide as the `"longest"` of each
                batch, and adds their lengths as `<name>_length`; one for all lists or one by name
                of the array. A longer list is an error.
            pad_value: What stands behind a list's values, 0 by default; one for all or by name.
            truncate: Cuts lists that are longer than `pad_to`.
            groups: Name of the array to one column (shape [n]) or several (shape [n, k]).

        Example:
            >>> import headrace as hr
            >>> ds = hr.from_arrays({"a": [1.0, 2.0], "b": [3.0, 4.0], "tokens": [[5], [6, 7]]})
            >>> batch = ds.pack(x=["a", "b"], tokens="tokens", pad_to=3).take([1])
            >>> batch["x"].tolist(), batch["tokens"].tolist(), batch["tokens_length"].tolist()
            ([[2.0, 4.0]], [[6, 7, 0]], [2])
        """
        self._check_unpacked("pack")
        arrays = {name: group if isinstance(group, str) else tuple(group) for name, group in groups.items()}
        by_name = dict.fromkeys(arrays, dtype) if isinstance(dtype, str) else dtype
        if pad_to is None and (pad_value is not None or truncate):
            raise OptionError("`pad_value` and `truncate` need `pad_to`, which says how long lists become")
        padding = None if pad_to is None else Padding(pad_to, 0 if pad_value is None else pad_value, truncate)
        pack = Pack(arrays, null_mask, by_name, padding)
        self.check_names(pack.columns)
        return self.with_recipe(replace(self.recipe, pack=pack))

    def augment(self, *augmentations: Augmentation) -> Self:
        """Change samples at random, batch by batch, after everything deterministic and after the cache.

        Augmentations are performed in the order in which they are given; several calls add up. Each draws by
        (seed, epoch, sample id, its name), so that a sample gets the same in any batch, rank and process.
        Loaders deliver changed samples; `take`, `head` and `to_arrow` show them as they were before.

        Columns and their types are checked now as far as they are known, else with the first batch. Verbs
        that change columns come before; which samples take part may still be said afterwards.

        Args:
            augmentations: Some of `hr.augment`.

        Raises:
            OptionError: What is given is no augmentation, or two have the same name.
            UnknownColumnError: A column is not there.
            SchemaError: A column does not hold what an augmentation needs.

        Example:
            >>> import headrace as hr, numpy as np
            >>> ds = hr.from_arrays({"image": np.arange(6, dtype=np.uint8).reshape(2, 1, 3, 1)})
            >>> loader = ds.augment(hr.augment.HorizontalFlip("image")).loader(2, output="numpy")
            >>> loader.batch(0)["image"].shape
            (2, 1, 3, 1)
        """
        before = () if self.recipe.augment is None else self.recipe.augment.ops
        chain = RandomChain((*before, *augmentations))
        check_augmentations(self.recipe, chain)
        return self.with_recipe(replace(self.recipe, augment=chain if chain.ops else None))

    def _with(self, step: Step) -> Self:
        self._check_unpacked(type(step).__name__)
        names = self.recipe.names
        if names is not None:
            step.output_names(names)
        return self.with_recipe(replace(self.recipe, steps=(*self.recipe.steps, step)))

    def _check_unpacked(self, verb: str) -> None:
        if self.recipe.augment is not None:
            raise OptionError(f"`{verb}` must come before `augment`: random changes come last")
        if self.recipe.pack is not None:
            raise OptionError(
                f"`{verb}` must come before `pack`, which is the last of the deterministic verbs"
            )

    def check_names(self, wanted: Iterable[str]) -> None:
        """Refuse columns that are not there after the last step, as far as that is known."""
        names = self.recipe.names
        missing = [] if names is None else sorted(set(wanted) - set(names))
        if missing:
            raise UnknownColumnError.from_names(missing, names or (), "the data set")


def _without_fit(step: PrepareStep, schema: pl.Schema) -> Chain:
    """Turn a step that needs no fit into one of a recipe."""
    bound = step.bound(schema)
    if bound.requests(schema):
        raise StateError(
            f"{type(step).__name__} learns from data, so it must be fitted: "
            "`pipe = hr.Pipeline([...]).fit(ds)`, then `ds.prepare(pipe)`"
        )
    return Chain((bound.with_learned(bound.learn(schema, {})),))


def _names(columns: Sequence[str]) -> tuple[str, ...]:
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    if len(set(names)) != len(names):
        raise OptionError(f"each column can be named once, got {names}")
    return names


def _expressions(expressions: Iterable[Any], named: Mapping[str, Any]) -> tuple[pl.Expr, ...]:
    import polars as pl

    flat: list[Any] = []
    for expression in expressions:
        flat.extend(expression if isinstance(expression, (list, tuple)) else [expression])
    flat.extend(
        (value if isinstance(value, pl.Expr) else pl.lit(value)).alias(name) for name, value in named.items()
    )
    for expression in flat:
        if not isinstance(expression, pl.Expr):
            raise OptionError(
                f"`with_columns` takes Polars expressions such as `pl.col(...) * 2`, got {expression!r}"
            )
    return tuple(flat)
