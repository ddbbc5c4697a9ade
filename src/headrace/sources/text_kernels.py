"""Where the records of a text lie, byte by byte; the tests hold it to Python's `csv` and `splitlines`."""

from __future__ import annotations

from typing import Any

from numba import boolean, int64, njit, types

_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_PAIRS = types.Array(types.int64, 2, "C")
_TWO = types.UniTuple(types.int64, 2)
_LINE_FEED, _RETURN, _SPACE, _TAB = 10, 13, 32, 9


@njit(int64(_BYTES, int64), nogil=True, cache=True)
def _line_end(data: Any, place: Any) -> Any:
    """Tell where the next line begins; -1 if none does, or if that cannot be told yet."""
    while place < data.size:
        if data[place] == _LINE_FEED:
            return place + 1
        if data[place] == _RETURN:
            if place + 1 == data.size:
                return -1
            return place + 2 if data[place + 1] == _LINE_FEED else place + 1
        place += 1
    return -1


@njit(int64(_BYTES, int64, int64, int64), nogil=True, cache=True)
def _csv_end(data: Any, place: Any, delimiter: Any, quote: Any) -> Any:
    """Tell where the CSV record that begins at a place ends; -1 if it does not."""
    at_start = True
    while place < data.size:
        byte = data[place]
        if at_start and byte == quote:
            place += 1
            while True:  # a quote ends the field, two of them stand for one
                while place < data.size and data[place] != quote:
                    place += 1
                if place + 1 >= data.size:
                    return -1
                if data[place + 1] != quote:
                    break
                place += 2
            at_start = False
        elif byte in (_LINE_FEED, _RETURN):
            return _line_end(data, place)
        else:
            at_start = byte == delimiter
        place += 1
    return -1


@njit(boolean(_BYTES, int64, _BYTES), nogil=True, cache=True)
def _begins_with(data: Any, place: Any, text: Any) -> Any:
    if text.size == 0 or place + text.size > data.size:
        return False
    for offset in range(text.size):  # noqa: SIM110 - Numba compiles no generator
        if data[place + offset] != text[offset]:
            return False
    return True


@njit(_TWO(_BYTES, int64, int64, _BYTES, boolean, _PAIRS), nogil=True, cache=True)
def find_csv(data: Any, delimiter: Any, quote: Any, comment: Any, keeps_blank: Any, found: Any) -> Any:
    """Find the records of a CSV text.

    Args:
        data: uint8 of shape [m], which begins with a record.
        delimiter: What parts fields.
        quote: What surrounds fields that hold delimiters or newlines; -1 for none.
        comment: What lines to be left out begin with; empty for none.
        keeps_blank: Whether an empty line is a record.
        found: Where each record begins and ends is written here; int64 of shape [most records, 2].

    Returns:
        How many records there are, and where what follows them begins: an incomplete record, or
        one more than `found` has room for.
    """
    place = count = 0
    while place < data.size and count < len(found):
        if _begins_with(data, place, comment):
            end = _line_end(data, place)
        else:
            end = _csv_end(data, place, delimiter, quote)
            is_blank = data[place] in (_LINE_FEED, _RETURN)
            if end >= 0 and (keeps_blank or not is_blank):
                found[count, 0], found[count, 1] = place, end
                count += 1
        if end < 0:
            break
        place = end
    return count, place


@njit(_TWO(_BYTES, _PAIRS), nogil=True, cache=True)
def find_lines(data: Any, found: Any) -> Any:
    """Find the lines of a text that hold more than white space, as `find_csv` finds records."""
    place = count = 0
    while place < data.size and count < len(found):
        begin, is_blank = place, True
        while place < data.size and data[place] != _LINE_FEED:
            byte = data[place]
            is_blank = is_blank and byte in (_SPACE, _TAB, _RETURN)
            place += 1
        if place == data.size:
            return count, begin
        place += 1
        if not is_blank:
            found[count, 0], found[count, 1] = begin, place
            count += 1
    return count, place
