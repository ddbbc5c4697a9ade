"""The benchmarks run in short form, so that they cannot rot; what they measure is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_the_parquet_stream_is_measured(tmp_path: Path) -> None:
    """The short form measures the limit and headrace in one run and writes both to its JSON file."""
    command = [
        sys.executable,
        str(BENCHMARKS / "stream_parquet.py"),
        "--short",
        "--json",
        str(tmp_path / "out.json"),
    ]
    done = subprocess.run(
        [*command, "--cases", "raw_decode", "headrace"],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert "headrace" in done.stdout
    assert "raw_decode" in json.dumps(json.loads((tmp_path / "out.json").read_text()))


def test_arrays_are_measured(tmp_path: Path) -> None:
    """The short form checks headrace's images and measures it beside the limits of HDF5 and LMDB."""
    command = [sys.executable, str(BENCHMARKS / "arrays.py"), "--short", "--data", str(tmp_path / "data")]
    done = subprocess.run(
        [*command, "--files", "hdf5_64_lzf", "lmdb", "--cases", "limit", "headrace"],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    for name in ("hdf5_64_lzf", "slices", "lmdb", "get_copy", "mapped_gather", "headrace"):
        assert name in done.stdout


def test_indexes_are_measured(tmp_path: Path) -> None:
    """The short form holds every answer against a scan, and measures each kind."""
    command = [sys.executable, str(BENCHMARKS / "indexes.py"), "--short", "--data", str(tmp_path / "data")]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "out.json")],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    questions = json.loads((tmp_path / "out.json").read_text())["questions"]
    assert {question["name"].split(":")[0] for question in questions} >= {"btree", "hash", "bloom", "kdtree"}
    assert all(question["found"] > 0 for question in questions)


def test_preparing_is_measured(tmp_path: Path) -> None:
    """The short form fits, transforms and writes as Polars does, with the same result, and feeds a loader."""
    command = [sys.executable, str(BENCHMARKS / "prepare.py"), "--short", "--data", str(tmp_path / "data")]
    done = subprocess.run(
        [*command, "--cases", "headrace", "polars", "--json", str(tmp_path / "out.json")],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    ours, theirs = (
        json.loads((tmp_path / "out.json").read_text())["rounds"][0][it] for it in ("headrace", "polars")
    )
    assert ours["check"][0] == theirs["check"][0] == 60_000
    assert abs(ours["check"][1]) < 0.01
    assert ours["check"][-2:] == theirs["check"][-2:]
    assert "prepared / unprepared" in done.stdout


def test_selections_are_measured(tmp_path: Path) -> None:
    """The short form holds headrace's filter against Polars' and measures the bytes of selections."""
    command = [sys.executable, str(BENCHMARKS / "selection.py"), "--short", "--data", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    for name in ("headrace / polars, wall", "random half, MB", "runs, MB"):
        assert name in done.stdout


def test_components_are_measured(tmp_path: Path) -> None:
    """The short form holds headrace's variances against scikit-learn's and measures what exact sums cost."""
    command = [sys.executable, str(BENCHMARKS / "reduce.py"), "--short", "--json", str(tmp_path / "out.json")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["products"]["13 columns, float32, exact / BLAS"] > 0
    assert found["components"]["13 columns, fit by headrace, s"] > 0
