"""The contract of `StoreTests` over memory; the other stores have it beside their own tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import headrace as hr
from headrace.stores.base import Store
from headrace.testing import StoreTests


class TestMemory(StoreTests):
    is_shared = False

    @pytest.fixture
    def make(self) -> Callable[[int | None], Store]:
        return hr.MemoryStore
