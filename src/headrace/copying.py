"""Compiled copies of rows between memory that is passed by address.

Rows of one row group go to many batches, whose number is known only at run time. Whoever calls
vouches for the addresses: nothing here looks beyond the rows that it is told of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Addresses = NDArray[np.uint64]

# Rows of this size are written around the caches: a batch is read long after it was filled, and a cached
# write would first have to read the memory that it is going to overwrite.
_WIDE = 1024
_VECTOR = 32  # bytes

# Rows at random places are asked for before they are copied, or each would wait for the way to memory.
_LINE = np.uint64(64)  # bytes of a cache line
_LINES_AHEAD, _MOST_AHEAD, _MOST_ASKED = np.uint64(48), np.uint64(16), np.uint64(1024)


def _type_pointer(typing_context: Any, address: Any, kind: Any) -> Any:
    pointed = types.CPointer(kind.dtype)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(pointed))

    return pointed(types.uint64, kind), generate


pointer: Any = intrinsic(_type_pointer)
"""Cast an address (uint64) to a pointer to values of a Numba type, within a compiled function."""


def _type_stream(typing_context: Any, target: Any, source: Any) -> Any:
    """Copy one vector to an aligned address, around the caches."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(64), _VECTOR // 8).as_pointer()
        value = builder.load(builder.inttoptr(arguments[1], vector), align=1)
        store: Any = builder.store(value, builder.inttoptr(arguments[0], vector), align=_VECTOR)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), generate


def _type_fence(typing_context: Any) -> Any:
    """Finish writes around the caches before any that follow, so that other threads see them."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


def _type_move(typing_context: Any, target: Any, source: Any, width: Any) -> Any:
    """Copy so many bytes as the C library does, which chooses the instructions by the width."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        memory, size = ir.IntType(8).as_pointer(), ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [memory, memory, size, ir.IntType(1)])
        move = builder.module.declare_intrinsic("llvm.memcpy", (memory, memory, size), kind)
        addresses = [builder.inttoptr(address, memory) for address in arguments[:2]]
        builder.call(move, [*addresses, arguments[2], ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.uint64), generate


def _prefetch(is_written: bool, locality: int) -> Any:
    """Make a function that asks for a cache line before it is read or written.

    Args:
        is_written: Whether it will be written.
        locality: From 0, used once, to 3, kept in all caches.
    """

    def type_prefetch(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            line, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [line, number, number, number])
            prefetch = builder.module.declare_intrinsic("llvm.prefetch", (line,), kind)
            settings = (ir.Constant(number, int(value)) for value in (is_written, locality, True))
            builder.call(prefetch, [builder.inttoptr(arguments[0], line), *settings])
            return context.get_dummy_value()

        return types.void(types.uint64), generate

    return intrinsic(type_prefetch)


_stream: Any = intrinsic(_type_stream)
_move: Any = intrinsic(_type_move)
_prefetch_read: Any = _prefetch(is_written=False, locality=0)
prefetch_write: Any = _prefetch(is_written=True, locality=3)
fence: Any = intrinsic(_type_fence)


@njit("void(uint64, uint64, uint64)", nogil=True, cache=True, boundscheck=False)
def copy_row(target: Any, source: Any, width: Any) -> None:
    """Copy so many bytes; for compiled functions, which call `fence` when they are done."""
    if width >= _WIDE and (width | target) % np.uint64(_VECTOR) == 0:
        for place in range(np.uint64(0), width, np.uint64(_VECTOR)):
            _stream(target + place, source + place)
    elif width == np.uint64(8):
        pointer(target, types.uint64)[0] = pointer(source, types.uint64)[0]
    elif width == np.uint64(4):
        pointer(target, types.uint32)[0] = pointer(source, types.uint32)[0]
    else:
        _move(target, source, width)


@njit("void(uint64, uint64, uint64)", nogil=True, cache=True, boundscheck=False)
def move_row(target: Any, source: Any, width: Any) -> None:
    """Copy so many bytes to where they are read soon, so that they stay in the caches."""
    _move(target, source, width)


@njit("uint64(uint64)", nogil=True, cache=True, inline="always")
def rows_ahead(width: Any) -> Any:
    """Tell how many rows before its copy a row of so many bytes is to be asked for, by `ask_for`."""
    # As many lines as a core has under way at a time; a few more, as rows begin inside of lines.
    return min(max(_LINES_AHEAD * _LINE // width, np.uint64(1)), _MOST_AHEAD)


@njit("void(uint64, uint64)", nogil=True, cache=True, inline="always")
def ask_for(source: Any, width: Any) -> None:
    """Bring a row on its way to the caches; of a wide one its beginning, as the rest is read in a stream."""
    line = source & ~(_LINE - np.uint64(1))
    end = source + min(width, _MOST_ASKED)
    while line < end:
        _prefetch_read(line)
        line += _LINE


@njit("void(uint64, int64[::1], uint64, uint64[::1])", nogil=True, cache=True, boundscheck=False)
def _copy_rows(source: Any, origins: Any, width: Any, targets: Any) -> None:
    for row in range(origins.size):
        copy_row(targets[row], source + np.uint64(origins[row]), width)
    fence()


def copy_rows(buffer: Bytes, origins: Places, width: int, targets: Addresses) -> None:
    """Copy rows out of a buffer; releases the GIL.

    Args:
        buffer: Where the rows lie.
        origins: Where in it each row begins, int64 of shape [n].
        width: Bytes of a row.
        targets: Where in memory each row goes, uint64 of shape [n].

    Example:
        >>> out = np.zeros((2, 3), np.uint8)
        >>> targets = out.ctypes.data + np.array([3, 0], np.uint64)
        >>> copy_rows(np.arange(9, dtype=np.uint8), np.array([0, 6]), 3, targets)
        >>> out.tolist()
        [[6, 7, 8], [0, 1, 2]]
    """
    _copy_rows(buffer.__array_interface__["data"][0], origins, width, targets)
