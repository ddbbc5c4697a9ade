"""Fitted scalers to and from scikit-learn, where both learn the same and do the same up to rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from headrace.errors import MissingDependencyError, OptionError
from headrace.prepare.step import PrepareStep
from headrace.prepare.steps.normalize import Normalizer
from headrace.prepare.steps.scale import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

if TYPE_CHECKING:
    from types import ModuleType

_NAMES = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "Normalizer")


def to_estimators(steps: Sequence[PrepareStep]) -> Any:
    """Return a fitted `sklearn.pipeline.Pipeline` of one estimator for each step.

    Raises:
        OptionError: A step has no equal in scikit-learn, or the steps treat different columns.
        MissingDependencyError: scikit-learn is not installed.
    """
    preprocessing = _preprocessing()
    names = steps[0].names
    fitted: list[tuple[str, Any]] = []
    for place, step in enumerate(steps, 1):
        kind = type(step).__name__
        if kind not in _NAMES:
            raise OptionError(
                f"step {place}, {kind}, has no equal in scikit-learn; those that do are {_NAMES}"
            )
        if step.names != names:
            raise OptionError(
                f"scikit-learn's estimators take all columns of a table, so all steps must treat the same "
                f"ones, but step {place}, {kind}, treats {list(step.names)} after {list(names)}"
            )
        estimator = _WRITERS[kind](preprocessing, step)
        estimator.n_features_in_ = len(names)
        if place == 1:  # what comes to the others is an array, without names
            estimator.feature_names_in_ = np.array(names, object)
        fitted.append((f"{kind.lower()}_{place}", estimator))
    from sklearn.pipeline import Pipeline

    return Pipeline(fitted)


def from_estimators(estimator: Any, columns: Sequence[str] | None) -> tuple[list[PrepareStep], list[str]]:
    """Read fitted estimators, alone or in a `sklearn.pipeline.Pipeline`.

    Args:
        estimator: What is fitted.
        columns: Names of its columns; by default those that it was fitted with.

    Returns:
        Steps that have learned the same, and the columns.

    Raises:
        OptionError: An estimator has no equal here, is not fitted, or has other columns.
    """
    steps: list[PrepareStep] = []
    estimators = [one for _, one in estimator.steps] if hasattr(estimator, "steps") else [estimator]
    given: Any = getattr(estimators[0], "feature_names_in_", ()) if columns is None else columns
    names: list[str] = list(given)
    for one in estimators:
        kind = type(one).__name__
        if kind not in _NAMES or not type(one).__module__.startswith("sklearn."):
            raise OptionError(f"`{kind}` has no equal among headrace's steps; those that have are {_NAMES}")
        count = getattr(one, "n_features_in_", None)
        if count is None:
            raise OptionError(f"`{kind}` must be fitted before it can be read")
        if count != len(names):
            raise OptionError(
                f"`{kind}` was fitted to {count} columns, so `columns` must name as many, got {names}"
            )
        step, learned = _READERS[kind](one)
        by_name = {
            name: dict(zip(names, _numbers(values, count), strict=True)) for name, values in learned.items()
        }
        steps.append(step.with_learned({"columns_": names, **by_name}))
    return steps, names


def _numbers(values: Any, count: int) -> list[Any]:
    return np.broadcast_to(np.asarray(values), (count,)).tolist()


def _row(by_column: Mapping[str, float], step: PrepareStep) -> Any:
    return np.array([by_column[name] for name in step.names], np.float64)


def _preprocessing() -> ModuleType:
    try:
        from sklearn import preprocessing
    except ImportError as error:
        raise MissingDependencyError(
            "`to_sklearn` needs scikit-learn; install it by `pip install scikit-learn`"
        ) from error
    return cast("ModuleType", preprocessing)


def _write_standard(preprocessing: Any, given: PrepareStep) -> Any:
    step = cast("StandardScaler", given)
    if step.ddof:
        raise OptionError(f"scikit-learn's StandardScaler knows ddof=0 alone, got {step.ddof}")
    scaler = preprocessing.StandardScaler(with_mean=step.with_mean, with_std=step.with_std)
    scaler.mean_, scaler.var_, scaler.scale_ = (
        _row(values, step) for values in (step.mean_, step.var_, step.scale_)
    )
    if not step.with_std:
        scaler.var_ = scaler.scale_ = None
    scaler.n_samples_seen_ = np.array([step.n_seen_[name] for name in step.names])
    return scaler


def _read_standard(scaler: Any) -> tuple[PrepareStep, dict[str, Any]]:
    step = StandardScaler(with_mean=scaler.with_mean, with_std=scaler.with_std)
    has_mean, has_scale = scaler.mean_ is not None, scaler.scale_ is not None
    return step, {
        "mean_": scaler.mean_ if has_mean else 0.0,
        "var_": scaler.var_ if has_scale else float("nan"),
        "scale_": scaler.scale_ if has_scale else 1.0,
        "n_seen_": scaler.n_samples_seen_,
    }


def _write_min_max(preprocessing: Any, given: PrepareStep) -> Any:
    step = cast("MinMaxScaler", given)
    clips = set(step.clip_.values())
    if len(clips) > 1:
        raise OptionError("scikit-learn clips all columns or none, so give `clip=True` or `clip=False`")
    low, _ = step.feature_range
    scaler = preprocessing.MinMaxScaler(step.feature_range, clip=clips == {True})
    scaler.data_min_, scaler.data_max_ = _row(step.data_min_, step), _row(step.data_max_, step)
    scaler.data_range_ = scaler.data_max_ - scaler.data_min_
    scaler.scale_ = _row(step.scale_, step)
    scaler.min_ = low - scaler.data_min_ * scaler.scale_
    return scaler


def _read_min_max(scaler: Any) -> tuple[PrepareStep, dict[str, Any]]:
    step = MinMaxScaler(tuple(scaler.feature_range), clip=scaler.clip)
    learned = {"data_min_": scaler.data_min_, "data_max_": scaler.data_max_, "scale_": scaler.scale_}
    return step, {**learned, "clip_": scaler.clip}


def _write_max_abs(preprocessing: Any, given: PrepareStep) -> Any:
    step = cast("MaxAbsScaler", given)
    scaler = preprocessing.MaxAbsScaler()
    scaler.max_abs_, scaler.scale_ = _row(step.max_abs_, step), _row(step.scale_, step)
    return scaler


def _read_max_abs(scaler: Any) -> tuple[PrepareStep, dict[str, Any]]:
    return MaxAbsScaler(), {"max_abs_": scaler.max_abs_, "scale_": scaler.scale_}


def _write_robust(preprocessing: Any, given: PrepareStep) -> Any:
    step = cast("RobustScaler", given)
    scaler = preprocessing.RobustScaler(
        with_centering=step.with_centering,
        with_scaling=step.with_scaling,
        quantile_range=step.quantile_range,
    )
    scaler.center_ = _row(step.center_, step) if step.with_centering else None
    scaler.scale_ = _row(step.scale_, step) if step.with_scaling else None
    return scaler


def _read_robust(scaler: Any) -> tuple[PrepareStep, dict[str, Any]]:
    if scaler.unit_variance:
        raise OptionError("RobustScaler(unit_variance=True) has no equal among headrace's steps")
    step = RobustScaler(tuple(scaler.quantile_range), scaler.with_centering, scaler.with_scaling)
    center = 0.0 if scaler.center_ is None else scaler.center_
    return step, {
        "center_": center,
        "scale_": 1.0 if scaler.scale_ is None else scaler.scale_,
        "rank_error_": 0.0,
    }


def _write_normalizer(preprocessing: Any, given: PrepareStep) -> Any:
    return preprocessing.Normalizer(norm=cast("Normalizer", given).norm)


def _read_normalizer(scaler: Any) -> tuple[PrepareStep, dict[str, Any]]:
    return Normalizer(scaler.norm), {}


_WRITERS: dict[str, Callable[[Any, PrepareStep], Any]] = {
    "StandardScaler": _write_standard,
    "MinMaxScaler": _write_min_max,
    "MaxAbsScaler": _write_max_abs,
    "RobustScaler": _write_robust,
    "Normalizer": _write_normalizer,
}
_READERS: dict[str, Callable[[Any], tuple[PrepareStep, dict[str, Any]]]] = {
    "StandardScaler": _read_standard,
    "MinMaxScaler": _read_min_max,
    "MaxAbsScaler": _read_max_abs,
    "RobustScaler": _read_robust,
    "Normalizer": _read_normalizer,
}
