"""The contract of `LoaderTests` over a part and a balanced data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from selecting_data import cut

import headrace as hr
from headrace.testing import LoaderTests


def whole() -> hr.Dataset:
    number = np.arange(90)
    return cut({"x": number * 0.5, "y": number, "label": (number % 10 == 0).astype(np.int8)})


class ShuffledTests(LoaderTests):
    """The contract for the order that users choose most."""

    @pytest.fixture(params=[True], ids=str)
    def shuffle(self, request: pytest.FixtureRequest) -> Any:
        return request.param


class TestPart(ShuffledTests):
    batch_size = 7

    @pytest.fixture
    def dataset(self) -> hr.Dataset:
        return whole().split(train=0.4, test=0.6, seed=1)["train"].balance("label", how="weights")


class TestOversampled(ShuffledTests):
    batch_size = 8

    @pytest.fixture
    def dataset(self) -> hr.Dataset:
        """Every sample of the small class several times."""
        part = whole().rows(range(0, 90, 2)).balance("label", how="oversample", seed=2)
        assert len(set(part.sample_ids.tolist())) < len(part) < 90
        return part
