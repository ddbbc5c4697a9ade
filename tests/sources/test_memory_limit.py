"""`memory_limit` bounds what decoding one row group may take, whatever the file says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_files import write

import headrace as hr

BIG = "x" * (1 << 18)
ROWS = 400  # of one big text each: 100 MiB
BOMBS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dictionary": ([BIG] * ROWS, {}),
    "dictionary in a struct": ([{"t": BIG}] * ROWS, {}),
    "dictionary in a list": ([[BIG]] * ROWS, {}),
    "dictionary in a map": (pa.array([[("k", BIG)]] * ROWS, pa.map_(pa.string(), pa.string())), {}),
    "differences": (
        [BIG] * ROWS,
        {"use_dictionary": False, "column_encoding": {"v": "DELTA_BYTE_ARRAY", "id": "PLAIN"}},
    ),
    "fixed width by dictionary": (pa.array([BIG.encode()] * ROWS, pa.binary(len(BIG))), {}),
    "compressed": (np.zeros((ROWS << 18) // 8), {"use_dictionary": False, "compression": "zstd"}),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_small_file_with_huge_contents(tmp_path: Path, kind: str) -> None:
    """A bomb is refused with the sum shown, and its other columns can still be read."""
    values, options = BOMBS[kind]
    path = write(
        tmp_path / "bomb.parquet",
        {"id": np.zeros(len(values)), "v": values},
        row_group_size=1 << 30,
        **options,
    )
    ds = hr.open(path, memory_limit="40MB")

    assert os.path.getsize(path) < 8e6
    with pytest.raises(
        hr.MemoryLimitError, match=r"bomb\.parquet, row group 0: .*`v`.* the limit of 40,000,000"
    ) as caught:
        ds.to_arrow()
    assert isinstance(caught.value, MemoryError)
    if kind != "compressed":
        assert ds.select(["id"]).to_polars().height == ROWS


def test_the_sum_is_shown(tmp_path: Path) -> None:
    """The error shows each column's bytes, the sum, the limit, and what to do."""
    columns = {"a": np.arange(1000), "b": np.arange(1000, dtype=np.int32) % 3, "c": np.arange(1000.0)}
    path = write(tmp_path / "a.parquet", columns, use_dictionary=False, compression="none")

    with pytest.raises(hr.MemoryLimitError) as caught:
        hr.open(path, memory_limit=10_000).to_arrow()
    terms, total, limit = re.search(
        r"takes (.*) = ([\d,]+) bytes, more than .* ([\d,]+);", str(caught.value)
    ).groups()
    sizes = [int(term.replace(",", "")) for term in re.findall(r"([\d,]+) \(`[abc]`\)", terms)]
    assert len(sizes) == 3
    assert sum(sizes) == int(total.replace(",", "")) >= 20_000
    assert limit == "10,000"
    assert "select fewer columns, or raise `memory_limit`" in str(caught.value)
    assert hr.open(path, memory_limit=10_000).select(["a"]).to_polars().height == 1000


def test_many_columns_are_summed_up(tmp_path: Path) -> None:
    """The smallest of many columns are shown as one term."""
    path = write(tmp_path / "a.parquet", {f"c{number}": np.arange(1000) for number in range(9)})

    with pytest.raises(hr.MemoryLimitError, match=r"`c\d`\) \+ [\d,]+ \(others\) = [\d,]+ bytes"):
        hr.open(path, memory_limit="20KB").to_arrow()


@pytest.mark.parametrize("size", [200_000_000, "200MB", "200 mb", "0.2GB", "190.8MiB", np.int64(200_000_000)])
def test_sizes_as_numbers_and_texts(tmp_path: Path, size: Any) -> None:
    """A size is a number of bytes or a text with a unit."""
    path = write(tmp_path / "a.parquet", {"v": [BIG] * ROWS})

    assert hr.open(path, memory_limit=size).to_arrow().num_rows == ROWS
    with pytest.raises(hr.MemoryLimitError, match="limit of 100,000,000"):
        hr.open(path, memory_limit="100MB").to_arrow()


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "", "GB", "-1GB", "1XB", "many", b"1GB"])
def test_what_is_no_size(tmp_path: Path, size: Any) -> None:
    """Anything else is refused, with an example."""
    with pytest.raises(hr.OptionError, match=r'"20GB" or "512MiB", got'):
        hr.open(write(tmp_path / "a.parquet"), memory_limit=size)


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["ab", "cd", None] * 500),
        pa.array([{"t": "ab"}, None, {"t": None}] * 500),
        pa.array([["ab", "cd"], None, []] * 500),
        pa.array([[["a"], ["b"]], None, [[]]] * 500),
        pa.array([[("k", "v")], None, []] * 500, pa.map_(pa.string(), pa.string())),
        pa.array([b"\0", None, b"\xff\xff"] * 500),
        pa.array(["ab", "cd", None] * 500, pa.large_string()),
    ],
    ids=lambda values: str(values.type),
)
@pytest.mark.parametrize("encoding", ["dictionary", "plain", "differences"])
def test_text_that_fits(tmp_path: Path, values: pa.Array, encoding: str) -> None:
    """Text that only looks as if it could be too large is decoded as it is."""
    options: dict[str, Any] = {} if encoding == "dictionary" else {"use_dictionary": False}
    if encoding == "differences" and not pa.types.is_nested(values.type):
        options["column_encoding"] = {"v": "DELTA_BYTE_ARRAY", "id": "PLAIN"}
    table = pa.table({"id": range(len(values)), "v": values})
    path = write(tmp_path / "a.parquet", table, **options)

    assert hr.open(path, memory_limit=150_000).to_arrow().equals(table)


def test_memory_stays_low(tmp_path: Path) -> None:
    """Refusing a bomb of 800 MB takes a small part of that."""
    write(tmp_path / "bomb.parquet", {"v": ["x" * (1 << 21)] * ROWS})
    program = (
        "import resource, sys, headrace as hr\n"
        "import pyarrow.parquet\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    hr.open(sys.argv[1], memory_limit='100MB').to_arrow()\n"
        "except hr.MemoryLimitError:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "bomb.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    assert int(done.stdout) < 200_000  # KiB


def test_row_groups_are_let_go(tmp_path: Path) -> None:
    """Reading each of many row groups for the first time leaves none of them in memory."""
    rows, groups = 20_000, 20
    pq.write_table(pa.table({"x": np.arange(rows * groups)}), tmp_path / "x.parquet", row_group_size=rows)
    source = hr.open(tmp_path / "x.parquet").recipe.source
    before = pa.total_allocated_bytes()
    for row_group in source.manifest:
        assert source.read(row_group, ["x"]).num_rows == rows

    assert pa.total_allocated_bytes() - before < 2 * rows * 8
