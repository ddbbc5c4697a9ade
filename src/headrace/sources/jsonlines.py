"""JSON Lines: one JSON object on each line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError, OptionError, SchemaError
from headrace.sources.files import ShardFile
from headrace.sources.text import TextSource
from headrace.sources.text_scan import Places, Sample
from headrace.sources.text_types import is_plain, to_types

_DEEPEST = 64  # objects and lists within each other
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class JsonLinesOptions:
    """How JSON Lines files are read.

    A field that a line lacks is null. The fields and their types are told by the first MiB of every
    file, all files together: whole numbers, floats, booleans, text, lists and structs. A later
    value that does not fit is an error.

    Attributes:
        types: Field to type, of Arrow, Polars or NumPy. `pa.fixed_shape_tensor(...)` reads nested
            lists as N-d arrays.
        unknown: What a field is that neither `types` nor the first lines have: an `"error"`, or
            left out by `"ignore"`. The latter is quicker where few columns are read.
        require_final_newline: Whether a file that does not end with a newline is refused, as it
            may be cut off.

    Example:
        >>> JsonLinesOptions(types={"id": "uint32"}).unknown
        'error'
    """

    types: Mapping[str, Any] = field(default_factory=dict[str, Any])
    unknown: Literal["error", "ignore"] = "error"
    require_final_newline: bool = True

    def __post_init__(self) -> None:
        if self.unknown not in ("error", "ignore"):
            raise OptionError(f'`unknown` must be "error" or "ignore", got {self.unknown!r}')
        for name, kind in to_types(self.types).items():
            _parsed_as(kind, name)


class JsonLinesSource:
    """Opens JSON Lines files."""

    @staticmethod
    def open(files: Iterable[ShardFile], options: JsonLinesOptions, memory_limit: int) -> TextSource:
        """Scan all files for where their lines lie."""
        grammar = JsonLinesGrammar(options, to_types(options.types))
        kinds = sorted((name, str(kind)) for name, kind in grammar.types.items())
        return TextSource.scan(files, grammar, (kinds, options.unknown), memory_limit)


@dataclass(frozen=True)
class JsonLinesGrammar:
    """What is special to JSON Lines.

    Attributes:
        settings: How to read them.
        types: Types that the user gave.
    """

    settings: JsonLinesOptions
    types: dict[str, pa.DataType]
    title: str = "JSON Lines"
    options: str = "JsonLinesOptions"

    @property
    def is_final_newline_needed(self) -> bool:
        """Whether a file without one is refused."""
        return self.settings.require_final_newline

    @property
    def reads_all(self) -> bool:
        """Whether all fields must be parsed, to see unknown ones."""
        return self.settings.unknown == "error"

    def header(self, data: bytes) -> tuple[tuple[str, ...], int]:
        """There is none."""
        return (), 0

    def find(self, data: NDArray[np.uint8], columns: int, found: Places) -> tuple[int, int]:
        """Find lines; a newline within a text is always escaped."""
        from headrace.sources.text_kernels import find_lines

        return find_lines(data, found)

    def infer(self, samples: Sequence[Sample]) -> dict[str, pa.DataType]:
        """Tell types by the first lines of all files."""
        seen = _Seen()
        for sample in samples:
            for line in sample.data.split(b"\n"):
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):  # reading says which line cannot be parsed
                    continue
                if isinstance(value, dict):
                    seen.add(cast("Any", value), 0)
            if sample.data and not seen.fields and not self.types:
                lines = [line for line in sample.data.split(b"\n") if line.strip()]
                raise CorruptSourceError(
                    f"{sample.path}: none of the first {len(lines):,} lines holds an object with fields; "
                    f"line {sample.line}{self.explain(lines[0], (), pa.schema([]))}"
                )
        kinds: dict[str, pa.DataType] = {}
        for name, part in seen.fields.items():
            try:
                kinds[name] = self.types.get(name) or part.kind()
            except SchemaError as error:
                files = ", ".join(sample.path for sample in samples[:3])
                raise SchemaError(
                    f'field `{name}` of {files}: {error}; pass `JsonLinesOptions(types={{"{name}": ...}})`'
                ) from error
        return kinds | {name: kind for name, kind in self.types.items() if name not in kinds}

    def parse(self, data: bytes, names: tuple[str, ...], wanted: pa.Schema) -> pa.Table:
        """Parse lines."""
        from pyarrow import json as arrow_json

        given = pa.schema([(f.name, _parsed_as(f.type, f.name)) for f in wanted])
        table = arrow_json.read_json(
            pa.BufferReader(data),
            arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            arrow_json.ParseOptions(
                explicit_schema=given, unexpected_field_behavior="error" if self.reads_all else "ignore"
            ),
        )
        table.validate(full=True)  # the parser lets text pass that is no UTF-8
        columns = {f.name: _converted(table.column(f.name), f.type) for f in wanted}
        return pa.table(columns) if columns else table.select([])

    def explain(self, record: bytes, names: tuple[str, ...], wanted: pa.Schema) -> str:
        """Say why one line cannot be parsed."""
        try:
            value = json.loads(record)
        except (ValueError, RecursionError) as error:
            return f": is no JSON: {_shortened(error)}"
        if not isinstance(value, dict):
            return f": an object must stand on each line, got {_shortened(value)}"
        members: dict[str, Any] = cast("Any", value)
        if not members:
            return ": an object without fields"
        unknown = _find_unknown(members, {f.name: f.type for f in wanted}, "") if self.reads_all else ""
        if unknown:
            return (
                f": has the field `{unknown}`, which the first lines lack; give its type by "
                '`JsonLinesOptions(types=...)`, or pass `unknown="ignore"`'
            )
        lenient = JsonLinesGrammar(JsonLinesOptions(unknown="ignore"), {})
        for column in wanted:
            try:
                lenient.parse(record, names, pa.schema([column]))
            except Exception as error:
                shown = _shortened(json.dumps(members.get(column.name)))
                hint = f'; pass `JsonLinesOptions(types={{"{column.name}": ...}})` to read it as another type'
                more = "" if column.name in self.types else hint
                return f", column `{column.name}`: is no {column.type}: {shown} ({_shortened(error)}){more}"
        return ": cannot be parsed"


class _Seen:
    """What values of one field have been seen."""

    def __init__(self) -> None:
        self.scalars: set[pa.DataType] = set()
        self.fields: dict[str, _Seen] = {}
        self.items: _Seen | None = None
        self.has_objects = False
        self.is_too_deep = False

    def add(self, value: Any, depth: int) -> None:
        """Take in one value."""
        if depth > _DEEPEST:
            self.is_too_deep = True
        elif isinstance(value, dict):
            self.has_objects = True
            for name, part in cast("dict[str, Any]", value).items():
                self.fields.setdefault(name, _Seen()).add(part, depth + 1)
        elif isinstance(value, list):
            self.items = self.items or _Seen()
            for part in cast("list[Any]", value):
                self.items.add(part, depth + 1)
        elif value is not None:
            self.scalars.add(_scalar_type(value))

    def kind(self) -> pa.DataType:
        """Tell the type that holds them all; text if there was none."""
        if self.is_too_deep:
            raise SchemaError(f"lists and objects must be at most {_DEEPEST} deep")
        found = [str(kind) for kind in self.scalars]
        found += ["list"] * (self.items is not None) + ["object"] * self.has_objects
        if self.scalars <= {pa.int64(), pa.uint64(), pa.float64()} and len(found) == len(self.scalars) > 1:
            return pa.float64() if pa.float64() in self.scalars else pa.uint64()
        if len(found) > 1:
            raise SchemaError(f"values must be of one type, got {' and '.join(sorted(found))}")
        if self.items is not None:
            return pa.list_(self.items.kind())
        if self.has_objects:
            return pa.struct([(name, part.kind()) for name, part in self.fields.items()])
        return next(iter(self.scalars), pa.string())


def _scalar_type(value: Any) -> pa.DataType:
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        # Beyond both, no type is exact; the parser then names the line.
        return pa.uint64() if value >= 1 << 63 else pa.int64()
    return pa.float64() if isinstance(value, float) else pa.string()


def _parsed_as(kind: pa.DataType, name: str) -> pa.DataType:
    """Return the type that the parser gives, from which the wanted one is made."""
    if isinstance(kind, pa.FixedShapeTensorType):
        nested = kind.value_type
        for _ in kind.shape:
            nested = pa.list_(nested)
        return _parsed_as(nested, name)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_parsed_as(kind.value_type, name))
    if pa.types.is_struct(kind):
        parts = [kind.field(place) for place in range(kind.num_fields)]
        return pa.struct([(part.name, _parsed_as(part.type, name)) for part in parts])
    if not is_plain(kind):
        raise OptionError(f"JSON Lines cannot hold {kind}, which `types` gives to column `{name}`")
    if pa.types.is_float16(kind):
        return pa.float32()
    return pa.string() if pa.types.is_date32(kind) else kind


def _converted(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Make the wanted type of what was parsed."""
    if not isinstance(kind, pa.FixedShapeTensorType):
        return column if column.type == kind else column.cast(kind)
    array = column.combine_chunks()
    valid = array.drop_null()
    values: Any = valid
    for size in kind.shape:
        lengths = values.value_lengths()
        if values.null_count or not bool(np.all(lengths.to_numpy(zero_copy_only=False) == size)):
            raise ValueError(f"every array must be of the shape {list(kind.shape)}")
        values = values.flatten()
    width = int(np.prod(kind.shape, dtype=np.int64))
    storage: Any = pa.FixedSizeListArray.from_arrays(values.cast(kind.value_type), width)
    if array.null_count:
        is_valid = array.is_valid().to_numpy(zero_copy_only=False)
        storage = storage.take(pa.array(np.cumsum(is_valid) - 1, mask=~is_valid))
    return pa.chunked_array([pa.ExtensionArray.from_storage(kind, storage)])


def _find_unknown(value: Any, kinds: Mapping[str, pa.DataType], path: str) -> str:
    """Name a member that no type has a place for, or ""."""
    for name, part in value.items():
        if name not in kinds:
            return path + name
        kind = kinds[name]
        if pa.types.is_struct(kind) and isinstance(part, dict):
            members = {kind.field(place).name: kind.field(place).type for place in range(kind.num_fields)}
            if found := _find_unknown(part, members, f"{path}{name}."):
                return found
    return ""


def _shortened(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
