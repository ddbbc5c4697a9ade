"""What is known of delivered columns before any is read, so that a chain that cannot fit is refused early."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from headrace.augment.base import Spec
from headrace.augment.chain import Chain
from headrace.batch import Ragged
from headrace.errors import SchemaError, UnknownColumnError
from headrace.execution.deliver import plain
from headrace.execution.recipe import Recipe
from headrace.prepare.pack import lay_out_column
from headrace.prepare.padding import length_name


def check_augmentations(recipe: Recipe, chain: Chain) -> None:
    """Refuse augmentations of columns that are not there, or do not hold what is needed, as far as is known.

    What only data can tell, such as the shape of decoded images, is checked at the first batch.

    Raises:
        UnknownColumnError: A column is not there.
        SchemaError: A column does not hold what an augmentation needs.
    """
    _follow(recipe, chain)


def augmented_bytes(recipe: Recipe) -> tuple[int, int]:
    """Bytes of one sample's augmented columns before and after, as far as they are known.

    Lists, and what only data can tell, count as nothing.
    """
    if recipe.augment is None:
        return 0, 0
    before, after = _specs(recipe), _follow(recipe, recipe.augment)
    changed = {*recipe.augment.columns, *(after.keys() - before.keys())}
    return _nbytes(before, changed), _nbytes(after, changed)


def _nbytes(specs: Mapping[str, Spec | None], names: Iterable[str]) -> int:
    found = (specs.get(name) for name in names)
    return sum(spec.size * spec.dtype.itemsize for spec in found if spec is not None and not spec.is_ragged)


def _follow(recipe: Recipe, chain: Chain) -> dict[str, Spec | None]:
    """What is known of the columns after a chain; refuses what is known not to fit."""
    names, specs = _names(recipe), _specs(recipe)
    for op in chain.ops:
        missing = [] if names is None else [column for column in op.changed if column not in names]
        if missing:
            raise UnknownColumnError.from_names(missing, names or (), f"what {op.title} is given")
        texts = [column for column in op.changed if column in specs and specs[column] is None]
        if texts:
            raise SchemaError(f"{op.title}: column `{texts[0]}` must hold numbers, and holds none")
        known = {name: spec for name, spec in specs.items() if spec is not None}
        if all(column in known for column in op.changed):
            found = op.output(known)
            specs = {**specs, **found}
            names = None if names is None else names | set(found)
        else:  # what it makes of them is known once the first batch is there
            specs = {name: spec for name, spec in specs.items() if name not in op.changed}
            names = None
    return specs


def _names(recipe: Recipe) -> set[str] | None:
    """The delivered columns, or None where only running the steps can tell."""
    pack = recipe.pack
    if pack is None:
        return None if recipe.names is None else set(recipe.names)
    more = {f"{name}_null_mask" for name in pack.groups} if pack.null_mask else set[str]()
    if pack.padding is not None:
        more |= {length_name(name) for name in pack.groups}
    return set(pack.groups) | more


def _specs(recipe: Recipe) -> dict[str, Spec | None]:
    """What delivered columns hold that no step changes; None for what is no numbers."""
    schema, alone = recipe.source.schema, {name: name for name in recipe.origins}
    if recipe.pack is not None:
        alone = {} if recipe.pack.padding is not None else recipe.pack.unchanged
    found: dict[str, Spec | None] = {}
    for array, column in alone.items():
        origin = recipe.origins.get(column)
        if origin is not None:
            found[array] = _spec_of(schema.field(origin).type, array)
    return found


def _spec_of(kind: pa.DataType, name: str) -> Spec | None:
    laid = plain(lay_out_column(pa.nulls(0, kind), name, "the data set"))
    return Spec.of(laid) if isinstance(laid, (np.ndarray, Ragged)) else None
