"""On which line of a TOML file each key stands, which the standard library's reader does not tell."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Path = tuple[str | int, ...]
"""The names and places that lead to a value, such as ("prepare", 0, "step")."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}' + r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}" + r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE = re.compile(r"[^,\]}#\n]*")


def find_lines(text: str) -> dict[Path, int]:
    r"""Find the line, counted from 1, that each key and each member of a list begins on.

    A table that several lines add to has the first of them.

    Args:
        text: A TOML document that `tomllib` has read without an error.

    Example:
        >>> lines = find_lines("[write]\npath = 'out'\n\n[[prepare]]\nstep = 'Log'\n")
        >>> lines["write", "path"], lines["prepare", 0], lines["prepare", 0, "step"]
        (2, 4, 5)
    """
    return _Scanner(text).lines


class _Scanner:
    """Goes through a document once, from statement to statement."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.counted = 0  # up to where `line` has counted
        self.lines: dict[Path, int] = {(): 1}
        self.members: dict[Path, int] = {}  # how many tables an array of tables has so far
        table: Path = ()
        while self._skip(_BLANK) < len(text):
            if text[self.at] == "[":
                table = self._header()
            else:
                self._statement(table)

    def _header(self) -> Path:
        depth = 2 if self.text.startswith("[[", self.at) else 1
        begin = self.at
        self.at += depth
        *before, last = self._keys()
        self.at += depth
        table = self._within(before, begin)
        if depth == 2:
            array = (*table, last)
            self._note(array, begin)
            self.members[array] = self.members.get(array, 0) + 1
            table = (*array, self.members[array] - 1)
        else:
            table = (*table, last)
        self._note(table, begin)
        return table

    def _statement(self, table: Path) -> None:
        begin = self.at
        keys = list(self._keys())
        for depth in range(1, len(keys) + 1):
            self._note((*table, *keys[:depth]), begin)
        self.at += 1  # the sign of equality
        self._skip(_SPACE)
        self._value((*table, *keys))

    def _value(self, path: Path) -> None:
        opened = self.text[self.at]
        if opened in "[{":
            self.at += 1
            place = 0
            while self.text[self._skip(_BLANK)] not in "]}":
                if opened == "{":
                    self._statement(path)
                else:
                    self._note((*path, place), self.at)
                    self._value((*path, place))
                place += 1
                if self.text[self._skip(_BLANK)] == ",":
                    self.at += 1
            self.at += 1
        else:
            self._skip(_STRING if opened in "\"'" else _BARE)

    def _keys(self) -> Iterator[str]:
        """Yield the parts of a key with dots, up to what follows it."""
        while True:
            self._skip(_SPACE)
            begin = self.at
            self._skip(_KEY)
            raw = self.text[begin : self.at]
            yield tomllib.loads(f"key = {raw}")["key"] if raw[:1] in "\"'" else raw
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return
            self.at += 1

    def _within(self, keys: list[str], begin: int) -> Path:
        """Follow keys; an array of tables is entered at its last one."""
        table: Path = ()
        for key in keys:
            table = (*table, key)
            self._note(table, begin)
            if table in self.members:
                table = (*table, self.members[table] - 1)
        return table

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        self.at = self.at if match is None else match.end()
        return self.at

    def _note(self, path: Path, begin: int) -> None:
        self.line += self.text.count("\n", self.counted, begin)
        self.counted = begin
        self.lines.setdefault(path, self.line)


@dataclass(frozen=True, slots=True)
class Places:
    """Where each setting of a job stands: on a line of its file, or on the command line.

    Attributes:
        file: The file, as it was named.
        lines: The line of each key.
        overrides: What was said on the command line, by the path that it sets.
    """

    file: str = "job"
    lines: Mapping[Path, int] = field(default_factory=dict[Path, int])
    overrides: Mapping[Path, str] = field(default_factory=dict[Path, str])

    def of(self, path: Path) -> str:
        """Say where a setting stands, or the nearest that it lies in, and its name.

        Example:
            >>> Places("job.toml", {("write",): 3}).of(("write", "path"))
            'job.toml:3: write.path'
        """
        where = self._find(path)
        place = f"--set {where}" if isinstance(where, str) else f"{self.file}:{where}" if where else self.file
        return f"{place}: {dotted(path)}" if path else place

    def line(self, path: Path) -> float:
        """Return the line to sort by; what stands on the command line comes last."""
        where = self._find(path)
        return math.inf if isinstance(where, str) else where

    def _find(self, path: Path) -> int | str:
        """Return the line of the longest known path that leads there, 0 for none, or what was said of it."""
        # A table that stands alone may be written for a list of one, and so be known without its place.
        alone = tuple(key for key in path if not isinstance(key, int))
        for known in (self.overrides, self.lines):
            for depth in range(len(path), 0, -1):
                for form in (path[:depth], alone[:depth]):
                    if form in known:
                        return known[form]
        return 0


def dotted(path: Path) -> str:
    """Write a path as the command line takes it, such as `prepare.0.step`."""
    return ".".join(map(str, path))
