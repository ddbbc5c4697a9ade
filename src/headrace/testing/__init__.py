"""The contracts of headrace as tests that others inherit, and sources that misbehave on request.

A new source, executor, store, augmentation or kind of data set subclasses one of the classes, overrides
its fixtures, and inherits the whole contract:

- `SourceTests`: a reader of a format, held against a table with its contents.
- `LoaderTests`: a data set, whose loaders must deliver, resume and close as promised.
- `ExecutorTests`: an executor, held against `Serial`.
- `StoreTests`: a store, which must hand out what was put, or nothing.
- `AugmentTests`: an augmentation, which must change a sample alike in any batch.
- `FaultySource` and `SlowSource` wrap any source: what fails, and what takes its time.
- `Resources` counts what a process holds, to find what was left behind.
- `headrace.testing.strategies` holds hypothesis strategies for layouts, worlds and settings.

Example:
    >>> import headrace as hr, pytest
    >>> class TestMyData(LoaderTests):
    ...     @pytest.fixture
    ...     def dataset(self) -> hr.Dataset:
    ...         return hr.from_arrays({"x": list(range(40))})

It needs the extra `testing`: `pip install headrace[testing]`.
"""

from __future__ import annotations

from headrace.testing.augmentations import AugmentTests
from headrace.testing.executors import ExecutorTests
from headrace.testing.faults import Delay, Fail, FaultySource, SlowSource, Truncate
from headrace.testing.loaders import LoaderTests
from headrace.testing.resources import Resources
from headrace.testing.sources import SourceTests
from headrace.testing.stores import StoreTests

__all__ = [
    "AugmentTests",
    "Delay",
    "ExecutorTests",
    "Fail",
    "FaultySource",
    "LoaderTests",
    "Resources",
    "SlowSource",
    "SourceTests",
    "StoreTests",
    "Truncate",
]
