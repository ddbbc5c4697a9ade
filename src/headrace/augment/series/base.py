"""What all augmentations of series share: layouts, checks, and reading at other places of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from headrace.augment.base import Augmentation, Spec
from headrace.errors import OptionError

SeriesLayout = Literal["NTC", "NCT"]

STEP = 16
"""Places between two steps of time are counted in 2^-16 of a step."""
LONGEST = 1 << 22
"""The most steps of a series, so that all places fit into 64 bits."""


@dataclass(frozen=True)
class SeriesAugmentation(Augmentation):
    """An augmentation of series: arrays of shape [n, time, channels] or [n, channels, time].

    A column of shape [n, time] is taken for series of one channel. Where several columns are given, they have
    the same number of steps.

    Attributes:
        layout: `"NTC"` or `"NCT"`.
    """

    _: KW_ONLY
    layout: SeriesLayout = "NTC"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layout not in ("NTC", "NCT"):
            raise OptionError(f'{self.title}: `layout` must be "NTC" or "NCT", got {self.layout!r}')

    @property
    def needs_floats(self) -> bool:
        """Whether values are computed and not only moved."""
        return self.parity != "A"

    def steps(self, spec: Spec) -> int:
        """How many steps of time a series has."""
        return spec.shape[self.time_axis(len(spec.shape) + 1) - 1]

    def channels(self, spec: Spec) -> int:
        """How many channels a series has."""
        return spec.size // self.steps(spec) if spec.size else 0

    def time_axis(self, dimensions: int) -> int:
        """The axis of time of an array of so many dimensions, samples counted."""
        return 2 if dimensions == 3 and self.layout == "NCT" else 1

    def channel_axis(self) -> int:
        """The axis of channels of an array of shape [n, time, channels], or the other way round."""
        return 1 if self.layout == "NCT" else 2

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Return what the columns hold; see `Augmentation.output`."""
        first = specs[self.changed[0]]
        for column in self.changed:
            spec = specs[column]
            # Values are computed with in float32 or float64; whatever only moves may be any number.
            is_number = (
                spec.dtype.name in ("float32", "float64") if self.needs_floats else spec.dtype.kind in "iufb"
            )
            if spec.is_ragged or len(spec.shape) not in (1, 2) or 0 in spec.shape or not is_number:
                kind = "float32 or float64" if self.needs_floats else "numbers"
                shape = f"[n, time] or [n, {'time, channels' if self.layout == 'NTC' else 'channels, time'}]"
                raise self.refuse(column, spec, f"series, {kind} of shape {shape}")
            if self.steps(spec) > LONGEST:
                raise self.refuse(column, spec, f"series of at most {LONGEST} steps")
            if self.steps(spec) != self.steps(first):
                as_first = f"series of {self.steps(first)} steps, as `{self.changed[0]}` does"
                raise self.refuse(column, spec, as_first)
        return {column: specs[column] for column in self.changed}


def per_sample(xp: Any, values: Any, dimensions: int) -> Any:
    """Give one value for each sample the shape [n, 1, ...] of so many dimensions."""
    return xp.reshape(values, (values.shape[0],) + (1,) * (dimensions - 1))


def along(xp: Any, values: Any, axis: int, dimensions: int) -> Any:
    """Lay values of shape [n, length] along an axis of an array of so many dimensions."""
    return xp.reshape(
        values,
        tuple({0: values.shape[0], axis: values.shape[1]}.get(each, 1) for each in range(dimensions)),
    )


def read_steps(xp: Any, array: Any, steps: Any, axis: int) -> Any:
    """Read each series at these steps, int64 of shape [n, length], along the axis of time."""
    return xp.take_along_axis(array, along(xp, steps, axis, array.ndim), axis=axis)


def read_between(xp: Any, array: Any, places: Any, axis: int) -> Any:
    """Read each series at places between its steps, by linear interpolation.

    The value is x0 + (x1 - x0) * w: a difference, a product and a sum, each rounded once. A place that is a
    step has the very value of that step.

    Args:
        xp: The namespace of the arrays.
        array: Floats, series along `axis`.
        places: int64 of shape [n, length], in 2^-16 of a step, from 0 to the last step.
        axis: The axis of time.
    """
    before = places >> STEP
    after = xp.minimum(before + 1, xp.asarray(array.shape[axis] - 1, dtype=xp.int64))
    rest = along(xp, places & ((1 << STEP) - 1), axis, array.ndim)
    weight = xp.astype(rest, array.dtype) * 2.0**-STEP
    first, second = read_steps(xp, array, before, axis), read_steps(xp, array, after, axis)
    return xp.where(rest == 0, first, first + (second - first) * weight)
