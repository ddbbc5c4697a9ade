"""The operations on numbers that programs are made of; each takes one value and gives one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fill:
    """Put a value where one is missing."""

    value: float


@dataclass(frozen=True, slots=True)
class Limit:
    """Bring values into limits, or make those beyond missing.

    Attributes:
        low: The lowest value that stays.
        high: The highest value that stays.
        to_null: Whether what lies beyond becomes missing rather than the limit.
    """

    low: float
    high: float
    to_null: bool = False


@dataclass(frozen=True, slots=True)
class Affine:
    """Compute (x - shift) / divisor * factor + offset; operations that change nothing are left out.

    Without arguments it only says that the values are floats from here on.
    """

    shift: float = 0.0
    divisor: float = 1.0
    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Log:
    """Compute the natural logarithm of x + offset, without loss where the sum is near 1.

    Attributes:
        offset: What is added before.
        to_null: Whether a sum that is not positive gives null; else it is an error.
    """

    offset: float = 0.0
    to_null: bool = False


@dataclass(frozen=True, slots=True)
class Exp:
    """Compute exp(x) - 1 + offset, without loss where x is near 0 and the offset is."""

    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Power:
    """Compute a power transform.

    Attributes:
        lam: Its parameter lambda.
        is_signed: Whether it is that of Yeo and Johnson; else that of Box and Cox, for which a value that is
            not positive is an error.
        inverse: Whether it is taken back; what no value is transformed to becomes missing.
    """

    lam: float
    is_signed: bool
    inverse: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Interpolate:
    """Read a piecewise linear curve, flat beyond its ends.

    Attributes:
        xs: Rising; where points share an x, the middle of the first and the last one's y is read.
        ys: As many.
    """

    xs: Any
    ys: Any


@dataclass(frozen=True, slots=True)
class NormalQuantile:
    """Turn a share of the standard normal distribution into its quantile, kept 1e-7 from 0 and 1."""


@dataclass(frozen=True, slots=True)
class NormalShare:
    """Turn a quantile of the standard normal distribution into the share below it."""


@dataclass(frozen=True, slots=True, eq=False)
class Bucket:
    """Count the edges that are not above x: a whole number.

    Attributes:
        edges: Rising.
    """

    edges: Any


@dataclass(frozen=True, slots=True, eq=False)
class Pick:
    """Look up whole numbers in a list; what it has not becomes missing.

    Attributes:
        values: What is found.
        first: The number of the first value.
        is_whole: Whether what is found are whole numbers.
    """

    values: Any
    first: int = 0
    is_whole: bool = False


Operation = (
    Fill | Limit | Affine | Log | Exp | Power | Interpolate | NormalQuantile | NormalShare | Bucket | Pick
)
