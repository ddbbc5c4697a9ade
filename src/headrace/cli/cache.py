"""`headrace cache`: what a folder of prepared row groups holds, whether it is sound, and an end to it."""

from __future__ import annotations

import datetime
import os
from dataclasses import asdict
from typing import Literal

from headrace.cli.output import make_console, make_table, size, write_json
from headrace.errors import CacheError, OptionError
from headrace.stores.folder.checking import TableInfo, clear, list_tables, verify_tables

Action = Literal["ls", "verify", "clear"]

_UNSOUND = 1
_KEY_SHOWN = 12
_COLUMNS_SHOWN = 3


def run_cache(action: Action, path: str, as_json: bool) -> int:
    """Look at a folder, or clear it.

    Returns:
        The exit code: 0, or 1 if `verify` found what is not sound.

    Raises:
        OptionError: Something else than a folder was named.
        CacheError: The folder is no cache, or must not be used.
    """
    if "://" in path:
        raise OptionError(f"`headrace cache` looks at folders, got {path!r}; others have their own tools")
    run = {"ls": _list, "verify": _verify, "clear": _clear}[action]
    try:
        return run(os.path.expanduser(path), as_json)
    except CacheError:
        raise
    except OSError as error:
        raise CacheError(f"{path}: cannot be used: {error.strerror or error}") from error


def _list(path: str, as_json: bool) -> int:
    tables = list_tables(path)
    if as_json:
        write_json({"path": path, "tables": [asdict(table) for table in tables]})
        return 0
    numbers = ("row groups", "samples", "size")
    shown = make_table(("table", "arrays", *numbers, "last used"), right=numbers)
    for table in tables:
        there = f"{table.present:,} of {table.entries:,}" if table.entries >= 0 else "damaged"
        samples, nbytes = f"{table.rows:,}", size(table.nbytes)
        shown.add_row(table.key[:_KEY_SHOWN], _columns(table), there, samples, nbytes, _when(table))
    console = make_console()
    if tables:
        console.print(shown)
    total = sum(table.nbytes for table in tables)
    console.print(f"{path}: {len(tables):,} {'table' if len(tables) == 1 else 'tables'}, {size(total)}")
    return 0


def _verify(path: str, as_json: bool) -> int:
    verdicts = verify_tables(path)
    damaged = sum(verdict.damaged for verdict in verdicts)
    if as_json:
        write_json({"path": path, "tables": [asdict(verdict) for verdict in verdicts]})
    else:
        shown = make_table(("table", "sound", "damaged"), right=("sound", "damaged"))
        for verdict in verdicts:
            shown.add_row(verdict.key[:_KEY_SHOWN], f"{verdict.sound:,}", f"{verdict.damaged:,}")
        console = make_console()
        if verdicts:
            console.print(shown)
        sound = sum(verdict.sound for verdict in verdicts)
        lost = f"{damaged:,} damaged and dropped, to be prepared again" if damaged else "nothing damaged"
        console.print(f"{path}: {sound:,} row groups sound, {lost}")
    return _UNSOUND if damaged else 0


def _clear(path: str, as_json: bool) -> int:
    freed = clear(path)
    left = list_tables(path)
    if as_json:
        write_json({"path": path, "freed": freed, "left": [asdict(table) for table in left]})
        return 0
    kept = f"; {len(left):,} left, as somebody has them open" if left else ""
    make_console().print(f"{path}: {size(freed)} freed{kept}")
    return 0


def _columns(table: TableInfo) -> str:
    more = f" and {len(table.columns) - _COLUMNS_SHOWN} more" if len(table.columns) > _COLUMNS_SHOWN else ""
    return ", ".join(table.columns[:_COLUMNS_SHOWN]) + more


def _when(table: TableInfo) -> str:
    if table.is_open:
        return "in use"
    return f"{datetime.datetime.fromtimestamp(table.last_used, datetime.UTC):%Y-%m-%d %H:%M} UTC"
