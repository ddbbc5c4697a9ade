"""What a job file names: steps, augmentations and methods, made of a name and parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any, cast, get_type_hints

from headrace.errors import HeadraceError
from headrace.prepare.steps.table import STEPS
from headrace.sources.formats import FORMATS

Parameters = Mapping[str, Any]
Complaint = tuple[str | None, str]
"""The parameter that is wrong, None for the name itself, and what is wrong."""

_MODULE = re.compile(r"\b(?:typing|collections\.abc)\.")
_WRONG = (HeadraceError, TypeError, ValueError, AttributeError, ArithmeticError)

_METHODS = {
    "Exact": "exact.exact",
    "Bloom": "bloom.bloom",
    "MinHash": "text.minhash",
    "SimHash": "text.simhash",
    "ImageHash": "codes.imagehash",
}
UNFITTED = ("DecodeImage", "Tokens")
"""Steps that are part of no pipeline."""

_NO_AUGMENTATIONS = {"Augmentation", "Mixing", "Noise", "Spec", "Lambda", "LambdaDraws", "preview"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What has names and parameters.

    Attributes:
        title: What messages call one of them.
        names: Lists them.
        find: Returns what makes the one of a name.
    """

    title: str
    names: Callable[[], list[str]]
    find: Callable[[str], Callable[..., Any]]

    def check(self, name: str, parameters: Parameters) -> Iterator[Complaint]:
        """Say what is wrong with a name and its parameters."""
        if name not in self.names():
            yield None, f"there is no {self.title} `{name}`; {suggest(name, self.names())}"
            return
        wanted = inspect.signature(self.find(name)).parameters
        is_open = any(it.kind is it.VAR_KEYWORD for it in wanted.values())
        known = [key for key, it in wanted.items() if it.kind is not it.VAR_KEYWORD]
        unknown = [] if is_open else [key for key in parameters if key not in wanted]
        for key in unknown:
            yield key, f"`{name}` has no parameter `{key}`; {suggest(key, known)}"
        missing = [key for key in known if wanted[key].default is inspect.Parameter.empty]
        missing = [key for key in missing if key not in parameters]
        if missing:
            yield None, f"`{name}` needs the parameter `{missing[0]}`"
        if unknown or missing:
            return
        try:
            self.make(name, parameters)
        except _WRONG as error:
            yield None, str(error) if isinstance(error, HeadraceError) else f"`{name}` refuses this: {error}"
            return
        if not is_open:
            yield from _check_types(self.find(name), parameters)

    def make(self, name: str, parameters: Parameters) -> Any:
        """Make the one of a name."""
        return self.find(name)(**{key: _fixed(value) for key, value in parameters.items()})


def _check_types(make: Callable[..., Any], parameters: Parameters) -> Iterator[Complaint]:
    """Hold parameters against their annotations; many would else be looked at when samples are there."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    hints = get_type_hints(make)
    for key, value in parameters.items():
        hint = hints[key]
        try:
            TypeAdapter(hint, config=ConfigDict(strict=True)).validate_python(_fixed(value))
        except ValidationError:
            wanted = hint.__name__ if isinstance(hint, type) else _MODULE.sub("", str(hint))
            yield key, f"must be {wanted}, got {value!r}"


def suggest(name: str, names: list[str]) -> str:
    """Say which name may have been meant, or which there are."""
    near = get_close_matches(name, names, n=1)
    if not near:
        near = [it for it in names if it.lower() == name.lower()]
    return f"did you mean `{near[0]}`?" if near else f"there are {', '.join(f'`{it}`' for it in names)}"


def parse_sql(text: str) -> Any:
    """Read one SQL expression.

    Raises:
        ValueError: It is none; the message says what was not understood.
    """
    import polars as pl

    try:
        return pl.sql_expr(text)
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise ValueError(f"must be an SQL expression, got {text!r}: {error}") from error


def _fixed(value: Any) -> Any:
    """Turn lists into tuples, which is what settings are made of."""
    if isinstance(value, dict):
        return {key: _fixed(one) for key, one in cast("dict[str, object]", value).items()}
    return tuple(map(_fixed, cast("list[object]", value))) if isinstance(value, list) else value


def _step_names() -> list[str]:
    return sorted({*STEPS, *UNFITTED} - {"FunctionStep"})


def _find_step(name: str) -> Callable[..., Any]:
    made: Callable[..., Any] = getattr(
        import_module(f"headrace.prepare.steps.{STEPS.get(name, 'decode')}"), name
    )
    return _expressions if name == "Expression" else made


def _expressions(**expressions: str) -> Any:
    """Make the step `Expression` of SQL by name of the new column."""
    from headrace.prepare.steps.features import Expression

    return Expression([parse_sql(text).alias(name) for name, text in expressions.items()])


def _augmentation_names() -> list[str]:
    from headrace import augment

    return sorted(set(augment.__all__) - _NO_AUGMENTATIONS)


def _find_augmentation(name: str) -> Callable[..., Any]:
    return getattr(import_module("headrace.augment"), name)


def _find_method(name: str) -> Callable[..., Any]:
    return getattr(import_module(f"headrace.dedup.{_METHODS[name]}"), name)


def _find_options(name: str) -> Callable[..., Any]:
    chosen = next(it for it in FORMATS if it.name == name)
    return getattr(import_module(f"headrace.sources.{name}"), chosen.options)


STEP = Kind("step", _step_names, _find_step)
AUGMENTATION = Kind("augmentation", _augmentation_names, _find_augmentation)
METHOD = Kind("method", lambda: list(_METHODS), _find_method)
OPTIONS = Kind("format", lambda: [it.name for it in FORMATS], _find_options)
