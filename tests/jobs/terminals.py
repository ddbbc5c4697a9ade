"""A terminal that remembers what was written to it."""

from __future__ import annotations

import os
import pty
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO
from unittest.mock import patch

HIDE_CURSOR = "\x1b[?25l"


class Terminal:
    """A pseudo-terminal; `stream` is what a program holds of it."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        self._read: list[bytes] = []
        self._reader = threading.Thread(target=self._keep_reading)
        self._reader.start()

    def _keep_reading(self) -> None:
        try:
            while piece := os.read(self._master, 65536):
                self._read.append(piece)
        except OSError:  # nobody holds the other end any more
            pass

    @contextmanager
    def as_standard_error(self) -> Iterator[None]:
        """Let the program write its errors here."""
        with patch.object(sys, "stderr", self.stream):
            yield

    def hang_up(self) -> str:
        """Close the program's end, and return all that was written."""
        self.stream.close()
        self._reader.join(10)
        os.close(self._master)
        return b"".join(self._read).decode()


def last_lines(written: str) -> list[str]:
    """What is left on the screen of lines that were drawn over and over."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    return [line.rpartition("\r")[2].strip() for line in plain.replace("\r\n", "\n").split("\n")]
