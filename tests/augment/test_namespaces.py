"""Arrays of libraries that lack a little of the array API."""

from __future__ import annotations

import sys
import types

import numpy as np

from headrace.augment.cuda.namespace import CupyNamespace
from headrace.draws.namespaces import namespace_of


def test_a_library_without_the_method_is_found_by_its_module(monkeypatch):
    """CuPy's arrays do not say which namespace they are of, so that their module is taken."""
    library = types.ModuleType("pretended")
    monkeypatch.setitem(sys.modules, "pretended", library)
    array = type("ndarray", (), {"__module__": "pretended.core"})()

    assert namespace_of(array) is library
    assert namespace_of(np.zeros(1)) is np


def test_arguments_that_cupy_lacks_are_taken():
    """`stable=` and `copy=` of the array API are understood, and all else is the library's own."""
    xp, values = CupyNamespace(np), np.array([2, 1, 2, 0])

    assert xp.argsort(values, axis=0, stable=True).tolist() == [3, 1, 0, 2]
    assert xp.asarray(values) is values
    assert xp.asarray(values, copy=True) is not values
    assert xp.float32 is np.float32
