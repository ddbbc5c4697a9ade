"""CSV files, and those with other delimiters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.errors import OptionError, check_whole
from headrace.sources.files import ShardFile
from headrace.sources.text import TextSource
from headrace.sources.text_scan import Places, Sample, count_lines
from headrace.sources.text_types import is_plain, to_types

_NO_QUOTE = -1
_MOST_BROKEN = 16  # records that are left out when types are told
_SHOWN = 200  # characters of a parser's message, which may show a whole field
_BOM = b"\xef\xbb\xbf"
_WHERE = re.compile(r"^(CSV parse error: |In CSV column #\d+: )?(Row #\d+: )?(CSV )?")


@dataclass(frozen=True, slots=True)
class CsvOptions:
    r"""How CSV files are read. They must be UTF-8.

    An empty field without quotes is null, one with quotes is an empty text. The types are told by
    the first MiB of every file, all files together: whole numbers (int64, uint64), floats, booleans,
    else text, also where all fields are empty. A later field that does not fit is an error.

    Attributes:
        delimiter: What parts fields; by default a tab in files that end in `.tsv`, else a comma.
        quote: What surrounds fields that hold delimiters, quotes (written twice) or newlines; None
            for none.
        has_header: Whether the first record names the columns.
        columns: Names of all columns, in place of the header's; needed where there is none.
        null_values: Further texts that stand for null, where they are not quoted.
        types: Column to type, of Arrow, Polars or NumPy, such as `pa.int8()` or `"float32"`.
        skip_rows: How many lines to leave out at a file's beginning.
        comment: What lines to be left out begin with.
        require_final_newline: Whether a file that does not end with a newline is refused, as its
            last record may be cut off.

    Example:
        >>> CsvOptions(delimiter=";", types={"id": "uint32"}).null_values
        ()
    """

    delimiter: str | None = None
    quote: str | None = '"'
    has_header: bool = True
    columns: Sequence[str] | None = None
    null_values: Sequence[str] = ()
    types: Mapping[str, Any] = field(default_factory=dict[str, Any])
    skip_rows: int = 0
    comment: str | None = None
    require_final_newline: bool = True

    def __post_init__(self) -> None:
        for name, value in (("delimiter", self.delimiter), ("quote", self.quote)):
            if value is not None and (len(value.encode()) != 1 or value in "\r\n"):
                raise OptionError(f"`{name}` must be one ASCII character, got {value!r}")
        if self.quote is not None and self.quote == self.delimiter:
            raise OptionError(f"`delimiter` and `quote` must differ, got {self.quote!r} for both")
        if self.comment is not None and (not self.comment or set(self.comment) & {"\r", "\n"}):
            raise OptionError(f"`comment` must be a text within one line, got {self.comment!r}")
        check_whole("skip_rows", self.skip_rows, least=0)
        for name, value in (("columns", self.columns), ("null_values", self.null_values)):
            if isinstance(value, str):
                raise OptionError(f"`{name}` must be a list of texts, got {value!r}")
        if not self.has_header and self.columns is None:
            raise OptionError("without a header, `columns` must name the columns")
        if self.columns is not None:
            _check_names(self.columns)
        for name, kind in to_types(self.types).items():
            others = pa.types.is_time(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
            if not is_plain(kind) and not others:
                raise OptionError(f"CSV cannot hold {kind}, which `types` gives to column `{name}`")


class CsvSource:
    """Opens CSV files."""

    @staticmethod
    def open(files: Iterable[ShardFile], options: CsvOptions, memory_limit: int) -> TextSource:
        """Scan all files for where their records lie."""
        shards = tuple(files)
        delimiters = {"\t" if file.path.lower().endswith(".tsv") else "," for file in shards}
        if options.delimiter is None and len(delimiters) > 1:
            raise OptionError("some files end in `.tsv` and others do not, so `delimiter` must be given")
        grammar = CsvGrammar(options, options.delimiter or delimiters.pop(), to_types(options.types))
        settings = (
            (grammar.delimiter, options.quote, options.has_header, options.skip_rows, options.comment),
            None if options.columns is None else list(options.columns),
            list(options.null_values),
            sorted((name, str(kind)) for name, kind in grammar.types.items()),
        )
        return TextSource.scan(shards, grammar, settings, memory_limit)


@dataclass(frozen=True)
class CsvGrammar:
    """What is special to CSV.

    Attributes:
        settings: How to read it.
        delimiter: What parts fields.
        types: Types that the user gave.
    """

    settings: CsvOptions
    delimiter: str
    types: dict[str, pa.DataType]
    title: str = "CSV"
    options: str = "CsvOptions"
    reads_all: bool = False

    @property
    def is_final_newline_needed(self) -> bool:
        """Whether a file without one is refused."""
        return self.settings.require_final_newline

    def find(self, data: NDArray[np.uint8], columns: int, found: Places) -> tuple[int, int]:
        """Find records; with a single column, an empty line is a null."""
        from headrace.sources.text_kernels import find_csv

        quote = _NO_QUOTE if self.settings.quote is None else ord(self.settings.quote)
        comment = np.frombuffer((self.settings.comment or "").encode(), np.uint8)
        return find_csv(data, ord(self.delimiter), quote, comment, columns == 1, found)

    def header(self, data: bytes) -> tuple[tuple[str, ...], int]:
        """Read the names, below the lines to leave out."""
        begin = 0
        for _ in range(self.settings.skip_rows):
            begin = data.find(b"\n", begin) + 1
            if not begin:
                raise EOFError
        given = None if self.settings.columns is None else tuple(self.settings.columns)
        if not self.settings.has_header:
            assert given is not None  # the options see to it
            return given, begin
        found = np.empty((1, 2), np.int64)
        count, _ = self.find(np.frombuffer(data, np.uint8)[begin:], 2, found)
        if not count:
            raise EOFError
        record = data[begin + found[0, 0] : begin + found[0, 1]]
        if b"\0" in record:
            raise ValueError("the header holds zero bytes, so this is no CSV file")
        width = self._read(record, None, {}).num_columns
        texts = {f"f{place}": pa.string() for place in range(width)}
        names = tuple(column[0].as_py() or "" for column in self._read(record, None, texts).columns)
        if given is not None and len(given) != len(names):
            raise ValueError(f"`columns` must name {len(names)} columns, got {list(given)}")
        _check_names(given or names)
        return given or names, begin + int(found[0, 1])

    def infer(self, samples: Sequence[Sample]) -> dict[str, pa.DataType]:
        """Tell types by the first records of all files."""
        found: dict[str, set[pa.DataType]] = {}
        for sample in samples:
            for name in sample.names:
                found.setdefault(name, set())
            unknown = [name for name in sample.names if name not in self.types]
            if sample.data and unknown:
                for name, kind in self._infer(sample, unknown).items():
                    found[name].add(kind)
        return {name: self.types.get(name) or _common(kinds) for name, kinds in found.items()}

    def _infer(self, sample: Sample, columns: Sequence[str]) -> dict[str, pa.DataType]:
        data = self._without_broken(sample)
        if not data:
            return {}
        table = self._read(data, sample.names, {}, columns)
        kinds = {name: table.column(name).type for name in columns}
        floats = [name for name, kind in kinds.items() if pa.types.is_float64(kind)]
        texts = (
            self._read(data, sample.names, dict.fromkeys(floats, pa.string()), floats) if floats else table
        )
        known = (pa.int64(), pa.bool_(), pa.null())
        told = {name: kind if kind in known else pa.string() for name, kind in kinds.items()}
        return told | {name: _float_or_whole(texts.column(name)) for name in floats}

    def _without_broken(self, sample: Sample) -> bytes:
        """Leave out records with too few or too many fields; reading says which they are."""
        data, binary = sample.data, dict.fromkeys(sample.names, pa.binary())
        for _ in range(_MOST_BROKEN):
            try:
                self._read(data, sample.names, binary)
                return data
            except pa.ArrowException as error:
                row = re.search(r"Row #(\d+)", str(error))
                found = self._records(data, len(sample.names))
                if row is None or not 0 < int(row[1]) <= len(found):
                    break
                begin, end = found[int(row[1]) - 1]
                data = data[:begin] + data[end:]
        return b""

    def parse(self, data: bytes, names: tuple[str, ...], wanted: pa.Schema) -> pa.Table:
        """Parse records."""
        halves = {f.name for f in wanted if pa.types.is_float16(f.type)}
        types = {f.name: pa.float32() if f.name in halves else f.type for f in wanted}
        table = self._read(data, names, types, wanted.names)
        return table.cast(wanted) if halves else table

    def explain(self, record: bytes, names: tuple[str, ...], wanted: pa.Schema) -> str:
        """Say why one record cannot be parsed."""
        try:
            self._read(record, names, dict.fromkeys(names, pa.binary()), names)
        except pa.ArrowException as error:
            counts = re.search(r"Expected (\d+) columns, got (\d+)", str(error))
            if counts:
                return f": every record must have {counts[1]} fields, got {counts[2]}"
            return f": {_shortened(error)}"
        for column in wanted:
            try:
                self.parse(record, names, pa.schema([column]))
            except Exception as error:
                hint = f'; pass `CsvOptions(types={{"{column.name}": ...}})` to read it as another type'
                more = "" if column.name in self.types or "UTF8" in str(error) else hint
                return f", column `{column.name}`: {_shortened(error)}{more}"
        return ": cannot be parsed"

    def _read(
        self,
        data: bytes,
        names: tuple[str, ...] | None,
        types: dict[str, pa.DataType],
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        from pyarrow import csv

        if data.startswith(_BOM):  # which is taken off once, though only a file's first is no text
            data = _BOM + data
        if self.settings.comment is not None:
            data = self._without_comments(data, 0 if names is None else len(names))
        return csv.read_csv(
            pa.BufferReader(data),
            csv.ReadOptions(
                use_threads=False,
                block_size=len(data) + 1,
                column_names=names,
                autogenerate_column_names=names is None,
            ),
            csv.ParseOptions(
                delimiter=self.delimiter,
                quote_char=self.settings.quote or False,
                newlines_in_values=True,
                ignore_empty_lines=names is None or len(names) > 1,
            ),
            csv.ConvertOptions(
                column_types=types,
                null_values=["", *self.settings.null_values],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                include_columns=columns,
            ),
        )

    def _without_comments(self, data: bytes, columns: int) -> bytes:
        return b"".join(data[begin:end] for begin, end in self._records(data, columns))

    def _records(self, data: bytes, columns: int) -> list[tuple[int, int]]:
        closed = np.frombuffer(data + b"\n", np.uint8)  # also where the file's last newline is missing
        found = np.empty((count_lines(data) + data.count(b"\r") + 2, 2), np.int64)
        count, _ = self.find(closed, columns, found)
        return [(begin, min(end, len(data))) for begin, end in found[:count].tolist() if begin < len(data)]


def _float_or_whole(texts: pa.ChunkedArray) -> pa.DataType:
    """Keep whole numbers whole that int64 cannot hold, which a float would round."""
    whole = pc.call_function("match_substring_regex", [texts], pc.MatchSubstringOptions(r"^\s*[+-]?\d+\s*$"))
    if not pc.call_function("all", [whole]).as_py():
        return pa.float64()
    try:
        texts.cast(pa.uint64())
    except pa.ArrowException:
        return pa.string()
    return pa.uint64()


def _common(kinds: set[pa.DataType]) -> pa.DataType:
    """Find a type for what several files hold in a column."""
    known = kinds - {pa.null()}
    if len(known) == 1:
        return known.pop()
    if known == {pa.int64(), pa.uint64()}:
        return pa.uint64()
    is_number = known and all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in known)
    return pa.float64() if is_number else pa.string()


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise OptionError("at least one column must be named, got none")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise OptionError(
            f"column names must be unique, got {twice} more than once; pass `columns` to rename"
        )
    if "" in names:
        raise OptionError(
            f"column {list(names).index('') + 1} has no name, got {list(names)}; pass `columns` to name all"
        )


def _shortened(error: Exception) -> str:
    text = _WHERE.sub("", str(error))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
