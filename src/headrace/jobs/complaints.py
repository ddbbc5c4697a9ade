"""What pydantic found wrong with a job, worded as everything else that is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headrace.jobs.model import JobFile
from headrace.jobs.named import suggest
from headrace.jobs.positions import Places

_MOST_SHOWN = 80  # characters of a value

# By pydantic's name of what is wrong; its own message stands for all others.
_NEEDED = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}


def describe(error: ValidationError, places: Places) -> str:
    """Say in a line for each what is wrong where, in the order of the file."""
    found = sorted(error.errors(include_url=False), key=lambda one: places.line(_path(one)))
    return ";\n".join(f"{places.of(_path(one))}: {_word(one)}" for one in found)


def _path(one: ErrorDetails) -> tuple[int | str, ...]:
    """Leave out pydantic's mark for a key that is wrong itself."""
    return one["loc"][:-1] if one["loc"][-1:] == ("[key]",) else one["loc"]


def _word(one: ErrorDetails) -> str:
    kind, path = one["type"], _path(one)
    if kind == "job":
        return one["msg"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return f"there is no such setting; {suggest(str(path[-1]), _known(path[:-1]))}"
    shown = repr(one["input"])
    shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."
    needed = _NEEDED.get(kind, "{message}").format_map({"message": one["msg"], **one.get("ctx", {})})
    return f"{needed.replace('Input should', 'must')}, got {shown}"


def _known(path: tuple[int | str, ...]) -> list[str]:
    """Name the settings of a section."""
    model: type[BaseModel] = JobFile
    for key in path:
        if isinstance(key, str) and key in model.model_fields:
            model = next(_models(model.model_fields[key].annotation), model)
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the sections that an annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
