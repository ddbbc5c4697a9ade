"""Functions that a data set is mapped with on dask workers, and that go wrong when a file says so."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import polars as pl


def _is_first(switch: str) -> bool:
    """Whether nobody has come here before; a file that is there is removed, by one process."""
    try:
        os.unlink(switch)
    except FileNotFoundError:
        return False
    return True


def kill_once(frame: pl.DataFrame, switch: str, bad: int) -> pl.DataFrame:
    """End this process by SIGKILL at the row group that holds a number, once."""
    if bad in frame["x"] and _is_first(switch):
        os.kill(os.getpid(), signal.SIGKILL)
    return frame


def raise_while(frame: pl.DataFrame, switch: str, bad: int) -> pl.DataFrame:
    """Raise at the row group that holds a number, while a file is there."""
    if bad in frame["x"] and Path(switch).exists():
        raise ZeroDivisionError(f"cannot bear {bad}")
    return frame


def kill_while(frame: pl.DataFrame, switch: str, bad: int) -> pl.DataFrame:
    """End any process that takes the row group that holds a number, as the kernel does for want of memory."""
    if bad in frame["x"] and Path(switch).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return frame


def dawdle(frame: pl.DataFrame, switch: str, bad: int) -> pl.DataFrame:
    """Take a second for the row group that holds a number, once."""
    if bad in frame["x"] and _is_first(switch):
        time.sleep(1)
    return frame


def wait_while(frame: pl.DataFrame, switch: str, bad: int) -> pl.DataFrame:
    """Wait at the row group that holds a number, while a file is there; say so by a second file."""
    while bad in frame["x"] and Path(switch).exists():
        Path(f"{switch}-waits").touch()
        time.sleep(0.02)
    return frame
