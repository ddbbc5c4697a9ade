"""A job that tests kill.

python write_programs.py DATA OUT EXECUTOR [update]: write what lies in DATA to OUT in two orders, by
    "threads" or "processes"; print a line before.
"""

from __future__ import annotations

import sys
import time

import polars as pl

import headrace as hr


def slowly(frame: pl.DataFrame) -> pl.DataFrame:
    """Take so long that a kill finds something to interrupt."""
    time.sleep(0.01)
    return frame.with_columns(y=pl.col("x") * 2)


def main(data: str, out: str, workers: str, update: str = "") -> None:
    ds = hr.open(data).map(slowly, version="1")
    executor = {"threads": hr.Threads(2), "processes": hr.Processes(2)}[workers]
    print("begun", flush=True)
    ds.write(f"{out}/plain", executor=executor, progress=False, update=bool(update))
    ds.write(
        f"{out}/mixed", shuffle="global", shards=5, executor=executor, progress=False, update=bool(update)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
