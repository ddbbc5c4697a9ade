"""The contract of `StoreTests` over every store that there is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace.stores.base import Store
from headrace.stores.memory import MemoryStore
from headrace.testing import StoreTests


class TestMemory(StoreTests):
    is_shared = False

    @pytest.fixture
    def make(self) -> Callable[[int | None], Store]:
        return MemoryStore
