"""Compiled functions that are made for a kind of elements, and that other processes find on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher

from headrace import copying, draws


def compiled(signature: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function that is defined within another one, and may call compiled functions from there.

    Numba's own `cache=True` finds a function again by the pickled values around it. A compiled function among
    those is pickled with an identity of its process, so that every process would compile anew. Here such
    functions count by what they are.

    Args:
        signature: Types of arguments and result.
    """

    def compile_function(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher: Any = njit(nogil=True, boundscheck=False)(function)
        dispatcher._cache = _KernelCache(function)
        dispatcher.compile(signature)
        dispatcher.disable_compile()
        return dispatcher

    return compile_function


class _KernelCache(FunctionCache):
    """Compiled code on disk, found by signature, processor, code and the values around the function."""

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        about = repr((_describe(self._py_func), sources())).encode()
        return sig, codegen.magic_tuple(), hashlib.sha256(about).hexdigest()


@cache
def sources() -> str:
    """Digest of all files that compiled functions take others from.

    Numba looks at the file of the function itself alone, and would go on with the old code of those that it
    calls from another file.
    """
    digest = hashlib.sha256()
    folders = Path(__file__).parent, Path(draws.__file__).parent
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    for file in [*files, Path(copying.__file__)]:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _describe(function: Any) -> tuple[Any, ...]:
    code, cells = function.__code__, function.__closure__ or ()
    around = [_describe_value(cell.cell_contents) for cell in cells]
    return function.__module__, function.__qualname__, code.co_code, code.co_names, around


def _describe_value(value: Any) -> Any:
    if isinstance(value, Dispatcher):
        return _describe(value.py_func), [str(each) for each in value.signatures], value.targetoptions
    return repr(value)
