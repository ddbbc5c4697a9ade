"""The verb that hands samples to dask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.errors import OptionError
from headrace.selecting.base import Selectable
from headrace.selecting.parts import parts_of

if TYPE_CHECKING:
    from headrace.execution.dask.collections import Kind


class DaskVerbs:
    """What dask can take over."""

    def to_dask(self: Selectable, kind: Kind = "dataframe") -> Any:
        """Return a dask collection of all samples, before `pack`; nothing is read before it is computed.

        Each row group that samples lie in becomes one part, in the order of the data; augmentations are
        not applied. Files must lie under the same path for all dask workers.

        Args:
            kind: `"dataframe"` for a `dask.dataframe` of Arrow's types, in which whole numbers with nulls
                stay exact and N-d columns are flat lists; `"delayed"` for a list of `dask.delayed` Arrow
                tables.

        Raises:
            OptionError: The kind is unknown, or the samples are in an order of their own, as after `rows`.
            MissingDependencyError: The extra `dask` is not installed.

        Example:
            >>> import headrace as hr
            >>> frame = hr.from_arrays({"x": [1, None, 3]}).to_dask()
            >>> frame["x"].sum().compute(scheduler="synchronous").item()
            4
        """
        from headrace.execution.dask.collections import to_dask

        if not self.selection.is_sorted:
            raise OptionError(
                "`to_dask` gives one part for each row group, in the order of the data, but these samples "
                "have an order of their own; sort the ids before `rows`, or use `to_arrow`"
            )
        return to_dask(self.recipe, [(part.row_group, part.rows) for part in parts_of(self)], kind)
