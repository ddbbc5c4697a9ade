"""The compiled stage of tabular columns gives the bytes of the references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from stage_checks import check_stage

from headrace.augment import FeatureDropout, GaussianJitter, SwapNoise
from headrace.augment.fused.tabular.stage import find_tabular_stage


def table(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Random numbers."""
    return (rng.standard_normal(shape) * 30).astype(dtype)


@pytest.mark.parametrize("shape", [(9,), (9, 1), (7, 5), (0, 3), (4, 0)])
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_features_become_those_of_the_references(shape: tuple[int, ...], p: float) -> None:
    """One rate for all features and one for each, on all sizes of numbers."""
    rng = np.random.default_rng(1)
    each = [[float(share) for share in rng.random(shape[1])]] if shape[1:] and shape[1] else []
    for number, rate in enumerate((0.4, 1.0, 0.0, *each)):
        for dtype in ("uint8", "float32", "float64", "int64"):
            columns = {"x": table(rng, shape, dtype), "y": table(rng, shape, "float32")}
            partners = {name: table(rng, shape, column.dtype.name) for name, column in columns.items()}
            swap = SwapNoise(["x", "y"], rate=rate, p=p)
            check_stage(find_tabular_stage, [swap], columns, number, partners)
            drop = FeatureDropout(["x", "y"], rate=rate, fill=3, p=p)
            check_stage(find_tabular_stage, [drop], columns, number)
            for is_factor in (False, True) if dtype in ("float32", "float64") else ():
                noise = GaussianJitter(["x", "y"], sigma=rate, multiplicative=is_factor, p=p)
                check_stage(find_tabular_stage, [noise], columns, number)


def test_a_missing_value_keeps_its_bits() -> None:
    """Not-a-number as what is filled in, and in the data."""
    x = np.array([[1.0, np.nan], [np.inf, -0.0]], np.float32)

    check_stage(find_tabular_stage, [FeatureDropout("x", rate=0.5, fill=float("nan"))], {"x": x})
    check_stage(find_tabular_stage, [GaussianJitter("x")], {"x": x})
