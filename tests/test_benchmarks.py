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
