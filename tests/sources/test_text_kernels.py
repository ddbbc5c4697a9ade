"""Where records of text lie, held to Python's `csv` and to `splitlines`."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.sources.text_kernels import find_csv, find_lines

ALPHABET = st.sampled_from(['"', ",", "\n", "\r\n", "\r", "a", " ", "#", "é"])


def records_of(
    data: bytes, quote: int = ord('"'), comment: bytes = b"", keeps_blank: bool = False
) -> list[bytes]:
    found = np.empty((len(data) + 1, 2), np.int64)
    marker = np.frombuffer(comment, np.uint8)
    count, _ = find_csv(np.frombuffer(data, np.uint8), ord(","), quote, marker, keeps_blank, found)
    return [data[begin:end] for begin, end in found[:count].tolist()]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.lists(st.lists(ALPHABET, max_size=6).map("".join), min_size=1, max_size=4), max_size=8),
    st.data(),
)
def test_written_records_are_found(rows: list[list[str]], data: st.DataObject) -> None:
    """Whatever the fields hold, a file that `csv` wrote has as many records, and each holds its fields."""
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)

    found = records_of(stream.getvalue().encode())
    assert [next(csv.reader(io.StringIO(record.decode(), newline=""))) for record in found] == rows


@settings(max_examples=600, deadline=None)
@given(st.lists(ALPHABET, max_size=30).map("".join))
def test_any_text_is_cut_as_csv_reads_it(text: str) -> None:
    """Stray quotes included, records end where `csv` ends them; what is left over is not closed."""
    data = text.encode()
    found = np.empty((len(data) + 1, 2), np.int64)
    count, consumed = find_csv(
        np.frombuffer(data, np.uint8), ord(","), ord('"'), np.frombuffer(b"", np.uint8), True, found
    )

    closed = data[:consumed].decode()
    assert b"".join(data[begin:end] for begin, end in found[:count].tolist()) == data[:consumed]
    assert len(list(csv.reader(io.StringIO(closed, newline="")))) == count
    rest = data[consumed:].decode()
    assert len(list(csv.reader(io.StringIO(rest + "\n", newline="")))) <= 2


def test_blank_lines_comments_and_quotes() -> None:
    """Blank lines and comments are no records, but for a single column; quotes can be switched off."""
    data = b'a,b\n\n#"x\n\r\n"#\n1",2\n'

    assert records_of(data, comment=b"#") == [b"a,b\n", b'"#\n1",2\n']
    assert records_of(data, comment=b"#", keeps_blank=True) == [b"a,b\n", b"\n", b"\r\n", b'"#\n1",2\n']
    assert records_of(data, quote=-1) == [b"a,b\n", b'#"x\n', b'"#\n', b'1",2\n']


@pytest.mark.parametrize("room", [1, 2, 10])
def test_records_beyond_the_room_are_left(room: int) -> None:
    """No more records are found than there is room for, and the next one is where they end."""
    data = np.frombuffer(b"a\nb\nc\n", np.uint8)
    found = np.empty((room, 2), np.int64)

    assert find_csv(data, ord(","), ord('"'), data[:0], False, found) == (min(room, 3), min(2 * room, 6))
    assert find_lines(data, found) == (min(room, 3), min(2 * room, 6))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["a", " ", "\t", "\r", "\n", '"']), max_size=30).map("".join))
def test_lines_are_those_that_hold_something(text: str) -> None:
    """Lines end at a line feed, and those of white space alone are none."""
    data = text.encode()
    found = np.empty((len(data) + 1, 2), np.int64)
    count, consumed = find_lines(np.frombuffer(data, np.uint8), found)
    lines = [line + b"\n" for line in data.split(b"\n")[:-1]]

    assert [data[begin:end] for begin, end in found[:count].tolist()] == [
        line for line in lines if line.strip()
    ]
    assert data[consumed:] == data.split(b"\n")[-1]
