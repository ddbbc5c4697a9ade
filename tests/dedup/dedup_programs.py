"""A search that a test starts as a process of its own, to kill it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import polars as pl

import headrace as hr


def slowly(frame: pl.DataFrame) -> pl.DataFrame:
    """Take a while for each row group that has rows."""
    if frame.height:
        time.sleep(0.05)
    return frame


def opened(folder: Path) -> hr.Dataset:
    """The data set that both processes search; the function is known by its name and version."""
    return hr.open(folder / "data").map(slowly, version="1")


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1])
    hr.find_duplicates(opened(FOLDER), "x", executor=hr.Serial(), cache=FOLDER / "kept")
