"""How results are written: tables for people, JSON for machines."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

_WIDTH_WITHOUT_TERMINAL = 100


def make_console() -> Console:
    """Return a console on standard output, of fixed width where that is no terminal."""
    console = Console(highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDTH_WITHOUT_TERMINAL
    return console


def make_table(columns: Iterable[str], right: Sequence[str] = ()) -> Table:
    """Return an empty table.

    Args:
        columns: The titles.
        right: Those of numbers, which are aligned to the right.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for title in columns:
        justify = "right" if title in right else "left"
        table.add_column(title, justify=justify, overflow="fold")
    return table


def write_json(value: Any) -> None:
    """Write one JSON document; what JSON cannot say becomes text, and what is no number null."""
    text = json.dumps(_plain(value), indent=2, allow_nan=False, ensure_ascii=False)
    sys.stdout.write(f"{text}\n")


def size(nbytes: int) -> str:
    """Word a number of bytes.

    Example:
        >>> size(5_836_800)
        '5.8 MB'
    """
    value, unit = float(nbytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)
