"""Steps that replace many columns of numbers by few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import OptionError, PrepareError, UnknownColumnError
from headrace.prepare.statistics import Statistic
from headrace.prepare.statistics.product_kernels import Numbers
from headrace.prepare.statistics.scatter import ClassScatter, ClassScatterState, Covariance, CovarianceState
from headrace.prepare.step import Found
from headrace.prepare.steps.projection import Projection, by_column, with_largest_positive

if TYPE_CHECKING:
    import polars as pl

_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class PCA(Projection):
    """Replace columns by their principal components: the directions in which they vary most.

    The covariance (ddof 1) is summed up in one scan without rounding, and its eigenvectors are the
    directions. So the fit is out of core, and has the same bits for any row groups, any order and any
    executor. In each direction the largest number, in size, is positive, as in scikit-learn. A sample has
    the same bits alone as among others.

    Columns are centred and not scaled: put `StandardScaler` before where units differ. A constant column has
    no part. Directions beyond the rank of the data have a variance of zero up to rounding. The fit needs two
    samples, and all their values: missing and infinite ones raise, and name the column. When applied, a
    missing value makes all components of its sample null, and an infinite one makes them infinite or null.
    Whole numbers beyond 2**53 are exact in the fit, and rounded to float64 when applied. The state takes 16
    to 32 bytes for each pair of columns, as a rule.

    Learned: `components_` of shape [components, columns], `explained_variance_`,
    `explained_variance_ratio_`, `mean_` by column, `n_components_` and `n_samples_`.

    Attributes:
        n_components: How many components; None for the smaller number of samples and columns; a float
            between 0 and 1 for as few as explain more than this share of the variance.
        whiten: Whether components are divided by their standard deviations.
        prefix: What the outputs are named: `pca_0`, `pca_1`, ...

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"a": [0.0, 3.0, 6.0], "b": [0.0, 4.0, 8.0]})
        >>> pipe = hr.Pipeline([hr.PCA(1)]).fit(ds)
        >>> pipe.transform({"a": 6.0, "b": 8.0})
        {'pca_0': 5.0}
    """

    n_components: int | float | None = None
    whiten: bool = False
    prefix: str = "pca"

    def __post_init__(self) -> None:
        """Check the settings."""
        count = self.n_components
        is_share = isinstance(count, float) and 0 < count < 1
        if count is not None and not is_share and not _is_count(count):
            raise OptionError(
                "`n_components` must be a whole number from 1, a share between 0 and 1 or None, "
                f"got {count!r}"
            )

    def output_prefix(self) -> str:
        """Return what the outputs' names begin with."""
        return self.prefix

    def foretold_count(self) -> int | None:
        """Return how many components there will be, if it is said."""
        return self.n_components if isinstance(self.n_components, int) else None

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask for the covariance."""
        return [Covariance(self.names)]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep the directions in which the columns vary most."""
        state: CovarianceState = found[Covariance(self.names)]
        if state.count < 2:
            raise PrepareError(f"a variance needs at least two samples, got {state.count}")
        covariance = _checked(state.covariance(1), self.names)
        most = min(state.count, len(self.names))
        if isinstance(self.n_components, int) and self.n_components > most:
            raise OptionError(
                f"`n_components` must be at most {most}, the smaller number of samples ({state.count}) and "
                f"columns ({len(self.names)}), got {self.n_components}"
            )
        variances, directions = np.linalg.eigh(covariance)
        variances = np.maximum(variances[::-1], 0.0)
        total = float(variances.sum())
        ratios = variances / total if total else np.zeros(len(variances))
        count = self._count(ratios, most)
        return {
            "components_": with_largest_positive(np.ascontiguousarray(directions.T[::-1][:count])),
            "explained_variance_": variances[:count].copy(),
            "explained_variance_ratio_": ratios[:count].copy(),
            "mean_": by_column(self.names, state.means),
            "n_components_": count,
            "n_samples_": state.count,
            "kept_": list(range(count)),
        }

    def _count(self, ratios: Numbers, most: int) -> int:
        if isinstance(self.n_components, float):
            share = np.searchsorted(np.cumsum(ratios), self.n_components, side="right") + 1
            return min(int(share), most)
        return most if self.n_components is None else self.n_components

    def weights(self) -> Numbers:
        """Return the directions, divided by the standard deviations if that is asked."""
        return self.components_ / self._deviations()[:, None] if self.whiten else self.components_

    def inverse_weights(self) -> Numbers:
        """Return the way back, which is exact up to rounding where all components were kept."""
        return (self.components_ * self._deviations()[:, None] if self.whiten else self.components_).T

    def _deviations(self) -> Numbers:
        return np.maximum(np.sqrt(self.explained_variance_), _EPSILON)  # as scikit-learn has it


