"""Target encoding: categories by the mean of a target, smoothed, and out of fold where it is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError, PrepareError, SchemaError, StateError, UnknownColumnError
from headrace.prepare.statistics import GroupSumsState, GroupTable, Statistic
from headrace.prepare.statistics.exact import SUM_UNIT, Floats
from headrace.prepare.statistics.target_sums import FOLD, VALUE, TargetSums, folds_of
from headrace.prepare.step import SAMPLE_ID, Found, PrepareStep
from headrace.prepare.steps.categories import (
    count_events,
    is_category,
)
from headrace.prepare.steps.lookup import Lookup
from headrace.prepare.steps.scale import floats_schema

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class TargetEncoder(PrepareStep):
    """Replace each category by the mean of a target over its samples, drawn towards the mean over all.

    As in scikit-learn, the weight of the overall mean is worth `smooth` samples; with "auto" it is the
    empirical Bayes estimate (Micci-Barreca, 2001): a category of n samples has weight v n / (v n + w), where
    v is the variance of the target over all samples, and w within the category. Missing values (null, NaN)
    are a category of their own; unseen ones get the overall mean. Sums are exact, so that the numbers have
    the same bits for any row groups.

    A model that is trained on its own targets' means overfits. So `for_training` gives a step whose
    encodings leave out the sample's own fold, which is a hash of the sample's id (or what `fold_column`
    says), never its row group or place.

    The target holds numbers or truth values; for classes, encode one of them as 0 and 1. Samples without a
    target have no part in the fit; an infinite one is an error. What can be a category is as in
    `OrdinalEncoder`; without `columns`, all such columns but the target and the folds are encoded. There is
    no way back.

    Learned: `target_mean_`; `encodings_`, by column a frame of `value`, `encoding` and, for each fold,
    `fold_<fold>`, the encoding without it; `fold_means_`, the mean without each fold.

    Attributes:
        target: The column to take means of.
        smooth: How many samples the overall mean is worth, or "auto".
        folds: How many folds samples are dealt to; None learns no encodings for training.
        seed: Of the dealing.
        fold_column: A column of whole numbers that says each sample's fold instead.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"c": ["a", "a", "b"], "y": [1.0, 2.0, 6.0]})
        >>> pipe = hr.Pipeline([hr.TargetEncoder(target="y", smooth=2)]).fit(ds)
        >>> [round(pipe.transform({"c": value})["c"], 4) for value in ("a", "b", "z")]
        [2.25, 4.0, 3.0]
    """

    target: str
    smooth: float | Literal["auto"] = "auto"
    folds: int | None = 5
    seed: int = 0
    fold_column: str | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        smooth = self.smooth
        if not (smooth == "auto" if isinstance(smooth, str) else 0 <= smooth < float("inf")):
            raise OptionError(f'`smooth` must be "auto" or a number from 0 on, got {self.smooth!r}')
        if self.folds is not None and self.folds < 2:
            raise OptionError(f"`folds` must be at least 2, or None, got {self.folds!r}")

    def treats(self, dtype: pl.DataType) -> bool:
        """Whatever can be a category."""
        return is_category(dtype)

    def resolve(self, schema: pl.Schema) -> tuple[str, ...]:
        """Name the columns to encode, the target and the folds aside.

        Raises:
            UnknownColumnError: The target is not there, or another column that is named.
            SchemaError: The target holds no numbers, or is to be encoded itself.
        """
        import polars as pl

        others = tuple(name for name in (self.target, self.fold_column) if name is not None)
        missing = [name for name in others if name not in schema]
        if missing:
            raise UnknownColumnError.from_names(missing, schema.names(), "TargetEncoder:")
        kind = schema[self.target]
        if not (kind.is_integer() or kind.is_float() or kind == pl.Boolean):
            raise SchemaError(
                f"TargetEncoder: target `{self.target}` must hold numbers or truth values, got {kind}; of "
                "classes, encode one at a time as 0 and 1, for a column has one mean"
            )
        if self.fold_column is not None and not schema[self.fold_column].is_integer():
            raise SchemaError(
                f"TargetEncoder: `{self.fold_column}` must hold whole numbers, got {schema[self.fold_column]}"
            )
        names = super().resolve(schema)
        if self.columns is None:
            return tuple(name for name in names if name not in others)
        if own := [name for name in names if name in others]:
            raise SchemaError(
                f"TargetEncoder: `{own[0]}` cannot be encoded by itself; leave it out of `columns`"
            )
        return names

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask for the target's sums by category and fold."""
        return [self._sums(name) for name in self.names]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Compute the encodings."""
        learned: dict[str, Any] = {"encodings_": {}, "fold_means_": {}, "target_mean_": None}
        for name in self.names:
            state: GroupSumsState = found[self._sums(name)]
            if state.infinities:
                raise PrepareError(
                    f"column `{self.target}`: {state.infinities} targets are infinite, and have no mean; clip"
                    " them or make them null before"
                )
            if not state.table.counts.any():
                raise PrepareError(f"column `{self.target}`: all targets are missing; at least one is needed")
            encodings, means = self._encodings(state.table)
            learned["encodings_"][name] = encodings
            learned["target_mean_"], learned["fold_means_"] = means[0], means[1]
        return learned

    @property
    def makes_floats(self) -> bool:
        """Means are new numbers."""
        return True

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Encoded columns are floats."""
        return floats_schema(schema, self.names)

    def for_training(self) -> Self:
        """Return the fitted step that encodes each sample without its fold, for the samples of the fit alone.

        Raises:
            StateError: The step is not fitted, or without folds.
            PrepareError: All samples lie in one fold.
        """
        means = self.fold_means_
        if not means:
            raise StateError("TargetEncoder has learned no folds; fit it with `folds=` or `fold_column=`")
        if any(value is None for value in means.values()):
            raise PrepareError(
                "TargetEncoder: all samples lie in one fold; use another `seed` or more samples"
            )
        return self.with_learned({"out_of_fold_": True})

    def for_others(self) -> Self:
        """Return the fitted step that encodes each sample by all samples of the fit."""
        learned = {name: value for name, value in self.learned.items() if name != "out_of_fold_"}
        return self.unlearned().with_learned(learned)

    @property
    def needs_ids(self) -> bool:
        """Folds are dealt by the samples' ids."""
        return bool(self.learned.get("out_of_fold_")) and self.fold_column is None

    def narrowed(self, wanted: frozenset[str]) -> tuple[Self | None, frozenset[str]]:
        """Leave out what nobody wants; the folds must come in."""
        step, needed = super().narrowed(wanted)
        if step is not None and self.fold_column is not None and self.learned.get("out_of_fold_"):
            needed |= {self.fold_column}
        return step, needed

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Encode the categories."""
        import polars as pl

        folds = self._fold_places(frame) if self.learned.get("out_of_fold_") else 0
        made: list[pl.Series] = []
        for name in self.names:
            lookup, values = self._tables[name]
            made.append(pl.Series(name, values[lookup.find(frame[name]), folds]))
        return frame.with_columns(made)

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count missing and unseen values."""
        lookups = {name: self._tables[name][0] for name in self.names}
        return {
            name: count_events(lookup.find(frame[name]), len(lookup), is_cut=False)
            for name, lookup in lookups.items()
        }

    def _sums(self, name: str) -> TargetSums:
        return TargetSums(
            name, self.target, None if self.fold_column else self.folds, self.seed, self.fold_column
        )

    def _encodings(self, table: GroupTable) -> tuple[pl.DataFrame, tuple[float, dict[str, float | None]]]:
        """Return the encodings with all samples and without each fold, and the means so."""
        import polars as pl

        whole, all_samples = table.over((VALUE,)), table.over(())
        numbers = self._numbers(whole)
        is_known = whole.counts > 0
        columns: dict[str, pl.Series | Floats] = {
            "value": whole.groups[VALUE],
            "encoding": self._smoothed(numbers, all_samples, 0),
        }
        means: dict[str, float | None] = {}
        if self.folds is not None or self.fold_column is not None:
            rest, without = self._numbers(table.others(FOLD)), table.over((FOLD,)).others(FOLD)
            places = whole.groups.with_columns(pl.int_range(pl.len()).alias("place"))
            joined = table.groups.join(places, on=VALUE, how="left", nulls_equal=True, maintain_order="left")
            for row, fold in enumerate(without.groups[FOLD].to_list()):
                is_own = (table.groups[FOLD] == fold).to_numpy()
                part = numbers.copy()  # what the fold does not hold is known as well without it
                part[:, joined["place"].to_numpy()[is_own]] = rest[:, is_own]
                columns[f"fold_{fold}"] = self._smoothed(part, without, row)
                means[str(fold)] = float(without.means[row]) if without.counts[row] else None
        return pl.DataFrame(columns).filter(pl.Series(is_known)), (float(all_samples.means[0]), means)

    def _numbers(self, table: GroupTable) -> Floats:
        """Return counts, then means and variances or only sums, as smoothing needs them; of shape [3, n]."""
        if self.smooth == "auto":
            return np.stack([table.counts.astype(np.float64), table.means, table.variances()])
        sums = table.sums.divided(np.ones_like(table.counts), SUM_UNIT)
        return np.stack([table.counts.astype(np.float64), sums, np.zeros(len(sums))])

    def _smoothed(self, numbers: Floats, overall: GroupTable, row: int) -> Floats:
        """Draw categories to the mean of all samples; NaN without samples."""
        (sizes, own, within), center = numbers, overall.means[row]
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.smooth == "auto":
                spread = overall.variances()[row]
                weight = spread * sizes / (spread * sizes + within)
                encoded = weight * own + (1 - weight) * center
            else:
                encoded = (own + self.smooth * center) / (sizes + self.smooth)
        return np.where((sizes == 0) | np.isnan(encoded), center, encoded)

    @cached_property
    def _tables(self) -> dict[str, tuple[Lookup, Floats]]:
        """By column the lookup of its categories, and encodings: of these, of unseen ones, of missing ones.

        The first column of the encodings is with all samples, the others are without a fold.
        """
        tables: dict[str, tuple[Lookup, Floats]] = {}
        means = np.array(
            [self.target_mean_, *(np.nan if it is None else it for it in self.fold_means_.values())]
        )
        for name, frame in self.encodings_.items():
            known = frame.filter(frame["value"].is_not_null())
            missing = frame.filter(frame["value"].is_null()).drop("value").to_numpy()
            rows = [known.drop("value").to_numpy(), means[None], missing if len(missing) else means[None]]
            tables[name] = (Lookup.of(known["value"]), np.concatenate(rows))
        return tables

    def _fold_places(self, frame: pl.DataFrame) -> NDArray[np.int64]:
        """Say for each row which column of the encodings is without its fold."""
        needed = self.fold_column or SAMPLE_ID
        if needed not in frame.columns:
            raise StateError(
                "a TargetEncoder for training encodes the data set that it was fitted to; apply the fitted "
                "pipeline itself to other data"
            )
        known = np.array([int(fold) for fold in self.fold_means_])
        folds = folds_of(frame, self.folds, self.seed, self.fold_column).to_numpy()
        places = np.minimum(np.searchsorted(known, folds), len(known) - 1)
        if not (known[places] == folds).all():
            raise PrepareError("TargetEncoder: a sample lies in a fold that the fit has not seen")
        return places + 1
