"""Several recipes as one source: their shards one behind the other, their columns the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import pyarrow as pa

from headrace.errors import SchemaError
from headrace.execution.recipe import Recipe
from headrace.fingerprint import digest
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.prepare.columns import Select
from headrace.sources.base import SupportsFiles, check_columns
from headrace.sources.files import Stamp


@dataclass(frozen=True, eq=False)
class MixedSource:
    """The prepared columns of several recipes.

    Thread-safe, and picklable if the recipes are.

    Attributes:
        names: What the parts are called.
        recipes: One for each part; none of them packs.
        column: A column that names each sample's part, or None for none.
    """

    names: tuple[str, ...]
    recipes: tuple[Recipe, ...]
    column: str | None = None

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that all parts have, in the first one's order.

        Raises:
            SchemaError: The parts differ in their columns or types.
        """
        first = self.recipes[0].schema
        for name, recipe in zip(self.names[1:], self.recipes[1:], strict=True):
            for column in dict.fromkeys([*first.names, *recipe.schema.names]):
                kinds = [
                    schema.field(column).type if column in schema.names else None
                    for schema in (first, recipe.schema)
                ]
                if kinds[0] != kinds[1]:
                    raise SchemaError(
                        f"column `{column}` must be the same in all parts of a mix, got "
                        f"{kinds[0] or 'nothing'} in `{self.names[0]}` and {kinds[1] or 'nothing'} in "
                        f"`{name}`; select, rename or cast before mixing"
                    )
        fields = [pa.field(field.name, field.type) for field in first]
        if self.column is None:
            return pa.schema(fields)
        if self.column in first.names:
            raise SchemaError(f"the parts have a column `{self.column}` already; name another one")
        return pa.schema([*fields, pa.field(self.column, pa.string())])

    @property
    def manifest(self) -> Manifest:
        """The shards of all parts; what is done to them is part of their identity."""
        return self._manifest

    @cached_property
    def _manifest(self) -> Manifest:
        shards: list[Shard] = []
        for name, recipe in zip(self.names, self.recipes, strict=True):
            for shard in recipe.source.manifest.shards:
                identity = partial(_identify, shard, name, self.column, recipe)
                shards.append(replace(shard, identity=identity))
        return Manifest(tuple(shards))

    @cached_property
    def _first_groups(self) -> list[int]:
        counts = [len(recipe.source.manifest) for recipe in self.recipes]
        return [int(first) for first in np.cumsum([0, *counts])]

    @property
    def firsts(self) -> tuple[int, ...]:
        """First id of each part, then the total."""
        totals = [recipe.source.manifest.total for recipe in self.recipes]
        return tuple(int(first) for first in np.cumsum([0, *totals]))

    @cached_property
    def _chosen(self) -> dict[tuple[int, tuple[str, ...]], Recipe]:
        return {}

    def _recipe(self, part: int, columns: tuple[str, ...]) -> Recipe:
        """A part's recipe for some columns, or for one of them where only the rows are counted."""
        key = (part, columns or tuple(self.schema.names[:1]))
        if key not in self._chosen:
            recipe = self.recipes[part]
            self._chosen[key] = replace(recipe, steps=(*recipe.steps, Select(key[1])))
        return self._chosen[key]

    def shard_files(self, shard: int) -> Mapping[str, Stamp]:
        """Return the files that a shard of a part lies in, if its source tells."""
        for recipe in self.recipes:
            shards = len(recipe.source.manifest.shards)
            if shard < shards:
                return recipe.source.shard_files(shard) if isinstance(recipe.source, SupportsFiles) else {}
            shard -= shards
        return {}

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Read and prepare one row group of the part that it belongs to."""
        check_columns(columns, self.schema, f"the mix of {', '.join(self.names)}")
        part = int(np.searchsorted(self._first_groups, row_group.number, side="right")) - 1
        recipe = self._recipe(part, tuple(name for name in columns if name != self.column))
        own = recipe.source.manifest[row_group.number - self._first_groups[part]]
        batch = recipe.frame(own)
        arrays = {name: batch.column(name) for name in batch.schema.names}
        if self.column is not None:
            arrays[self.column] = pa.array([self.names[part]] * batch.num_rows, pa.string())
        schema = pa.schema([self.schema.field(name) for name in columns])
        return pa.RecordBatch.from_arrays([arrays[name] for name in columns], schema=schema)


def _identify(shard: Shard, name: str, column: str | None, recipe: Recipe) -> str:
    return digest("mix", name, column, shard.content_identity, recipe.fingerprint)
