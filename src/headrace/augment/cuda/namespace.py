"""CuPy as the references need it: the array API's names, with the few arguments that it lacks."""

from __future__ import annotations

from typing import Any


class CupyNamespace:
    """CuPy with the array API's arguments. Nothing but functions is looked up, so threads may share it."""

    def __init__(self, cupy: Any) -> None:
        """Wrap the module."""
        self._cupy = cupy

    def __getattr__(self, name: str) -> Any:
        """Return what CuPy has under that name."""
        return getattr(self._cupy, name)

    def argsort(self, x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
        """Sort; CuPy's sort is stable. Descending orders are asked for by nobody here."""
        assert not descending
        return self._cupy.argsort(x, axis=axis)

    def asarray(self, obj: Any, /, *, dtype: Any = None, copy: bool | None = None) -> Any:
        """Return an array, a fresh one if `copy` says so."""
        if copy:
            return self._cupy.array(obj, dtype=dtype, copy=True)
        return self._cupy.asarray(obj, dtype=dtype)
