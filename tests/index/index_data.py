"""Columns of every type that can be a key, cut into row groups, and who else can answer."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st

import headrace as hr
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.sources.memory import MemorySource

some = settings(max_examples=60, deadline=None, derandomize=True)
many = settings(max_examples=200, deadline=None, derandomize=True)

_DATETIMES = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2250, 1, 1))
_WHOLE_SECONDS = _DATETIMES.map(lambda value: value.replace(microsecond=0))
_TEXT = st.sampled_from(
    ["", "a", "ab", "ä", "\U0001f600", "\x00", "a\x00", "z" * 509, "z" * 511, "z" * 600 + "b"]
)


def whole(bits: int, signed: bool) -> st.SearchStrategy[int]:
    """Whole numbers, often at the ends of their range."""
    least, largest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return st.sampled_from([least, least + 1, 0, 1, largest - 1, largest]) | st.integers(least, largest)


def floats(width: int) -> st.SearchStrategy[float]:
    """Floats, often the odd ones."""
    odd = [0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1.5, 5e-324 if width == 64 else 0.5]
    return st.sampled_from(odd) | st.floats(width=width)


KINDS: dict[str, tuple[pl.DataType | type[pl.DataType], st.SearchStrategy[Any]]] = {
    "int8": (pl.Int8, whole(8, signed=True)),
    "int64": (pl.Int64, whole(64, signed=True)),
    "uint64": (pl.UInt64, whole(64, signed=False)),
    "float32": (pl.Float32, floats(32)),
    "float64": (pl.Float64, floats(64)),
    "bool": (pl.Boolean, st.booleans()),
    "date": (pl.Date, st.dates()),
    "time": (pl.Time, st.times()),
    "duration": (pl.Duration("us"), st.timedeltas(datetime.timedelta(-9999), datetime.timedelta(9999))),
    "datetime ms": (pl.Datetime("ms"), _WHOLE_SECONDS),
    "datetime us": (pl.Datetime("us"), _DATETIMES),
    "datetime ns, UTC": (
        pl.Datetime("ns", "UTC"),
        _DATETIMES.map(lambda at: at.replace(tzinfo=datetime.UTC)),
    ),
    "text": (pl.String, _TEXT | st.text(max_size=4)),
    "category": (pl.Categorical, st.sampled_from(["", "low", "high", "ä"])),
    "bytes": (pl.Binary, st.sampled_from([b"", b"\xff", b"\xff\xff", b"a"]) | st.binary(max_size=3)),
}


@dataclass(frozen=True)
class CutSource:
    """Columns in memory, cut into row groups of the sizes wanted, three to a shard."""

    inner: MemorySource
    sizes: tuple[int, ...]

    @property
    def schema(self) -> pa.Schema:
        return self.inner.schema

    @property
    def manifest(self) -> Manifest:
        parts = [self.sizes[first : first + 3] for first in range(0, len(self.sizes), 3)]
        identity = self.inner.manifest.fingerprint
        return Manifest(
            tuple(
                Shard(f"cut-{place}", part, part, f"{identity} {place}") for place, part in enumerate(parts)
            )
        )

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        return self.inner.read(row_group, columns)


def cut(frame: pl.DataFrame, *sizes: int) -> hr.Dataset:
    """A data set of a frame with these row groups; what is left over is the last one."""
    rest = frame.height - sum(sizes)
    assert rest >= 0
    source = hr.from_polars(frame).recipe.source
    assert isinstance(source, MemorySource)
    return hr.Dataset.of(CutSource(source, (*sizes, rest)))


@st.composite
def columns(draw: st.DrawFn, name: str) -> tuple[hr.Dataset, pl.DataFrame, st.SearchStrategy[Any]]:
    """A data set with the column `x` of a kind, the same as a frame, and values to ask for."""
    kind, values = KINDS[name]
    pool = draw(st.lists(values, min_size=1, max_size=6))
    held = draw(st.lists(st.none() | st.sampled_from(pool) | values, max_size=25))
    frame = pl.DataFrame({"x": pl.Series(held, dtype=kind)}).with_row_index("id")
    sizes: list[int] = []
    while sum(sizes) < frame.height and draw(st.booleans()):
        sizes.append(draw(st.integers(0, frame.height - sum(sizes))))
    return cut(frame.select("x"), *sizes), frame, st.sampled_from(pool) | values


def literal(frame: pl.DataFrame, value: Any) -> pl.Expr:
    """A value in the type of the frame's column `x`."""
    kind = frame.schema["x"]
    return pl.lit(pl.Series([value], dtype=pl.String if kind == pl.Categorical else kind)).first()


def asked(frame: pl.DataFrame) -> pl.Expr:
    """The column, as text where it is a category, which sorts by other rules."""
    return pl.col("x").cast(pl.String) if frame.schema["x"] == pl.Categorical else pl.col("x")


def ids_where(frame: pl.DataFrame, condition: pl.Expr) -> list[int]:
    """The ids for which Polars finds a condition true."""
    return frame.filter(condition)["id"].to_list()


def check_answer(got: np.ndarray, expected: Sequence[int]) -> None:
    """An answer is a sorted int64 array."""
    assert got.dtype == np.int64
    assert got.tolist() == list(expected)
