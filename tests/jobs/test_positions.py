"""On which line each key of a TOML file stands, however the file is written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.jobs.positions import find_lines

Path_ = tuple[str | int, ...]


class Writer:
    """Writes TOML in all its forms; each key and each value comes once."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.numbers = count()

    def key(self) -> str:
        name = f"k{next(self.numbers)}-"
        return self.draw(st.sampled_from([name, f'"{name} = # [x]\\""', f"'{name}]] = {{'", f'"{name}.a"']))

    def keys(self) -> str:
        dot = self.draw(st.sampled_from([".", " . ", "\t."]))
        return dot.join(self.key() for _ in range(self.draw(st.integers(1, 3))))

    def value(self, depth: int = 0) -> str:
        token = f"v{next(self.numbers)}-"
        scalars = [
            f'"{token}"',
            f'"{token} \\" # ] }}, \\\\"',
            f"'{token} \" [ \\'",
            f'"""{token}\nk0- = 1\n[k1-]\n\\""" \'\'\' """""',
            f"'''{token}\n[[k2-]]\n\"\"\" # \\''''",
            "1_000",
            "-inf",
            "1979-05-27 07:32:00Z",
        ]
        kind = self.draw(st.integers(0, 5 if depth < 2 else 3))
        if kind < 4:
            return self.draw(st.sampled_from(scalars))
        if kind == 4:
            members = [
                f"{self.blank()}{self.value(depth + 1)}{self.blank()}"
                for _ in range(self.draw(st.integers(0, 3)))
            ]
            end = self.draw(st.sampled_from(["", ","])) if members else ""
            return f"[{','.join(members)}{end}{self.blank()}]"
        pairs = [f" {self.keys()} = {self.value(depth + 1)} " for _ in range(self.draw(st.integers(0, 3)))]
        return f"{{{','.join(pairs)}}}"

    def blank(self) -> str:
        return self.draw(st.sampled_from(["", " ", "\n", " # k3- = [ \" '''\n\t", "\n\n"]))

    def body(self) -> str:
        return "".join(
            f"{self.blank()}{self.keys()} = {self.value()}{self.draw(st.sampled_from(['', ' # [k4-]']))}\n"
            for _ in range(self.draw(st.integers(0, 3)))
        )

    def tables(self) -> Iterator[str]:
        for _ in range(self.draw(st.integers(0, 4))):
            name = self.keys()
            if self.draw(st.booleans()):
                yield f"[ {name} ]\n{self.body()}"
                continue
            for _ in range(self.draw(st.integers(1, 3))):
                yield f"[[{name}]] # [[k5-]]\n{self.body()}"
                if self.draw(st.booleans()):
                    yield f"[{name}.{self.keys()}]\n{self.body()}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    writer = Writer(draw)
    return f"{writer.body()}{''.join(writer.tables())}"


def walk(value: object, path: Path_ = ()) -> Iterator[tuple[Path_, object]]:
    yield path, value
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in members:
        yield from walk(member, (*path, key))


@settings(max_examples=150, deadline=None)
@given(text=documents())
def test_the_line_found_holds_the_key(text: str) -> None:
    """Every key and member of a document has a line, on which it stands, however it is written."""
    lines, found = text.split("\n"), find_lines(text)
    document = tomllib.loads(text)

    assert set(found) == {path for path, _ in walk(document)}
    for path, value in walk(document):
        line = lines[found[path] - 1]
        if path and isinstance(path[-1], str):
            assert path[-1].split("-")[0] + "-" in line
        elif isinstance(value, str):
            assert value.split("-")[0] + "-" in line
        else:
            assert found[path] >= found[path[:-1]]