@dataclass(frozen=True)
class IncrementalPCA(PCA):
    """The same as `PCA`, under the name of the algorithm that people use where data does not fit into memory.

    `PCA` never holds the data, and is exact. The approximation by batches that scikit-learn's class of this
    name makes would gain nothing, and is not made: the results are those of `PCA`.

    Attributes:
        batch_size: Accepted and without effect.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"a": [0.0, 3.0, 6.0], "b": [0.0, 4.0, 8.0]})
        >>> hr.Pipeline([hr.IncrementalPCA(1, batch_size=2)]).fit(ds).transform({"a": 6.0, "b": 8.0})
        {'pca_0': 5.0}
    """

    batch_size: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        if self.batch_size is not None and not _is_count(self.batch_size):
            raise OptionError(f"`batch_size` must be a whole number from 1 or None, got {self.batch_size!r}")


@dataclass(frozen=True)
class LinearDiscriminantAnalysis(Projection):
    """Replace columns by the directions that separate classes best.

    They are those of scikit-learn's default solver: columns are turned and scaled so that the covariance
    within classes (ddof 0) becomes a unit matrix, and there the directions are taken in which the class
    means vary most. The scatter within classes is summed up in one scan without rounding, so that the fit
    has the same bits for any row groups, any order and any executor. In each direction the largest number,
    in size, is positive; scikit-learn leaves the signs open. A sample has the same bits alone as among
    others.

    The fit needs two classes, more samples than classes, and all values: missing and infinite ones raise, and
    name the column. Classes are whole numbers, texts, truth values, or floats without fractions; their shares
    are the priors. Only the fit needs the target, which stays as it is. When applied, a missing value makes
    all outputs of its sample null. What a fit keeps grows with the classes times the columns, and with the
    pairs of columns.

    Learned: `scalings_` of shape [columns, components], `explained_variance_ratio_`, `classes_`, `priors_`,
    `means_` of shape [classes, columns], `mean_` by column, and `n_components_`.

    Attributes:
        n_components: How many directions: at most the columns, and one less than the classes. None for all
            in which the class means differ.
        target: The column of the classes.
        tol: Directions are left out in which the deviation within classes, each column scaled to 1, or that
            of the class means, the largest scaled to 1, is at most this.
        prefix: What the outputs are named: `lda_0`, `lda_1`, ...

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"a": [0.0, 2.0, 4.0, 6.0], "kind": ["x", "x", "y", "y"]})
        >>> pipe = hr.Pipeline([hr.LinearDiscriminantAnalysis(target="kind")]).fit(ds)
        >>> round(pipe.transform({"a": 6.0})["lda_0"], 4)
        3.0
    """

    n_components: int | None = None
    target: str = field(default="", kw_only=True)
    tol: float = field(default=1e-4, kw_only=True)
    prefix: str = field(default="lda", kw_only=True)

    def __post_init__(self) -> None:
        """Check the settings."""
        if not isinstance(self.target, str) or not self.target:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(f"`target` must name the column of the classes, got {self.target!r}")
        if self.n_components is not None and not _is_count(self.n_components):
            raise OptionError(
                f"`n_components` must be a whole number from 1 or None, got {self.n_components!r}"
            )
        if not self.tol >= 0:
            raise OptionError(f"`tol` must be a number from 0, got {self.tol!r}")

    def output_prefix(self) -> str:
        """Return what the outputs' names begin with."""
        return self.prefix

    def foretold_count(self) -> int | None:
        """Return how many directions there will be, if it is said."""
        return self.n_components

    def inputs(self, schema: pl.Schema) -> tuple[str, ...]:
        """Name the columns that are summed; the target is none of them.

        Raises:
            UnknownColumnError: The target is not there.
            OptionError: The target was named as one of them.
        """
        if self.target not in schema:
            raise UnknownColumnError.from_names([self.target], schema.names(), f"{type(self).__name__}:")
        names = super().inputs(schema)
        if self.columns is None:
            return tuple(name for name in names if name != self.target)
        if self.target in names:
            raise OptionError(f"the target `{self.target}` cannot be among the `columns` that predict it")
        return names

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask for the scatter within classes."""
        return [ClassScatter(self.names, self.target)]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep the directions that separate the classes best."""
        state: ClassScatterState = found[ClassScatter(self.names, self.target)]
        self._check_classes(state)
        scalings, ratios = _separating(state, self.tol, self.names)
        most = scalings.shape[1]
        if self.n_components is not None and self.n_components > most:
            raise OptionError(
                f"`n_components` must be at most {most}, the number of directions in which the class means "
                f"differ, got {self.n_components}"
            )
        count = most if self.n_components is None else self.n_components
        if not count:
            raise PrepareError(
                f"target column `{self.target}`: nothing tells the classes apart; their means are equal, "
                "or no column varies within them"
            )
        return {
            "scalings_": np.ascontiguousarray(scalings[:, :count]),
            "explained_variance_ratio_": ratios[:count].copy(),
            "classes_": state.classes,
            "priors_": state.counts / state.count,
            "means_": state.class_means,
            "mean_": by_column(self.names, state.means),
            "n_components_": count,
            "kept_": list(range(count)),
        }

    def _check_classes(self, state: ClassScatterState) -> None:
        count, classes = len(state.classes), state.classes
        if count < 2:
            raise PrepareError(f"target column `{self.target}`: at least two classes are needed, got {count}")
        if count >= state.count:
            raise PrepareError(
                f"target column `{self.target}`: more samples than classes are needed, got {state.count} "
                f"samples of {count} classes"
            )
        if classes.dtype.is_float() and not (classes == classes.floor()).all():
            raise PrepareError(
                f"target column `{self.target}`: classes are needed, got numbers with fractions"
            )

    def weights(self) -> Numbers:
        """Return the directions."""
        return self.scalings_.T


