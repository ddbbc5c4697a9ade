"""The benchmarks run in short form, so that they cannot rot; what they measure is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def measure(folder: Path, name: str, *arguments: object) -> str:
    """Run a benchmark in short form and return what it prints."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), "--short", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_parquet_stream_is_measured(tmp_path: Path) -> None:
    """The short form measures the limit and headrace in one run and writes both to its JSON file."""
    out = tmp_path / "out.json"
    printed = measure(tmp_path, "stream_parquet.py", "--json", out, "--cases", "raw_decode", "headrace")

    assert "headrace" in printed
    assert "raw_decode" in json.dumps(json.loads(out.read_text()))


def test_the_gpu_check_runs_dry(tmp_path: Path) -> None:
    """What a CPU can show of the GPU path is shown, and the last line is JSON."""
    printed = measure(tmp_path, "gpu_check.py", "--only", 2, 6, 10)

    checks = json.loads(printed.splitlines()[-1])["checks"]
    assert {number: check["outcome"] for number, check in checks.items()} == dict.fromkeys(
        ("2", "6", "10"), "pass"
    )


def test_arrays_are_measured(tmp_path: Path) -> None:
    """The short form checks headrace's images and measures it beside the limits of HDF5 and LMDB."""
    chosen = ["--files", "hdf5_64_lzf", "lmdb", "--cases", "limit", "headrace"]
    printed = measure(tmp_path, "arrays.py", "--data", tmp_path / "data", *chosen)

    for name in ("hdf5_64_lzf", "slices", "lmdb", "get_copy", "mapped_gather", "headrace"):
        assert name in printed


def test_indexes_are_measured(tmp_path: Path) -> None:
    """The short form holds every answer against a scan, and measures each kind."""
    out = tmp_path / "out.json"
    measure(tmp_path, "indexes.py", "--data", tmp_path / "data", "--json", out)

    questions = json.loads(out.read_text())["questions"]
    assert {question["name"].split(":")[0] for question in questions} >= {"btree", "hash", "bloom", "kdtree"}
    assert all(question["found"] > 0 for question in questions)


def test_preparing_is_measured(tmp_path: Path) -> None:
    """The short form fits, transforms and writes as Polars does, with the same result, and feeds a loader."""
    out = tmp_path / "out.json"
    chosen = ["--cases", "headrace", "polars", "--json", out]
    printed = measure(tmp_path, "prepare.py", "--data", tmp_path / "data", *chosen)

    (measured,) = json.loads(out.read_text())["rounds"]
    ours, theirs = measured["headrace"], measured["polars"]
    assert ours["check"][0] == theirs["check"][0] == 60_000
    assert abs(ours["check"][1]) < 0.01
    assert ours["check"][-2:] == theirs["check"][-2:]
    assert "prepared / unprepared" in printed


def test_selections_are_measured(tmp_path: Path) -> None:
    """The short form holds headrace's filter against Polars' and measures the bytes of selections."""
    printed = measure(tmp_path, "selection.py", "--data", tmp_path)

    for name in ("headrace / polars, wall", "random half, MB", "runs, MB"):
        assert name in printed


def test_components_are_measured(tmp_path: Path) -> None:
    """The short form holds headrace's variances against scikit-learn's and measures what exact sums cost."""
    out = tmp_path / "out.json"
    measure(tmp_path, "reduce.py", "--json", out)

    found = json.loads(out.read_text())
    assert found["products"]["13 columns, float32, exact / BLAS"] > 0
    assert found["components"]["13 columns, fit by headrace, s"] > 0


def test_finding_duplicates_is_measured(tmp_path: Path) -> None:
    """The short form loses no text and leaves no copy; near pairs are those of at least the threshold."""
    out = tmp_path / "out.json"
    exact = ["headrace", "headrace_spilled", "headrace_bloom", "polars"]
    chosen = ["--cases", *exact, "--near-cases", "headrace", "--data", tmp_path / "data"]
    printed = measure(tmp_path, "dedup.py", *chosen, "--json", out)

    found = json.loads(out.read_text())
    for name in exact:
        run = found["exact"][0][name]
        assert (run["lost"], run["left"]) == (0, 0)
        assert 17_000 < run["kept"] <= 18_000
    near = found["documents"][0]["headrace"]
    assert near["precision"] == 1.0
    assert near["recall"] > 0.9
    assert found["short texts"][0]["headrace"]["precision"] == 1.0
    assert "/polars" in printed


def test_full_caches_are_measured(tmp_path: Path) -> None:
    """The short form fills a cache and lets headrace take turns with the gather of the same files."""
    out = tmp_path / "out.json"
    chosen = ["--variants", "int32", "--cases", "gather_limit", "index_select", "headrace"]
    printed = measure(tmp_path, "cached.py", "--data", tmp_path / "data", *chosen, "--json", out)

    found = json.loads(out.read_text())["results"]["int32"]
    assert found["rows"] == 60_000
    assert found["cache_bytes"] > 60_000 * (13 + 26) * 4
    assert {turn["case"] for turn in found["turns"]} == {"gather_limit", "index_select", "headrace"}
    assert "first batch of a later epoch" in printed


def test_augmentation_is_measured(tmp_path: Path) -> None:
    """The short form measures headrace beside its limit and a loader by hand, and what parameters cost."""
    out = tmp_path / "out.json"
    chosen = ["--cases", "limit", "headrace", "numpy_loader", "--json", out]
    printed = measure(tmp_path, "augment_cpu.py", "--data", tmp_path / "data", *chosen)

    measured = json.loads(out.read_text())
    assert {turn["case"] for turn in measured["turns"]} == {"limit", "headrace", "numpy_loader"}
    assert set(measured["parameters"]) == {"crop", "color"}
    assert "/per sample" in printed


def test_jobs_are_measured(tmp_path: Path) -> None:
    """The short form writes the same bytes on threads and on two processes."""
    out = tmp_path / "out.json"
    chosen = ["--cases", "threads_2", "dask_2", "--skip-memory", "--skip-scheduling"]
    printed = measure(tmp_path, "jobs.py", "--data", tmp_path / "data", *chosen, "--json", out)

    (measured,) = json.loads(out.read_text())["rounds"]
    assert measured["threads_2"]["digest"] == measured["dask_2"]["digest"]
    assert measured["dask_2"]["check"][0] == 60_000
    assert len(measured["dask_2"]["worker_peaks"]) == 2
    assert "Dask / Threads, 2 cores" in printed
