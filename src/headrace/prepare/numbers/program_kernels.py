"""The compiled kernel of programs: a column's own memory in, values of any wanted type out, in one pass.

A block of values at a time is read as float64 into memory that stays in the cache, every operation goes over
it, and it is written out. The arithmetic is that of `program_reference`, operation by operation, without
contraction.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, types

from headrace.copying import pointer
from headrace.prepare.numbers.program_functions import (
    compiled,
    count_below,
    exp_less_1,
    interpolate,
    log_sum,
    normal_quantile,
    normal_share,
    pick,
    power,
    power_inverse,
)

KINDS = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
"""The types that the kernel reads and writes, by number."""
FILL, LIMIT, DROP, AFFINE, LOG, EXP, POWER, POWER_INVERSE, INTERPOLATE, QUANTILE, SHARE, BUCKET, PICK = range(
    13
)

_BLOCK = 1024  # values; a multiple of 8, so that a block begins with a byte of the bitmap
_EXACT, _LONG = float(1 << 53), float(1 << 63)


@compiled
def _scale(block: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    if a != 0:
        for i in range(block.size):
            block[i] = block[i] - a
    if b != 1:
        for i in range(block.size):
            block[i] = block[i] / b
    if c != 1:
        for i in range(block.size):
            block[i] = block[i] * c
    if d != 0:
        for i in range(block.size):
            block[i] = block[i] + d


@compiled
def _change(block: Any, code: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    """Apply an operation of few instructions, which the compiler turns into vectors."""
    if code == FILL:
        for i in range(block.size):
            block[i] = a if block[i] != block[i] else block[i]
    elif code == LIMIT:
        for i in range(block.size):
            value = a if block[i] < a else block[i]
            block[i] = b if value > b else value
    elif code == DROP:
        for i in range(block.size):
            block[i] = np.nan if block[i] < a or block[i] > b else block[i]
    else:
        _scale(block, a, b, c, d)


@compiled
def _compute(block: Any, code: Any, a: Any, b: Any, table: Any) -> int:
    """Apply an operation of many instructions; return how many values have no result."""
    invalid = 0
    half = table.size // 2
    for i in range(block.size):
        x = block[i]
        if math.isnan(x):
            continue
        if code == LOG:
            y = log_sum(x, a)
        elif code == EXP:
            y = exp_less_1(x) + a
        elif code == POWER:
            y = power(x, a, b != 0)
        elif code == POWER_INVERSE:
            y = power_inverse(x, a, b != 0)
        elif code == INTERPOLATE:
            y = interpolate(x, table[:half], table[half:])
        elif code == QUANTILE:
            y = normal_quantile(x)
        elif code == SHARE:
            y = normal_share(x)
        elif code == BUCKET:
            y = np.float64(count_below(table, x, True))
        else:
            y = pick(x, table, a)
        invalid += math.isnan(y)
        block[i] = y
    return invalid


@compiled
def _read(values: Any, begin: Any, block: Any) -> int:
    for i in range(block.size):
        block[i] = np.float64(values[begin + i])
    return 0


@compiled
def _read_long(values: Any, begin: Any, block: Any) -> int:
    """Read whole numbers of 64 bits; return how many lose digits."""
    _read(values, begin, block)
    lost = 0
    for i in range(block.size):
        size = abs(block[i])
        if size >= _EXACT:
            lost += size >= _LONG or np.int64(block[i]) != np.int64(values[begin + i])
    return lost


@compiled
def _write(values: Any, begin: Any, block: Any) -> None:
    for i in range(block.size):
        values[begin + i] = block[i]


@compiled
def _write_whole(values: Any, begin: Any, block: Any) -> None:
    for i in range(block.size):
        values[begin + i] = 0 if block[i] != block[i] else np.int64(block[i])


@compiled
def _load(address: Any, kind: Any, begin: Any, block: Any) -> int:
    """Read a block as float64; return how many whole numbers lose digits."""
    if kind == 0:
        lost = _read(pointer(address, types.float32), begin, block)
    elif kind == 1:
        lost = _read(pointer(address, types.float64), begin, block)
    elif kind == 2:
        lost = _read(pointer(address, types.int8), begin, block)
    elif kind == 3:
        lost = _read(pointer(address, types.int16), begin, block)
    elif kind == 4:
        lost = _read(pointer(address, types.int32), begin, block)
    elif kind == 5:
        lost = _read_long(pointer(address, types.int64), begin, block)
    elif kind == 6:
        lost = _read(pointer(address, types.uint8), begin, block)
    elif kind == 7:
        lost = _read(pointer(address, types.uint16), begin, block)
    elif kind == 8:
        lost = _read(pointer(address, types.uint32), begin, block)
    else:
        lost = _read_long(pointer(address, types.uint64), begin, block)
    return lost


@compiled
def _store(address: Any, kind: Any, begin: Any, block: Any) -> None:
    """Write a block; missing whole numbers become 0 under a null."""
    if kind == 0:
        _write(pointer(address, types.float32), begin, block)
    elif kind == 1:
        _write(pointer(address, types.float64), begin, block)
    elif kind == 2:
        _write_whole(pointer(address, types.int8), begin, block)
    elif kind == 3:
        _write_whole(pointer(address, types.int16), begin, block)
    elif kind == 4:
        _write_whole(pointer(address, types.int32), begin, block)
    elif kind == 5:
        _write_whole(pointer(address, types.int64), begin, block)
    elif kind == 6:
        _write_whole(pointer(address, types.uint8), begin, block)
    elif kind == 7:
        _write_whole(pointer(address, types.uint16), begin, block)
    elif kind == 8:
        _write_whole(pointer(address, types.uint32), begin, block)
    else:
        _write_whole(pointer(address, types.uint64), begin, block)


@compiled
def _hide_nulls(address: Any, first: Any, block: Any) -> None:
    """Make values NaN whose bit in a validity bitmap is 0; the block's first bit is number `first`."""
    bits = pointer(address, types.uint8)
    whole = block.size >> 3 if first & 7 == 0 else 0
    for place in range(whole):
        byte = bits[(first >> 3) + place]
        if byte != 255:
            for i in range(8):
                block[8 * place + i] = block[8 * place + i] if (byte >> i) & 1 else np.nan
    for i in range(8 * whole, block.size):
        if not (bits[(first + i) >> 3] >> ((first + i) & 7)) & 1:
            block[i] = np.nan


