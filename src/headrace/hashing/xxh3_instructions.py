"""What XXH3 needs of a processor and Numba does not offer, written for LLVM."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_PAIR = types.UniTuple(types.uint64, 2)


def _type_multiply(typing_context: Any, first: Any, second: Any) -> Any:
    """Multiply two words: the low and the high word of the product."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        word, wide = ir.IntType(64), ir.IntType(128)
        first, second = (builder.zext(argument, wide) for argument in arguments)
        product: Any = builder.mul(first, second)
        high = builder.lshr(product, ir.Constant(wide, 64))
        halves = [builder.trunc(product, word), builder.trunc(high, word)]
        return context.make_tuple(builder, signature.return_type, halves)

    return _PAIR(types.uint64, types.uint64), generate


def _type_load(bits: int) -> Any:
    def type_load(typing_context: Any, address: Any) -> Any:
        """Read a number at any address, aligned or not."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            place = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
            return builder.zext(builder.load(place, align=1), ir.IntType(64))

        return types.uint64(types.uint64), generate

    return type_load


def _type_take_stripe(typing_context: Any, lanes: Any, at: Any, secret: Any) -> Any:
    """Take a stripe of 64 bytes into the eight lanes; all three are addresses."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        lane = ir.IntType(64)
        vector = ir.VectorType(lane, 8)
        places = [builder.inttoptr(argument, vector.as_pointer()) for argument in arguments]
        state, words, key = (builder.load(place, align=1) for place in places)
        keyed: Any = builder.xor(words, key)
        low_half = ir.Constant(vector, [ir.Constant(lane, 0xFFFFFFFF)] * 8)
        half = ir.Constant(vector, [ir.Constant(lane, 32)] * 8)
        product = builder.mul(builder.and_(keyed, low_half), builder.lshr(keyed, half))
        order = [ir.Constant(ir.IntType(32), number ^ 1) for number in range(8)]
        neighbours = builder.shuffle_vector(
            words, words, ir.Constant(ir.VectorType(ir.IntType(32), 8), order)
        )
        state = builder.add(state, builder.add(neighbours, product))
        builder.store(state, places[0], align=1)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.uint64), generate


multiply: Any = intrinsic(_type_multiply)
take_stripe: Any = intrinsic(_type_take_stripe)
load_byte: Any = intrinsic(_type_load(8))
load_half: Any = intrinsic(_type_load(32))
load_word: Any = intrinsic(_type_load(64))
