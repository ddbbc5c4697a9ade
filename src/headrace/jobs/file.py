"""Reading a job file: TOML, what the command line says over it, and errors that name the line."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from headrace.errors import MissingDependencyError, MissingSourceError, OptionError, SourceError
from headrace.jobs.paths import resolve
from headrace.jobs.positions import Path as Keys
from headrace.jobs.positions import Places, dotted, find_lines

if TYPE_CHECKING:
    from headrace.jobs.model import JobFile

_PATHS = ("path", "artifact", "cache")  # the settings that hold paths
_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def read_job(path: str | Path, overrides: Sequence[str] = ()) -> JobFile:
    """Read and check a job file.

    Args:
        path: A TOML file.
        overrides: Settings that take the place of the file's, like `write.path=out2`; the value is TOML, or
            else text. Members of lists are counted from 0: `prepare.0.columns=["age"]`. Paths are taken from
            the working directory, those of the file from the file's folder.

    Raises:
        OptionError: The file is no TOML, or says what no job can; the message names each line.
        MissingSourceError: There is no such file.
        SourceError: It cannot be read.
        MissingDependencyError: pydantic is not installed.
    """
    try:
        import pydantic
    except ImportError as error:
        raise MissingDependencyError.from_extra("pydantic", "jobs", "a job file") from error
    from headrace.jobs.complaints import describe
    from headrace.jobs.model import JobFile

    text = _read(Path(path))
    document = _parse(str(path), text)
    given: dict[Keys, str] = {}
    for override in overrides:
        _set(document, override, given)
    places = Places(str(path), find_lines(text), given)
    folder = str(Path(path).absolute().parent)
    try:
        return JobFile.model_validate(document, context={"folder": folder}).with_places(places)
    except pydantic.ValidationError as error:
        raise OptionError(describe(error, places)) from error


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode().replace("\r\n", "\n")
    except FileNotFoundError as error:
        raise MissingSourceError(f"{path}: a job file is needed, but there is no such file") from error
    except OSError as error:
        raise SourceError(f"{path}: the job file cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{path}: a job file must be UTF-8: {error}") from error


def _parse(path: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        line = found[1] if found and found[1] else text.rstrip().count("\n") + 1
        raise OptionError(f"{path}:{line}: this is no TOML: {_AT_LINE.sub('', str(error))}") from error
    except RecursionError as error:
        raise OptionError(f"{path}: lists and tables are nested too deeply") from error


def _set(document: dict[str, Any], override: str, given: dict[Keys, str]) -> None:
    """Set what an override says, and note its path."""
    name, sign, value = override.partition("=")
    keys = [int(key) if key.isdecimal() else key for key in name.strip().split(".")]
    if not sign or "" in keys:
        raise OptionError(f"--set {override}: must be of the form `section.key=value`")
    inner: Any = document
    for depth, key in enumerate(keys):
        place = _check_key(inner, key, override, dotted(tuple(keys[:depth])))
        if depth + 1 == len(keys):
            inner[place] = _from_here(_value(value)) if key in _PATHS else _value(value)
        elif isinstance(inner, dict):
            inner = cast("dict[str, Any]", inner).setdefault(place, {})
        else:
            inner = inner[place]
    given[tuple(keys)] = override


def _from_here(value: Any) -> Any:
    """Take paths from where the command is run, as a shell completes them."""
    if isinstance(value, list):
        return [_from_here(path) for path in cast("list[Any]", value)]
    return resolve(value, os.getcwd()) if isinstance(value, str) else value


def _check_key(inner: Any, key: str | int, override: str, within: str) -> Any:
    """Return the key by which a member of a table or a list is found."""
    if isinstance(inner, dict):
        return str(key)
    if not isinstance(inner, list):
        raise OptionError(f"--set {override}: `{within}` is no table")
    count = len(cast("list[object]", inner))
    if not isinstance(key, int) or key >= count:
        raise OptionError(f"--set {override}: `{within}` has {count} members, which are counted from 0")
    return key


def _value(text: str) -> Any:
    """Read a TOML value, or else take the text as it is."""
    try:
        found: Mapping[str, Any] = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return found["value"] if len(found) == 1 else text
