"""The column that a method compares if it compares one alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from headrace.errors import OptionError, SchemaError


@dataclass(frozen=True, slots=True)
class OneColumn:
    """What a method compares: one column of a kind.

    Attributes:
        method: The method's public name.
        values: What the column holds.
        fits: Tells whether a type holds that.
        described: What the column holds, in full.
    """

    method: str
    values: str
    fits: Callable[[pa.DataType], bool]
    described: str

    def choose(self, schema: pa.Schema) -> tuple[str, ...]:
        """Return the name of the only such column.

        Raises:
            OptionError: There is none, or there are several.
        """
        names = [field.name for field in schema if self.fits(field.type)]
        if len(names) != 1:
            raise OptionError(
                f"`on` must name the column of {self.values} to compare, for there is not just one: "
                f"{_named(names) or 'none'}"
            )
        return tuple(names)

    def check(self, schema: pa.Schema) -> None:
        """Refuse what is not one such column.

        Raises:
            OptionError: There are several columns.
            SchemaError: The column holds other values.
        """
        if len(schema) != 1:
            raise OptionError(
                f"{self.method} compares one column of {self.values}, got {_named(schema.names)}; name one "
                "of them by `on`"
            )
        (field,) = schema
        if not self.fits(field.type):
            raise SchemaError(
                f"column `{field.name}` must hold {self.described}, got {field.type}; name another column by "
                "`on`, or take another method"
            )


def _named(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
