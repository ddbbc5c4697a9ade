"""Whether Polars can be used in this process: its threads do not survive a fork.

A forked child inherits Polars' memory of its threads and not the threads. Whatever Polars hands to
them waits for ever, and no call of Polars' tells so beforehand.
"""

from __future__ import annotations

import os
import sys
import threading
from functools import cache

# Where this module was imported. In a forked child it differs from the child's own number.
_IMPORTED_BY = os.getpid()
_PATIENCE_SECONDS = 2.0


def is_polars_dead() -> bool:
    """Whether this process was forked from one that had used Polars' threads; thread-safe.

    Costs nothing in a process that was not forked, and at most two seconds, once, in one that was.
    """
    number = os.getpid()
    return number != _IMPORTED_BY and "polars" in sys.modules and not _answers(number)


@cache
def _answers(process: int) -> bool:
    """Whether Polars answers, asked by a thread that may wait for ever."""
    done = threading.Event()
    threading.Thread(target=_use_threads, args=(done,), name="headrace-probe", daemon=True).start()
    return done.wait(_PATIENCE_SECONDS)


def _use_threads(done: threading.Event) -> None:
    import polars as pl

    column = pl.col("column")
    pl.DataFrame({"column": [1, 2]}).with_columns((column + 1).alias("one"), (column + 2).alias("two"))
    done.set()
