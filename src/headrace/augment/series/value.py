"""Checks of options that are numbers, and values that are put in the place of others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.augment.base import Augmentation, Spec
from headrace.errors import OptionError

MOST_SIGMA = 1000
"""The largest standard deviation that is taken."""


def check_number(title: str, name: str, value: object, least: float, most: float) -> None:
    """Refuse what is no number or beyond bounds.

    Raises:
        OptionError: Names the augmentation and the option, and shows the value.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise OptionError(f"{title}: `{name}` must be a number from {least} to {most}, got {value!r}")


def check_value(op: Augmentation, name: str, value: object, specs: Mapping[str, Spec]) -> None:
    """Refuse a value that a column cannot hold.

    Raises:
        OptionError: It is no number, or none of a column's dtype.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise OptionError(f"{op.title}: `{name}` must be a number, got {value!r}")
    for column, spec in specs.items():
        if spec.dtype.kind == "f":
            continue
        least, most = (
            (0, 1) if spec.dtype.kind == "b" else (np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max)
        )
        if not math.isfinite(value) or value != int(value) or not least <= value <= most:
            raise OptionError(
                f"{op.title}: `{name}` must be a whole number from {least} to {most} for column `{column}` "
                f"of {spec.dtype}, got {value!r}"
            )


def fill_like(xp: Any, value: float, array: Any) -> Any:
    """Make a value an array without dimensions, of the dtype of another array."""
    return xp.asarray(np.asarray(value).astype(str(array.dtype).rpartition(".")[2]).item(), dtype=array.dtype)
