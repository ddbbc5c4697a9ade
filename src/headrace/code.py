"""What a function or a class is made of, and whose it is: that of a user, or of a library with a version."""

from __future__ import annotations

import dataclasses
import dis
import enum
import functools
import importlib.util
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

_GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME"}  # the latter within the body of a class


def is_library(module: str) -> bool:
    """Tell whether a module is Python's own or an installed one, which its name and version stand for.

    Example:
        >>> is_library("json"), is_library("numpy.linalg"), is_library("__main__")
        (True, True, False)
    """
    top = module.partition(".")[0]
    if top in {"__main__", "__mp_main__"}:
        return False
    if top in sys.stdlib_module_names or top in sys.builtin_module_names or top == "headrace":
        return True
    try:
        spec = getattr(sys.modules.get(top), "__spec__", None) or importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    places = [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or ())]
    return any({"site-packages", "dist-packages"} & set(Path(place).parts) for place in places)


def version_of(module: str) -> str:
    """Return a library's version, as far as it tells one."""
    return str(getattr(sys.modules.get(module.partition(".")[0]), "__version__", ""))


def is_found_by_name(function: types.FunctionType) -> bool:
    """Tell whether a function is what its module has under its name, rather than made by a call."""
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


def codes_of(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a code object and all that are nested in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_of(constant)


def global_names(code: types.CodeType) -> set[str]:
    """The names that code looks up in its module."""
    steps = [step for each in codes_of(code) for step in dis.get_instructions(each)]
    return {str(step.argval) for step in steps if step.opname in _GLOBALS} - {"__name__"}


def attributes_of(module: types.ModuleType, code: types.CodeType) -> dict[str, Any]:
    """What a module has under any name in the code."""
    held, names = vars(module), {name for each in codes_of(code) for name in each.co_names}
    return {name: held[name] for name in sorted(names) if name in held}


def imports_of(function: types.FunctionType) -> list[types.ModuleType]:
    """The users' modules that a function imports when it is called; they are imported now."""
    found: list[types.ModuleType] = []
    package = function.__globals__.get("__package__") or ""
    for code in codes_of(function.__code__):
        steps = list(dis.get_instructions(code))
        for place, step in enumerate(steps):
            if step.opname != "IMPORT_NAME":
                continue
            level, names = steps[place - 2].argval, steps[place - 1].argval or ()
            try:
                name = importlib.util.resolve_name("." * level + step.argval, package)
            except ImportError:
                continue
            wanted = [name.partition(".")[0], name, *(f"{name}.{each}" for each in names)]
            found += [] if is_library(name) else [each for each in map(_imported, wanted) if each is not None]
    return found


def _imported(name: str) -> types.ModuleType | None:
    try:
        return import_module(name)
    except ImportError:  # a name within a module, or what the function does without
        return None


def members_of(kind: type) -> Iterator[tuple[str, Any, bool]]:
    """Yield what a user's class says itself: name, function or value, and whether only its code counts.

    Values that Python keeps for itself are left out. Of methods that `dataclass` or a library wrote, nothing
    counts but the code.
    """
    if issubclass(kind, enum.Enum):
        values = cast("Mapping[str, enum.Enum]", kind.__members__)
        yield from ((name, member.value, False) for name, member in values.items())
    for name, member in sorted(vars(kind).items()):
        for part in _parts(member):
            if isinstance(part, types.FunctionType):
                yield name, part, _is_generated(kind, name, part)
            elif not (name.startswith(("__", "_abc_")) or _is_slot(part) or _is_enum(kind, name)):
                yield name, part, False


def _parts(member: object) -> tuple[Any, ...]:
    if isinstance(member, property):
        return tuple(part for part in (member.fget, member.fset, member.fdel) if part is not None)
    if isinstance(member, functools.cached_property):
        return (cast("Any", member).func,)
    return (getattr(member, "__func__", member),)  # of a static or class method


def _is_slot(member: object) -> bool:
    """Whether a member only tells where an instance keeps a value, as of `__slots__` and named tuples."""
    return type(member).__module__ in {"builtins", "_collections"} and inspect.isdatadescriptor(member)


def _is_enum(kind: type, name: str) -> bool:
    return issubclass(kind, enum.Enum) and (name.startswith("_") or name in kind.__members__)


def _is_generated(kind: type, name: str, method: types.FunctionType) -> bool:
    module = method.__globals__.get("__name__", "")
    is_written = method.__code__.co_filename == "<string>" or module != kind.__module__
    of_dataclass = dataclasses.is_dataclass(kind) and name.startswith("__") and is_written
    return (
        of_dataclass or module.startswith("namedtuple_") or (issubclass(kind, tuple) and is_library(module))
    )
