"""The types of a job's settings: what a TOML value must be, and what it becomes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import AfterValidator, BeforeValidator, Field, Strict, ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from headrace.errors import OptionError
from headrace.jobs.named import parse_sql
from headrace.jobs.paths import resolve
from headrace.jobs.positions import Path
from headrace.sources.budget import parse_bytes

T = TypeVar("T")


def wrong(text: str) -> PydanticCustomError:
    """Word what is wrong with a value; the message names neither its place nor the value."""
    return PydanticCustomError("job", "{text}", {"text": text})


def refuse(title: str, complaints: list[tuple[Path, str]]) -> None:
    """Raise what is wrong below a section, each with the path from there."""
    if complaints:
        details = [InitErrorDetails(type=wrong(text), loc=path, input=None) for path, text in complaints]
        raise ValidationError.from_exception_data(title, details)


def _several(value: object) -> object:
    if isinstance(value, list):
        return tuple(cast("list[object]", value))
    return (value,) if isinstance(value, (str, dict)) else value


def _resolve(path: str, info: ValidationInfo) -> str:
    """Take a path from the job file's folder."""
    return resolve(path, (info.context or {}).get("folder", ""))


def _sql(text: str) -> str:
    try:
        parse_sql(text)
    except ValueError as error:
        raise wrong(str(error)) from error
    return text


def _size(size: object) -> object:
    try:
        parse_bytes(cast("Any", size))
    except OptionError as error:
        raise wrong(f'must be a size like "2GB", got {size!r}') from error
    return size


def _read_keys(value: object) -> object:
    """Read a name, a list of names, or a table of left to right names."""
    if isinstance(value, dict):
        pairs = list(cast("dict[object, object]", value).items())
    else:
        names = _several(value)
        pairs = [(name, name) for name in names] if isinstance(names, tuple) else []
    if not pairs or not all(isinstance(name, str) for pair in pairs for name in pair):
        raise wrong(f"must name a column, several, or a table of names to names, got {value!r}")
    return dict(pairs)


def _read_shuffle(value: object) -> object:
    if (value in (True, False, "global") and not isinstance(value, (int, float))) or isinstance(value, bool):
        return value
    if isinstance(value, dict):
        lanes_and_window = cast("dict[str, object]", value)
        whole = all(type(number) is int and number > 0 for number in lanes_and_window.values())
        if whole and set(lanes_and_window) <= {"lanes", "window"}:
            return lanes_and_window
    raise wrong(f'must be true, false, "global" or a table of `lanes` and `window`, got {value!r}')


def _read_gap(value: object) -> object:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    raise wrong(f'must be a number or a text like "7d", got {value!r}')


def _check_part(name: str) -> str:
    if not name or name[0] in "._" or "/" in name or "\0" in name:
        raise wrong(f'must be a folder\'s name, without "/" and not beginning with "." or "_", got {name!r}')
    return name


def _read_guard(value: object) -> object:
    if value is False or value is None:
        return None
    if isinstance(value, (int, float)) and value is not True and 0 < value <= 1:
        return value
    raise wrong(f"must be a share above 0 and at most 1, or false, got {value!r}")


def _read_content(value: object) -> object:
    names = _several(value)
    if isinstance(value, bool) or (
        isinstance(names, tuple) and names and all(isinstance(it, str) for it in names)
    ):
        return names
    raise wrong(f"must be true, false or names of columns, got {value!r}")


Text = Annotated[str, Field(min_length=1)]
PartName = Annotated[str, AfterValidator(_check_part)]
Names = Annotated[tuple[Text, ...], Strict(False), BeforeValidator(_several)]
FilePath = Annotated[Text, AfterValidator(_resolve)]
FilePaths = Annotated[tuple[FilePath, ...], Strict(False), BeforeValidator(_several), Field(min_length=1)]
Sql = Annotated[str, AfterValidator(_sql)]
Several = Annotated[tuple[T, ...], Strict(False), BeforeValidator(_several)]
Whole = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Size = Annotated[Any, AfterValidator(_size)]
Table = dict[str, Any]
SourceFormat = Literal["parquet", "hdf5", "lmdb", "arrow", "tfrecord", "idx", "csv", "jsonlines"]
WrittenFormat = Literal["parquet", "hdf5", "lmdb", "arrow", "tfrecord"]
Keys = Annotated[dict[str, str], BeforeValidator(_read_keys)]
Shuffle = Annotated[Any, AfterValidator(_read_shuffle)]
Gap = Annotated[Any, AfterValidator(_read_gap)]
Guard = Annotated[Any, AfterValidator(_read_guard)]
Content = Annotated[Any, AfterValidator(_read_content)]
