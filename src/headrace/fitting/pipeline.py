"""Pipeline: steps that are fitted once, and give the same numbers everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

from headrace.errors import OptionError, StateError
from headrace.execution.executors import Executor
from headrace.fitting.engine import FitOptions, FitReport, fit_steps, frame_schema
from headrace.prepare.base import Step
from headrace.prepare.chain import Chain, Dtype
from headrace.prepare.step import PrepareStep
from headrace.selecting.base import Selectable
from headrace.selecting.progress import Progress
from headrace.sources.budget import parse_bytes

if TYPE_CHECKING:
    import polars as pl

_DTYPES = ("float16", "float32", "float64")


class Pipeline:
    """A chain of steps, fitted to one part of the data and applied to any other.

    Args:
        steps: Steps of this module's kind, in the order in which they are applied.
        dtype: What the floats that steps make are delivered as. Within the chain, numbers are
            float64, and are rounded once, at its end.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [1.0, 2.0, 4.0]})
        >>> pipe = hr.Pipeline([hr.StandardScaler()], dtype="float64").fit(ds)
        >>> pipe.transform({"x": 4.0})
        {'x': 1.3363062095621219}
    """

    def __init__(self, steps: Sequence[PrepareStep], *, dtype: Dtype = "float32") -> None:
        """Keep the steps."""
        self.steps = tuple(steps)
        self.dtype = dtype
        self._chain: Chain | None = None
        self._schema: pl.Schema | None = None
        self.fit_report: FitReport | None = None
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
        memory_limit: str | int | None = None,
        progress: Progress = True,
    ) -> Self:
        """Learn from the samples of a data set, and of no others.

        Args:
            dataset: The part to learn from, such as `parts["train"]`.
            executor: Where row groups are read; threads by default.
            memory_limit: What values that are kept for exact quantiles may take, like "2GB"; by default a quarter of
                the machine's memory.
            progress: True for a bar on a terminal, or a function of row groups done and in all.
        """
        options = FitOptions(executor, parse_bytes(memory_limit), progress)
        plain = [step.unlearned() for step in self.steps]
        self.steps, self.fit_report = fit_steps(plain, dataset, options)
        self._schema = frame_schema(dataset.schema)
        self._chain = Chain(self.steps, self.dtype)
        return self

    @property
    def step(self) -> Step:
        """The fitted chain as one step of a recipe, which a later fit does not change.

        Raises:
            StateError: The pipeline is not fitted.
        """
        if self._chain is None:
            raise StateError("the pipeline must be fitted before it is applied; call `fit` first")
        return self._chain

    def transform(self, data: Any) -> Any:
        """Apply what was learned to a data set, a Polars frame, a dict of arrays or one row."""
        import polars as pl

        if hasattr(data, "recipe"):
            return data.prepare(self.step)
        if isinstance(data, pl.DataFrame):
            return self.step.apply(data)
        if isinstance(data, Mapping):
            return self._transform_row(cast("Mapping[str, Any]", data))
        raise OptionError(f"`transform` takes a data set, a frame or a dict, got {type(data).__name__}")

    def _transform_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        import polars as pl

        assert self._schema is not None
        frame = pl.DataFrame({name: [value] for name, value in row.items()}, schema_overrides=self._schema)
        return self.step.apply(frame).row(0, named=True)