LDA = LinearDiscriminantAnalysis


def _separating(state: ClassScatterState, tol: float, names: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Find the directions that separate the classes.

    Returns:
        The directions in columns, and their shares of the variance between class means.
    """
    count, classes = state.count, len(state.classes)
    within = _checked(state.within, names)
    deviations = np.sqrt(np.maximum(within.diagonal(), 0.0) / count)
    deviations[deviations == 0] = 1.0
    variances, axes = np.linalg.eigh(within / np.outer(deviations, deviations) / count)
    variances, axes = variances[::-1], axes[:, ::-1]
    rank = int((np.sqrt(np.maximum(variances, 0.0)) > tol).sum())
    sphere = axes[:, :rank] / deviations[:, None] / np.sqrt(variances[:rank])
    offsets = np.sqrt(state.counts / (classes - 1))[:, None] * state.offsets
    _, sizes, turns = np.linalg.svd(offsets @ sphere, full_matrices=False)
    held = int((sizes > tol * sizes[:1]).sum()) if len(sizes) else 0
    held = min(held, classes - 1)
    shares = sizes**2 / (sizes**2).sum() if held else sizes
    directions = with_largest_positive((sphere @ turns.T[:, :held]).T)
    return directions.T, shares[:held]


def _checked(matrix: Numbers, names: Sequence[str]) -> Numbers:
    for name, row in zip(names, matrix, strict=True):
        if not np.isfinite(row).all():
            raise PrepareError(
                f"column `{name}`: float64 cannot hold the variance of values so large; scale them before"
            )
    return matrix


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
