"""HDF5 files that another process is writing, in the library's SWMR mode (one writer, many readers)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_files import open_file, read_all, write

import headrace as hr

# Appends as many rows as each line asks for, and answers with the rows there are; "on" never stops.
WRITER = """
import sys, h5py, numpy as np
file = h5py.File(sys.argv[1], "w", libver="latest")
settings = {"chunks": (16,), "maxshape": (None,)}
x = file.create_dataset("x", (0,), "i8", **settings)
y = file.create_dataset("y", (0,), "f4", compression="gzip", fletcher32=True, **settings)
file.swmr_mode = True
def append(count):
    for column in (x, y):
        column.resize((len(column) + count,))
        column[-count:] = np.arange(len(column) - count, len(column))
    for column in (x, y):
        column.flush()
print("ready", flush=True)
for line in sys.stdin:
    while line.strip() == "on":
        append(7)
    append(int(line))
    print(len(x), flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


@pytest.fixture
def writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        append(process, 25)
        yield process
        process.kill()


def append(writer: subprocess.Popen[str], count: int) -> int:
    writer.stdin.write(f"{count}\n")
    writer.stdin.flush()
    return int(writer.stdout.readline())


@pytest.mark.usefixtures("writer")
def test_only_on_request(path: Path) -> None:
    """A file that is being written is an error which says how to read it nevertheless."""
    with pytest.raises(hr.SourceError, match=r"a\.h5: .*Hdf5Options\(swmr=True\)"):
        hr.open(path)
    with pytest.raises(hr.OptionError, match="`swmr` must be True or False"):
        hr.Hdf5Options(swmr=1.5)  # type: ignore[arg-type]


def test_rows_are_those_at_opening(path: Path, writer: subprocess.Popen[str]) -> None:
    """What is appended later belongs to the next opening; what was there stays readable as it was."""
    before = hr.open(path, options=hr.Hdf5Options(swmr=True))
    for count in (3, 60, 200):
        rows = append(writer, count)

        assert before.to_polars()["x"].to_list() == list(range(25))
        assert before.to_polars()["y"].to_list() == list(range(25))
        after = hr.open(path, options=hr.Hdf5Options(swmr=True))
        assert after.to_polars()["x"].to_list() == list(range(rows))
    assert after.fingerprint != before.fingerprint


def test_a_writer_that_never_rests(path: Path, writer: subprocess.Popen[str]) -> None:
    """While rows are appended all the time, each data set that is opened is whole and stays so."""
    writer.stdin.write("on\n")
    writer.stdin.flush()
    counts: list[int] = []
    for _ in range(25):
        source = open_file(path, swmr=True, on_length_mismatch="shortest")
        for _ in range(2):
            table = read_all(source)
            assert table["x"].to_pylist() == list(range(source.manifest.total))
            assert table["y"].to_pylist() == list(range(source.manifest.total))
        counts.append(source.manifest.total)

    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_a_file_that_is_replaced_is_noticed(path: Path) -> None:
    """A file may grow, but not become another one or a shorter one."""
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = np.arange(9)
    source = open_file(path, swmr=True)
    write(path.with_suffix(".new"), x=np.arange(9))
    path.with_suffix(".new").replace(path)

    with pytest.raises(hr.ChangedSourceError, match=r"a\.h5: the file was replaced or cut off"):
        read_all(source)
