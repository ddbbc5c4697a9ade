"""Blocks of 16 elements at a time, as vectors: rows are too short for what loops cost at their ends."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LANES = 16
"""Elements of a block; a row is made of whole ones, of which the last overlaps the one before."""

_BYTES, _FLOATS, _DOUBLES = (
    ir.VectorType(kind, LANES) for kind in (ir.IntType(8), ir.FloatType(), ir.DoubleType())
)
_BACKWARDS = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(range(LANES - 1, -1, -1)))


def _load(builder: ir.IRBuilder, kind: Any, address: Any) -> Any:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def _store(builder: ir.IRBuilder, value: Any, address: Any) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=1)


def _spread(builder: ir.IRBuilder, kind: Any, value: Any) -> Any:
    """Put one number into all lanes."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)


def _line(is_reversed: bool) -> Any:
    """Make what converts uint8 to float32: (x - shift) * factor in float64, rounded."""

    def type_block(typing_context: Any, target: Any, source: Any, shift: Any, factor: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            value = _load(builder, _BYTES, arguments[1])
            value = builder.shuffle_vector(value, value, _BACKWARDS) if is_reversed else value
            shift, factor = (_spread(builder, _DOUBLES, each) for each in arguments[2:])
            found = builder.fmul(builder.fsub(builder.uitofp(value, _DOUBLES), shift), factor)
            _store(builder, builder.fptrunc(found, _FLOATS), arguments[0])
            return context.get_dummy_value()

        return types.void(types.uint64, types.uint64, types.float64, types.float64), generate

    return intrinsic(type_block)


def _type_lines(typing_context: Any, target: Any, source: Any, numbers: Any) -> Any:
    """Convert uint8 to float32, each by a shift and a factor of its own, which lie at an address."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        wide = builder.uitofp(_load(builder, _BYTES, arguments[1]), _DOUBLES)
        behind = builder.add(arguments[2], ir.Constant(ir.IntType(64), 8 * LANES))
        shifts, factors = (_load(builder, _DOUBLES, each) for each in (arguments[2], behind))
        found = builder.fmul(builder.fsub(wide, shifts), factors)
        _store(builder, builder.fptrunc(found, _FLOATS), arguments[0])
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.uint64), generate


def _pixels(builder: ir.IRBuilder, address: Any, places: list[int]) -> Any:
    """Load 16 pixels of three bytes and choose some of their bytes."""
    value = _load(builder, ir.VectorType(ir.IntType(8), 3 * LANES), address)
    order = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)
    return builder.shuffle_vector(value, value, order)


def _channel_line(channel: int) -> Any:
    """Make what converts one channel of 16 pixels of three: (x - shift) * factor as above."""

    def type_block(typing_context: Any, target: Any, source: Any, shift: Any, factor: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            own = _pixels(builder, arguments[1], list(range(channel, 3 * LANES, 3)))
            shift, factor = (_spread(builder, _DOUBLES, each) for each in arguments[2:])
            found = builder.fmul(builder.fsub(builder.uitofp(own, _DOUBLES), shift), factor)
            _store(builder, builder.fptrunc(found, _FLOATS), arguments[0])
            return context.get_dummy_value()

        return types.void(types.uint64, types.uint64, types.float64, types.float64), generate

    return intrinsic(type_block)


def _type_reverse(typing_context: Any, target: Any, source: Any) -> Any:
    """Copy 16 bytes in reverse."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        value = _load(builder, _BYTES, arguments[1])
        _store(builder, builder.shuffle_vector(value, value, _BACKWARDS), arguments[0])
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), generate


def _type_reverse_pixels(typing_context: Any, target: Any, source: Any) -> Any:
    """Copy 16 pixels of three bytes in reverse."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        places = [3 * pixel + part for pixel in range(LANES - 1, -1, -1) for part in range(3)]
        _store(builder, _pixels(builder, arguments[1], places), arguments[0])
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), generate


line_block, reversed_line_block = _line(is_reversed=False), _line(is_reversed=True)
lines_block: Any = intrinsic(_type_lines)
reverse_block: Any = intrinsic(_type_reverse)
reverse_pixels: Any = intrinsic(_type_reverse_pixels)
red_block, green_block, blue_block = (_channel_line(channel) for channel in range(3))


@njit("int64(int64, int64)", nogil=True, cache=True, inline="always")
def block_begin(number: Any, width: Any) -> Any:
    """Return where a block of a row begins; the row has at least one."""
    return min(number * LANES, width - LANES)


@njit("int64(int64)", nogil=True, cache=True, inline="always")
def blocks_of(width: Any) -> Any:
    """Return of how many blocks a row consists."""
    return (width + LANES - 1) // LANES
