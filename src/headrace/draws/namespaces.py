"""Which array library an array is of."""

from __future__ import annotations

import sys
from typing import Any


def namespace_of(array: Any) -> Any:
    """Return the namespace of an array of any library that follows the array API.

    CuPy has the names of the standard but not the method that says so; of its arrays the module is taken.

    Example:
        >>> import numpy as np
        >>> namespace_of(np.zeros(3)).__name__
        'numpy'
    """
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    return sys.modules[type(array).__module__.partition(".")[0]]
