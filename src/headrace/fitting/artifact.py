"""Saved pipelines: settings and learned values as data, JSON beside an Arrow file for what is long."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headrace.errors import CorruptSourceError, MissingSourceError, OptionError, SourceError
from headrace.fitting.values import Arrays, decode, encode, encode_dtype, read_dtype
from headrace.prepare.step import PrepareStep
from headrace.prepare.steps.table import STEPS
from headrace.replacing import replacing
from headrace.tables import read_arrays, write_arrays

if TYPE_CHECKING:
    import polars as pl

_FORMAT = "headrace-pipeline"
_VERSION = 1
Functions = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a pipeline's file holds.

    Attributes:
        steps: The steps, fitted or not.
        dtype: Of floats that steps make.
        schema: Names and types that the first step was fitted to; None before a fit.
        provenance: Where it comes from: the training data's fingerprint and sizes, versions, the time.
    """

    steps: tuple[PrepareStep, ...]
    dtype: str
    schema: pl.Schema | None
    provenance: dict[str, Any]


def save(path: Path, artifact: Artifact) -> None:
    """Write a pipeline to `path`, and long arrays beside it under the same name and `.arrow`.

    Raises:
        OptionError: A setting cannot be written as data, or the name is one of arrays.
        SourceError: The file cannot be written.
    """
    arrays = Arrays()
    schema = artifact.schema
    content: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        "dtype": artifact.dtype,
        "schema": None if schema is None else [[name, encode_dtype(it)] for name, it in schema.items()],
        "steps": [_write_step(step, arrays) for step in artifact.steps],
    }
    if path.suffix == ".arrow":
        raise OptionError(f"{path}: arrays are written to names with `.arrow`; name the pipeline otherwise")
    beside = path.with_name(f"{path.name}.arrow")
    try:
        if arrays:
            write_arrays(beside, {}, arrays)
            content["arrays"] = {"file": beside.name, "blake2b": _digest(beside)}
        content["provenance"] = artifact.provenance
        with replacing(path) as file:
            file.write((json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise SourceError(f"{path}: the pipeline cannot be written: {error}") from error


def load(path: Path, functions: Functions) -> Artifact:
    """Read a pipeline.

    Args:
        path: What `save` wrote.
        functions: The user's functions by name, for steps that call one.

    Raises:
        MissingSourceError: There is no such file.
        CorruptSourceError: The file is no pipeline, or its arrays are not those that belong to it.
        OptionError: A function is missing, or is not the one that the pipeline was fitted with.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError("it is no pipeline")
        if content["version"] != _VERSION:
            raise ValueError(
                f"it is of version {content['version']}, and this headrace reads version {_VERSION}"
            )
        arrays = _read_beside(path, content.get("arrays"))
        steps = tuple(_read_step(one, arrays, functions) for one in content["steps"])
        named = content["schema"]
        schema = None if named is None else {name: read_dtype(dtype) for name, dtype in named}
        return Artifact(steps, content["dtype"], _schema(schema), content["provenance"])
    except FileNotFoundError as error:
        raise MissingSourceError(
            f"{error.filename}: a saved pipeline is needed, but there is no such file"
        ) from error
    except OSError as error:
        raise (
            error if isinstance(error, SourceError) else SourceError(f"{path}: cannot be read: {error}")
        ) from error
    except OptionError:
        raise
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
        re.error,
        pa.ArrowException,
    ) as error:
        raise CorruptSourceError(
            f"{path}: a saved pipeline is needed, but it cannot be read: {error}"
        ) from error


def _write_step(step: PrepareStep, arrays: Arrays) -> dict[str, Any]:
    names = [field.name for field in fields(step) if field.name != "learned"]
    settings = {name: getattr(step, name) for name in names}
    written = step.saved_settings(settings)
    return {
        "step": type(step).__name__,
        "settings": {name: encode(value, arrays) for name, value in written.items()},
        "learned": {name: encode(value, arrays) for name, value in step.learned.items()},
    }


def _read_step(
    content: Mapping[str, Any], arrays: Mapping[str, pa.Array], functions: Functions
) -> PrepareStep:
    name = content["step"]
    if name not in STEPS:
        raise ValueError(f"there is no step `{name}`")
    kind: type[PrepareStep] = getattr(import_module(f"headrace.prepare.steps.{STEPS[name]}"), name)
    settings = {key: decode(value, arrays) for key, value in content["settings"].items()}
    step = kind.from_settings(settings, functions)
    return step.with_learned({key: decode(value, arrays) for key, value in content["learned"].items()})


def _read_beside(path: Path, named: Mapping[str, str] | None) -> dict[str, pa.Array]:
    if named is None:
        return {}
    beside = path.with_name(Path(named["file"]).name)
    if _digest(beside) != named["blake2b"]:
        raise CorruptSourceError(f"{beside}: its contents are not those that {path.name} was saved with")
    return read_arrays(beside)[1]


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _schema(columns: Mapping[str, Any] | None) -> pl.Schema | None:
    import polars as pl

    return None if columns is None else pl.Schema(columns)
