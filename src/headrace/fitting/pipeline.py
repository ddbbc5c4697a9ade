"""Pipeline: steps that are fitted once, and give the same numbers everywhere."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from dataclasses import Field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from headrace.errors import OptionError, StateError
from headrace.execution.executors import Executor, Threads
from headrace.execution.progress import Progress, follow
from headrace.execution.recipe import Recipe
from headrace.fitting import report as counting
from headrace.fitting.artifact import Artifact, Functions, load, save
from headrace.fitting.engine import FitOptions, FitReport, fit_steps
from headrace.fitting.foretell import FitPlan, foretell
from headrace.fitting.forms import apply_to
from headrace.fitting.shelf import Shelf
from headrace.prepare.base import frame_schema
from headrace.prepare.chain import Chain, Dtype
from headrace.prepare.step import PrepareStep
from headrace.selecting.base import Selectable
from headrace.selecting.parts import Part, parts_of, read_part
from headrace.sources.budget import parse_bytes
from headrace.version import __version__

if TYPE_CHECKING:
    import polars as pl

_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+(?=>)")
_DTYPES = ("bfloat16", "float16", "float32", "float64")


class Pipeline:
    """A chain of steps, fitted to one part of the data and applied to any other.

    Within the chain numbers are float64; they are rounded once, to `dtype`, at its end. A row gives the same
    bits alone, in a frame and in a loader's batch. Applying is thread-safe, fitting is not.

    Args:
        steps: Steps such as `hr.StandardScaler()`, in the order in which they are applied.
        dtype: What the floats that steps make are delivered as: "float32", "float64", "float16", where
            finite numbers beyond 65504 become 65504, or "bfloat16": float32 columns whose numbers are those
            of bfloat16, so that `tensor.bfloat16()` changes none; finite ones beyond become the largest.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [1.0, 2.0, 4.0]})
        >>> pipe = hr.Pipeline([hr.StandardScaler()], dtype="float64").fit(ds)
        >>> pipe.transform({"x": 4.0})
        {'x': 1.3363062095621219}
        >>> pipe.transform(ds).pack(x=["x"]).take([2])["x"]
        array([[1.33630621]])
    """

    def __init__(self, steps: Sequence[PrepareStep], *, dtype: Dtype = "float32") -> None:
        """Keep the steps."""
        self.steps = tuple(steps)
        self.dtype = dtype
        self.schema: pl.Schema | None = None
        self.fit_report: FitReport | None = None
        self._fitted_to: Selectable | None = None
        self._provenance: dict[str, Any] = {}
        for step in self.steps:
            if not isinstance(step, PrepareStep):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise OptionError(f"a pipeline takes steps, like `hr.StandardScaler()`, got {step!r}")
        if not self.steps:
            raise OptionError("a pipeline needs at least one step, like `hr.StandardScaler()`")
        if dtype not in _DTYPES:
            raise OptionError(f"`dtype` must be one of {', '.join(_DTYPES)}, got {dtype!r}")

    def fit(
        self,
        dataset: Selectable,
        *,
        executor: Executor | None = None,
        cache: str | os.PathLike[str] | None = None,
        memory_limit: str | int | None = None,
        progress: Progress = True,
    ) -> Self:
        """Learn from the samples of a data set, and of no others.

        What is learned does not depend on row groups, shards, their order, or the executor.

        Args:
            dataset: The part to learn from, such as `parts["train"]`.
            executor: Where row groups are read; threads by default.
            cache: A folder that keeps what was found in each shard, so that a fit to data with other shards
                reads only those that are new.
            memory_limit: What values that are kept for exact quantiles, and columns for later steps, may
                take, like "2GB"; by default a quarter of the machine's memory.
            progress: True for a bar on a terminal, or a function of row groups done and in all.

        Raises:
            OptionError: No sample takes part, or it is no data set.
            HeadraceError: The data cannot be read, or not be fitted; the message names the column.
        """
        if not hasattr(dataset, "recipe"):
            raise OptionError(
                f"`fit` takes a data set, got {type(dataset).__name__}; wrap a frame by "
                "`hr.from_polars(frame)`"
            )
        shelf = None if cache is None else Shelf(Path(cache))
        options = FitOptions(executor, parse_bytes(memory_limit), progress, shelf)
        self.steps, self.fit_report = fit_steps([step.unlearned() for step in self.steps], dataset, options)
        self.schema = frame_schema(dataset.schema)
        self._fitted_to, self._provenance = dataset, {}
        return self

    def fit_transform(self, dataset: Any, **options: Any) -> Any:
        """Fit, and return the data set as it is prepared for training.

        Where a step treats the samples that it was fitted to otherwise than new ones, as `hr.TargetEncoder`
        does, this is the way to the former.
        """
        self.fit(dataset, **options)
        return dataset.prepare(Chain(tuple(step.for_training() for step in self.steps), self.dtype))

    def explain(self, dataset: Selectable) -> FitPlan:
        """Tell how many scans of a data set a fit takes at the most, and which steps each one fits.

        Raises:
            HeadraceError: A step names a column that is not there, or cannot treat it.
        """
        return foretell([step.unlearned() for step in self.steps], frame_schema(dataset.schema))

    @property
    def step(self) -> Chain:
        """What was learned so far, as one step of a recipe, which a later fit does not change.

        Raises:
            StateError: The pipeline is not fitted.
        """
        if self.schema is None:
            raise StateError("the pipeline must be fitted before it is applied; call `fit` first")
        numbers = tuple((name, dtype) for name, dtype in self.schema.items() if dtype.is_numeric())
        return Chain(self.steps, self.dtype, numbers)

    def transform(self, data: Any, *, columns: Sequence[str] | None = None) -> Any:
        """Apply what was learned.

        Args:
            data: A data set, a frame of Polars or pandas, a dict of arrays, or a dict of one row's values.
            columns: Which columns to return; then only those that they are made of need be there.

        Returns:
            The same form with the columns prepared; a data set is prepared when it is read.

        Raises:
            StateError: The pipeline is not fitted.
            UnknownColumnError: A column that a step needs is not there.
            SchemaError: A column has another type than the one that was fitted to.
        """
        chain: Any = self.step
        if hasattr(data, "recipe"):
            prepared = data.prepare(chain)
            return prepared if columns is None else prepared.select(list(columns))
        if columns is not None:
            chain, _ = chain.narrow(None, frozenset(columns))

        def apply(frame: pl.DataFrame) -> pl.DataFrame:
            prepared = chain.apply(frame)
            return prepared if columns is None else prepared.select(list(columns))

        return apply_to(data, apply, self.schema or {})

    def inverse_transform(self, data: Any) -> Any:
        """Take prepared frames, arrays or a row back to what they were, as far as the steps can tell.

        Raises:
            OptionError: A step has no inverse; the message names it. Or it is a data set.
        """
        steps = self.step.steps
        if hasattr(data, "recipe"):
            raise OptionError(
                "`inverse_transform` takes frames, arrays or a row, not a data set; read it before, like "
                "`pipe.inverse_transform(ds.to_polars())`"
            )

        def apply(frame: pl.DataFrame) -> pl.DataFrame:
            for step in reversed(steps):
                before = step.inverse(frame)
                if before is None:
                    raise OptionError(
                        f"{type(step).__name__} has no inverse; leave it out of the pipeline to go back"
                    )
                frame = before
            return frame

        return apply_to(data, apply, {})

    def report(
        self,
        data: Selectable | None = None,
        *,
        executor: Executor | None = None,
        progress: Progress = False,
    ) -> pl.DataFrame:
        """Count what the steps do to samples: values changed, and what their policies met.

        Args:
            data: A data set; by default the one that the pipeline was fitted to.
            executor: Where row groups are read; threads by default.
            progress: True for a bar on a terminal, or a function of row groups done and in all.

        Returns:
            Columns `step` ("1: FillMissing", or "input"), `column`, `event` and `count`, without zeros.

        Raises:
            StateError: The pipeline is not fitted, or was loaded and so has no data of its own.
        """
        steps = self.step.steps
        if data is None:
            if self._fitted_to is None:
                raise StateError("a loaded pipeline has no data to report on; pass a data set")
            data = self._fitted_to
        parts = list(parts_of(data))
        results = (executor or Threads()).map(partial(_count, data.recipe, steps), parts)
        return counting.to_frame(follow(results, len(parts), progress))

    def describe(self) -> list[dict[str, Any]]:
        """Return what was learned, a dict for each step: `step`, its settings, and names that end in `_`."""
        return [{"step": _text(step, fields(step)), **step.learned} for step in self.step.steps]

    def clone(self) -> Pipeline:
        """Return a pipeline with these settings that is not fitted."""
        return Pipeline([step.unlearned() for step in self.steps], dtype=self.dtype)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write settings and what was learned to a JSON file, and long arrays to an Arrow file beside it.

        Raises:
            StateError: The pipeline is not fitted.
            OptionError: A setting cannot be written as data.
            SourceError: The file cannot be written.
        """
        if not self._provenance:
            self._provenance = self._origin()
        save(Path(path), Artifact(self.step.steps, self.dtype, self.schema, self._provenance))

    @staticmethod
    def load(path: str | os.PathLike[str], *, functions: Functions | None = None) -> Pipeline:
        """Read a pipeline that `save` wrote; no code is read, so it is safe for files of others.

        Args:
            path: The JSON file; the Arrow file must lie beside it, if there is one.
            functions: The user's functions by name, for steps that call one.

        Raises:
            MissingSourceError: There is no such file.
            CorruptSourceError: It is no pipeline, or damaged.
        """
        artifact = load(Path(path), functions or {})
        pipe = Pipeline(artifact.steps, dtype=artifact.dtype)
        pipe.schema, pipe._provenance = artifact.schema, artifact.provenance
        return pipe

    def to_sklearn(self) -> Any:
        """Return a fitted `sklearn.pipeline.Pipeline` that does the same up to rounding, in float64.

        Raises:
            StateError: The pipeline is not fitted.
            OptionError: A step is no scaler that scikit-learn has too, or the steps treat different columns.
            MissingDependencyError: scikit-learn is not installed.
        """
        from headrace.fitting.sklearn import to_estimators

        return to_estimators(self.step.steps)

    @staticmethod
    def from_sklearn(estimator: Any, *, columns: Sequence[str] | None = None) -> Pipeline:
        """Return a pipeline that has learned what fitted scalers of scikit-learn have.

        Args:
            estimator: A scaler, or a `sklearn.pipeline.Pipeline` of scalers.
            columns: Names of its columns; by default those of the frame that it was fitted to.

        Raises:
            OptionError: An estimator has no equal here, is not fitted, or has other columns.
        """
        import polars as pl

        from headrace.fitting.sklearn import from_estimators

        steps, names = from_estimators(estimator, columns)
        pipe = Pipeline(steps, dtype="float64")
        pipe.schema = pl.Schema(dict.fromkeys(names, pl.Float64()))
        return pipe

    def __getitem__(self, key: int | str) -> PrepareStep:
        """Return a step by its place, or by its class's name if that is in the pipeline once."""
        if isinstance(key, int):
            return self.steps[key]
        found = [step for step in self.steps if type(step).__name__ == key]
        if len(found) != 1:
            raise OptionError(
                f"a step's name must be in the pipeline once, but `{key}` is there {len(found)} times"
            )
        return found[0]

    def __len__(self) -> int:
        """How many steps there are."""
        return len(self.steps)

    def __repr__(self) -> str:
        lines = [f"  {_shown(step)}" for step in self.steps]
        state = "" if self.schema is not None else " (not fitted)"
        return "\n".join([f"Pipeline{state}(dtype={self.dtype!r}", *lines, ")"])

    def _origin(self) -> dict[str, Any]:
        if self.schema is None:
            raise StateError("the pipeline must be fitted before it is saved; call `fit` first")
        dataset: Any = self._fitted_to  # None for what scikit-learn has fitted
        return {
            "data": None if dataset is None else dataset.fingerprint,
            "samples": None if dataset is None else len(dataset),
            "headrace": __version__,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }


def _count(recipe: Recipe, steps: Sequence[PrepareStep], part: Part) -> counting.Tally:
    return counting.count_frame(read_part(recipe, part), steps)


def _shown(step: PrepareStep) -> str:
    """A step in a line: the settings that are not the default ones, its columns, and what it learned."""
    settings = [it for it in fields(step) if it.name != "columns" and not _is_default(step, it)]
    text = _text(step, settings)
    if "columns_" not in step.learned:
        return text
    learned = [name for name in step.learned if name != "columns_"]
    return f"{text}  # {_listed(step.names)}" + (f": {', '.join(learned)}" if learned else "")


def _text(step: PrepareStep, settings: Sequence[Field[Any]]) -> str:
    """A step as it is written; Polars' text of an expression holds an address, which is left out."""
    values = (f"{it.name}={_ADDRESS.sub('', repr(getattr(step, it.name)))}" for it in settings if it.repr)
    return f"{type(step).__name__}({', '.join(values)})"


def _is_default(step: PrepareStep, setting: Field[Any]) -> bool:
    value = getattr(step, setting.name)
    return type(value) is type(setting.default) and value == setting.default


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
