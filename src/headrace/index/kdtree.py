"""Points to sample ids: the nearest, those within a radius, those in a box."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import MissingDependencyError, OptionError, SchemaError, check_whole
from headrace.execution.recipe import Recipe
from headrace.index.base import Ids, StoredIndex, Subject
from headrace.index.storing import Arrays
from headrace.manifest import RowGroup

Points = NDArray[np.float64]

_SLACK = 1e-9  # relative; far above what rounding can do to a distance
_LARGEST = 1e150  # its square is a float64
_EXACT = (1 << 53) - 1


@dataclass(frozen=True)
class PointScan:
    """Reads the columns of one row group as points; picklable if the recipe is."""

    recipe: Recipe

    def __call__(self, row_group: RowGroup) -> tuple[Points, Ids]:
        """Return the points without null, NaN or infinity, and their samples."""
        batch = self.recipe.frame(row_group)
        points = np.empty((batch.num_rows, batch.num_columns))
        for place, (name, column) in enumerate(zip(batch.schema.names, batch.columns, strict=True)):
            whole = pa.types.is_integer(column.type)
            filled = column.fill_null(0).to_numpy() if whole else column.to_numpy(zero_copy_only=False)
            points[:, place] = filled
            finite = points[np.isfinite(points[:, place]), place]
            limit = _EXACT if whole else _LARGEST
            if len(finite) and float(np.abs(finite).max()) > limit:
                raise SchemaError(
                    f"{row_group}, column `{name}`: distances need numbers up to {limit:.3g}, got "
                    f"{float(np.abs(finite).max()):.3g}; scale the column by `with_columns`"
                )
            if whole and column.null_count:
                points[column.is_null().to_numpy(zero_copy_only=False), place] = np.nan
        kept = np.isfinite(points).all(axis=1)
        return points[kept], np.flatnonzero(kept) + row_group.first


@dataclass(frozen=True, eq=False)
class Forest:
    """The points of the samples that take part, in a tree.

    Attributes:
        tree: A `scipy.spatial.cKDTree`.
        points: float64 of shape [n, columns].
        ids: Their samples, int64 of shape [n].
    """

    tree: Any
    points: Points
    ids: Ids

    def distances(self, point: Points, places: NDArray[np.int64]) -> Points:
        """Return distances from a point, summed column by column as float64."""
        return np.sqrt(sum_squares(self.points[places] - point))

    def nearest(self, point: Points, k: int, reach: float) -> tuple[Ids, Points]:
        """Sort all points within reach, and return the first k."""
        places = np.array(self.tree.query_ball_point(point, reach * (1 + _SLACK)), np.int64)
        distances, ids = self.distances(point, places), self.ids[places]
        order = np.lexsort((ids, distances))[:k]
        return ids[order], distances[order]


class KdTreeIndex(StoredIndex):
    """Finds samples by where they lie: columns of numbers are the coordinates of points.

    Distances are Euclidean, in float64. A sample with a null, a NaN or an infinity is no point. The
    points are stored, and scipy's cKDTree is built of them when it is first needed.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [0.0, 3.0, 0.0, None], "y": [0.0, 4.0, 1.0, 0.0]})
        >>> places = ds.index(["x", "y"], kind="kdtree")
        >>> ids, distances = places.nearest([0, 0], k=3)
        >>> ids.tolist(), distances.tolist()
        ([[0, 2, 1]], [[0.0, 1.0, 5.0]])
        >>> places.within([0, 0], radius=1)[0].tolist(), places.box([0, 1], [None, None]).tolist()
        ([0, 2], [1, 2])
    """

    kind = "kdtree"

    @classmethod
    def check(cls, subject: Subject) -> None:
        """Take columns of numbers."""
        if not subject.columns:
            raise OptionError('an index of kind="kdtree" needs at least one column, got none')
        for field in subject.fields:
            if not (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)):
                raise SchemaError(
                    f'column `{field.name}` of type {field.type} cannot be in an index of kind="kdtree": its '
                    "values must be whole numbers or floats; turn it into one of these by `with_columns`"
                )

    @classmethod
    def library(cls, in_folder: bool) -> str:
        """Points are stored as they are, whatever makes a tree of them."""
        _import()
        return ""

    @classmethod
    def scan(cls, subject: Subject) -> PointScan:
        """Read all columns as float64."""
        return PointScan(subject.recipe)

    @classmethod
    def assemble(cls, subject: Subject, pieces: Iterable[tuple[Points, Ids]], folder: str | None) -> Arrays:
        """Lay the points end to end."""
        parts = [(np.empty((0, len(subject.columns))), np.empty(0, np.int64)), *pieces]
        return {
            "points": np.concatenate([points for points, _ in parts]),
            "ids": np.concatenate([ids for _, ids in parts]),
        }

    @cached_property
    def _forest(self) -> Forest:
        arrays = self.parts.arrays
        points, ids = arrays["points"], arrays["ids"]
        if self._selection.members is not None or self._selection.listed is not None:
            kept = self._selection.contains(ids)
            points, ids = points[kept], ids[kept]
        return Forest(_import()(points), points, ids)

    def __len__(self) -> int:
        """How many points there are."""
        return len(self._forest.ids)

    def lookup(self, values: Any) -> Ids:
        """Return the samples at exactly these points, of shape [columns] or [n, columns]."""
        found = [self._inside(point, point) for point in self._points(values)]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)

    def range(self, low: Any = None, high: Any = None) -> Ids:
        """Return the samples in a box, as `box` does; None leaves a whole side open."""
        return self.box(low, high)

    def box(self, low: Any = None, high: Any = None) -> Ids:
        """Return the samples between two corners, both included.

        Args:
            low: The least value of each column; None, for all or for one, is no bound.
            high: The largest value of each column.

        Returns:
            Sample ids in rising order, int64 of shape [n].
        """
        return self._inside(self._corner(low, -np.inf), self._corner(high, np.inf))

    def nearest(self, points: Any, k: int = 1) -> tuple[Ids, Points]:
        """Return the k samples nearest to each point.

        Args:
            points: Of shape [columns] or [n, columns].
            k: How many.

        Returns:
            Sample ids, int64, and distances, float64, both of shape [n, k]: the nearest first, of
            equally near ones the lower id.

        Raises:
            OptionError: There are fewer points than k.
        """
        queries, forest = self._points(points), self._forest
        total = len(forest.ids)
        if check_whole("k", k, least=1) > total:
            raise OptionError(f"`k` must be at most the number of points, which is {total:,}, got {k}")
        more = min(k + 1, total)
        far, places = forest.tree.query(queries, k=np.arange(1, more + 1))
        ids, distances = forest.ids[places[:, :k]], np.empty((len(queries), k))
        for column in range(k):
            distances[:, column] = np.sqrt(sum_squares(forest.points[places[:, column]] - queries))
        order = np.lexsort((ids, distances), axis=-1)
        ids, distances = np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1)
        if more > k:  # where one more is as near as the last, some lower id may have been left out
            for row in np.flatnonzero(far[:, k] <= far[:, k - 1] * (1 + _SLACK)).tolist():
                ids[row], distances[row] = forest.nearest(queries[row], k, float(far[row, k - 1]))
        return ids, distances

    def within(self, points: Any, radius: float) -> list[Ids]:
        """Return the samples at most `radius` from each point.

        Args:
            points: Of shape [columns] or [n, columns].
            radius: The largest distance, 0 or more.

        Returns:
            For each point the sample ids in rising order, int64.
        """
        if not _is_radius(radius):
            raise OptionError(f"`radius` must be a number of at least 0, got {radius!r}")
        queries, forest = self._points(points), self._forest
        found: list[Ids] = []
        for query in queries:
            places = np.array(forest.tree.query_ball_point(query, radius * (1 + _SLACK)), np.int64)
            near = places[forest.distances(query, places) <= radius]
            found.append(np.sort(forest.ids[near]))
        return found

    def _inside(self, low: Points, high: Points) -> Ids:
        forest = self._forest
        indices = forest.tree.indices
        found: list[Ids] = []
        stack = (
            [(forest.tree.tree, np.full(len(low), -np.inf), np.full(len(low), np.inf))]
            if len(forest.ids)
            else []
        )
        while stack:
            node, least, largest = stack.pop()
            if bool((least >= low).all() and (largest <= high).all()):
                found.append(indices[node.start_idx : node.end_idx])
            elif node.split_dim < 0:
                places = indices[node.start_idx : node.end_idx]
                points = forest.points[places]
                found.append(places[((points >= low) & (points <= high)).all(axis=1)])
            else:
                axis, split = node.split_dim, node.split
                if low[axis] <= split:
                    below = largest.copy()
                    below[axis] = min(split, largest[axis])
                    stack.append((node.lesser, least, below))
                if high[axis] >= split:
                    above = least.copy()
                    above[axis] = max(split, least[axis])
                    stack.append((node.greater, above, largest))
        return np.sort(forest.ids[np.concatenate(found)]) if found else np.empty(0, np.int64)

    def _points(self, points: Any) -> Points:
        """Check points that are asked for, and give them the shape [n, columns]."""
        width = len(self.fields)
        queries = self._numbers(points)
        if (queries.ndim == 1 and width > 1) or queries.ndim == 0:
            queries = queries[None]
        if queries.ndim == 1:
            queries = queries[:, None]
        if queries.ndim != 2 or queries.shape[1] != width:
            raise OptionError(
                f"points must have the shape [{width}] or [n, {width}], one number for each of "
                f"{list(self.columns)}, got {list(np.shape(points))}"
            )
        if queries.size and not float(np.abs(queries).max()) <= _LARGEST:
            raise OptionError(f"points must be finite numbers up to {_LARGEST:g}, got {points!r}")
        return queries

    def _corner(self, corner: Any, missing: float) -> Points:
        width = len(self.fields)
        if corner is None:
            return np.full(width, missing)
        listed = list(corner) if np.ndim(corner) else [corner]
        values = self._numbers([missing if value is None else value for value in listed])
        if values.shape != (width,) or bool(np.isnan(values).any()):
            raise OptionError(
                f"a corner must hold one number or None for each of {list(self.columns)}, got {corner!r}"
            )
        return values

    def _numbers(self, values: Any) -> Points:
        try:
            array = np.asarray(values)
            if array.dtype.kind in "iuf" or not array.size:
                return array.astype(np.float64)
        except ValueError:
            pass
        kinds = ", ".join(f"`{field.name}` ({field.type})" for field in self.fields)
        raise SchemaError(f"columns {kinds} are looked up by numbers, got {values!r}")


def _is_radius(value: Any) -> bool:
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return is_number and bool(value >= 0)  # which NaN is not


def sum_squares(differences: Points) -> Points:
    """Sum squares over the last axis, one column after the other."""
    total = np.zeros(differences.shape[:-1])
    for place in range(differences.shape[-1]):
        total += differences[..., place] * differences[..., place]
    return total


def _import() -> Any:
    try:
        from scipy import spatial
    except ImportError as error:
        raise MissingDependencyError.from_extra("scipy", "index", 'kind="kdtree"') from error
    return getattr(spatial, "cKDTree")  # noqa: B009  compiled, so unknown to pyright