@compiled
def _mark_nulls(block: Any, bits: Any, first: Any) -> int:
    """Write the validity bits of a block, from byte number `first`; return how many values are missing."""
    nulls = 0
    for i in range(block.size):
        nulls += block[i] != block[i]
    for place in range((block.size + 7) >> 3):
        byte = 255
        if nulls:
            for i in range(8 * place, min(8 * place + 8, block.size)):
                byte &= ~((block[i] != block[i]) << (i & 7))
        bits[first + place] = byte
    return nulls


@njit(
    "UniTuple(int64, 3)(int64[::1], int64[:, ::1], float64[:, ::1], float64[::1], uint8[::1])",
    nogil=True,
    cache=True,
    boundscheck=False,
    error_model="numpy",
)
def run_kernel(memory: Any, codes: Any, numbers: Any, tables: Any, bits: Any) -> Any:
    """Run a program over a column; trusts its arguments and releases the GIL.

    Args:
        memory: Address and kind of the values that come in, address of their validity bitmap (0 for none) and
            its first bit, how many values, address and kind of the memory that is written.
        codes: For each operation its code, and from where to where its table lies, of shape [n, 3].
        numbers: For each operation four parameters, of shape [n, 4].
        tables: All operations' tables.
        bits: Bytes for the validity bitmap that comes out, one for each 8 values.

    Returns:
        How many values are null, lost digits when they became float64, have no result.
    """
    address, validity, output = np.uint64(memory[0]), np.uint64(memory[2]), np.uint64(memory[5])
    scratch = np.empty(_BLOCK, np.float64)
    nulls, lost, invalid = 0, 0, 0
    for begin in range(0, memory[4], _BLOCK):
        block = scratch[: min(_BLOCK, memory[4] - begin)]
        lost += _load(address, memory[1], begin, block)
        if validity:
            _hide_nulls(validity, memory[3] + begin, block)
        for place in range(len(codes)):
            code = codes[place, 0]
            a, b, c, d = numbers[place, 0], numbers[place, 1], numbers[place, 2], numbers[place, 3]
            if code <= AFFINE:
                _change(block, code, a, b, c, d)
            else:
                found = _compute(block, code, a, b, tables[codes[place, 1] : codes[place, 2]])
                invalid += found if d else 0
        _store(output, memory[6], begin, block)
        nulls += _mark_nulls(block, bits, begin >> 3)
    return nulls, lost, invalid
