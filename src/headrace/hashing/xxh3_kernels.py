"""XXH3 with 128 bits over runs of bytes and over rows of fixed width, compiled.

XXH3 is Yann Collet's non-cryptographic hash; its specification is frozen since xxHash 0.8.0, so a key never
changes with a library's version. Words are read in little-endian order, as Arrow lays them out. There is one
function for each of the specification's classes of length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from headrace.hashing.xxh3_instructions import load_byte, load_half, load_word, multiply, take_stripe

Keys = NDArray[np.uint64]
Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]

_SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
        "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
        "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
        "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
        "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ),
    np.uint8,
)
_SMALL_PRIMES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
_PRIMES = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_S1, _S2, _S3 = (np.uint64(prime) for prime in _SMALL_PRIMES)
_P1, _P2, _P3, _P4, _P5 = (np.uint64(prime) for prime in _PRIMES)
_MIX_1, _MIX_2 = np.uint64(0x165667919E3779F9), np.uint64(0x9FB21C651E98DF25)
_START = np.array([_S3, _P1, _P2, _P3, _P4, _S2, _P5, _S1])
_LOW_HALF = np.uint64(0xFFFFFFFF)

_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int64, 1, "C", readonly=True)
_OUT = types.Array(types.uint64, 2, "C")
_PAIR = types.UniTuple(types.uint64, 2)


def _step(signature: Any) -> Any:
    """Compile a part of a kernel; LLVM inlines it, in a third of the time that Numba would take."""
    return njit(signature, nogil=True, cache=True, forceinline=True)


@_step("uint64(uint64)")
def _swap_half(word: Any) -> Any:
    """Turn round the bytes of the low half."""
    word = ((word & np.uint64(0x00FF00FF)) << np.uint64(8)) | ((word >> np.uint64(8)) & np.uint64(0x00FF00FF))
    return ((word & np.uint64(0xFFFF)) << np.uint64(16)) | (word >> np.uint64(16))


@_step("uint64(uint64)")
def _swap(word: Any) -> Any:
    return (_swap_half(word & _LOW_HALF) << np.uint64(32)) | _swap_half(word >> np.uint64(32))


@_step("uint64(uint64, uint64)")
def _fold(first: Any, second: Any) -> Any:
    low, high = multiply(first, second)
    return low ^ high


@_step("uint64(uint64)")
def _spread(word: Any) -> Any:
    """Finish as XXH64 does."""
    word = (word ^ (word >> np.uint64(33))) * _P2
    word = (word ^ (word >> np.uint64(29))) * _P3
    return word ^ (word >> np.uint64(32))


@_step("uint64(uint64)")
def _avalanche(word: Any) -> Any:
    word = (word ^ (word >> np.uint64(37))) * _MIX_1
    return word ^ (word >> np.uint64(32))


@_step(_PAIR(types.uint64, types.uint64, types.uint64, types.uint64))
def _hash_1_to_3(at: Any, length: Any, seed: Any, secret: Any) -> Any:
    first, middle = load_byte(at), load_byte(at + (length >> np.uint64(1)))
    low = (first << np.uint64(16)) | (middle << np.uint64(24)) | load_byte(at + length - np.uint64(1))
    low |= length << np.uint64(8)
    turned = _swap_half(low)
    high = ((turned << np.uint64(13)) | (turned >> np.uint64(19))) & _LOW_HALF
    low ^= (load_half(secret) ^ load_half(secret + np.uint64(4))) + seed
    high ^= (load_half(secret + np.uint64(8)) ^ load_half(secret + np.uint64(12))) - seed
    return _spread(low), _spread(high)


@_step(_PAIR(types.uint64, types.uint64, types.uint64, types.uint64))
def _hash_4_to_8(at: Any, length: Any, seed: Any, secret: Any) -> Any:
    seed ^= _swap_half(seed & _LOW_HALF) << np.uint64(32)
    word = load_half(at) + (load_half(at + length - np.uint64(4)) << np.uint64(32))
    word ^= (load_word(secret + np.uint64(16)) ^ load_word(secret + np.uint64(24))) + seed
    low, high = multiply(word, _P1 + (length << np.uint64(2)))
    high += low << np.uint64(1)
    low ^= high >> np.uint64(3)
    low = (low ^ (low >> np.uint64(35))) * _MIX_2
    return low ^ (low >> np.uint64(28)), _avalanche(high)


@_step(_PAIR(types.uint64, types.uint64, types.uint64, types.uint64))
def _hash_9_to_16(at: Any, length: Any, seed: Any, secret: Any) -> Any:
    flip_low = (load_word(secret + np.uint64(32)) ^ load_word(secret + np.uint64(40))) - seed
    flip_high = (load_word(secret + np.uint64(48)) ^ load_word(secret + np.uint64(56))) + seed
    last = load_word(at + length - np.uint64(8))
    low, high = multiply(load_word(at) ^ last ^ flip_low, _P1)
    low += (length - np.uint64(1)) << np.uint64(54)
    last ^= flip_high
    high += last + (last & _LOW_HALF) * (_S2 - np.uint64(1))
    low, carried = multiply(low ^ _swap(high), _P2)
    return _avalanche(low), _avalanche(carried + high * _P2)


@_step("uint64(uint64, uint64, uint64)")
def _mix(at: Any, secret: Any, seed: Any) -> Any:
    """Mix 16 bytes."""
    first = load_word(at) ^ (load_word(secret) + seed)
    return _fold(first, load_word(at + np.uint64(8)) ^ (load_word(secret + np.uint64(8)) - seed))


@_step(_PAIR(_PAIR, types.uint64, types.uint64, types.uint64, types.uint64))
def _mix_two(state: Any, first: Any, second: Any, secret: Any, seed: Any) -> Any:
    """Mix 16 bytes from each of two places."""
    low = state[0] + _mix(first, secret, seed)
    high = state[1] + _mix(second, secret + np.uint64(16), seed)
    low ^= load_word(second) + load_word(second + np.uint64(8))
    high ^= load_word(first) + load_word(first + np.uint64(8))
    return low, high


@_step(_PAIR(_PAIR, types.uint64, types.uint64))
def _finish_mixed(state: Any, length: Any, seed: Any) -> Any:
    low, high = state
    mixed = low * _P1 + high * _P4 + (length - seed) * _P2
    return _avalanche(low + high), np.uint64(0) - _avalanche(mixed)


@_step(_PAIR(types.uint64, types.uint64, types.uint64, types.uint64))
def _hash_17_to_128(at: Any, length: Any, seed: Any, secret: Any) -> Any:
    state = (length * _P1, np.uint64(0))
    for pair in range((length - np.uint64(1)) >> np.uint64(5), 0, -1):  # from the middle outwards
        place = np.uint64(16 * pair)
        end = at + length - place - np.uint64(16)
        state = _mix_two(state, at + place, end, secret + place + place, seed)
    state = _mix_two(state, at, at + length - np.uint64(16), secret, seed)
    return _finish_mixed(state, length, seed)


@njit(_PAIR(types.uint64, types.uint64, types.uint64, types.uint64), nogil=True, cache=True)
def _hash_129_to_240(at: Any, length: Any, seed: Any, secret: Any) -> Any:
    state = (length * _P1, np.uint64(0))
    for place in range(0, 128, 32):
        here = at + np.uint64(place)
        state = _mix_two(state, here, here + np.uint64(16), secret + np.uint64(place), seed)
    state = (_avalanche(state[0]), _avalanche(state[1]))
    for place in range(128, np.int64(length) - 31, 32):
        here = at + np.uint64(place)
        state = _mix_two(state, here, here + np.uint64(16), secret + np.uint64(place - 125), seed)
    end = at + length
    here, other = end - np.uint64(16), end - np.uint64(32)
    state = _mix_two(state, here, other, secret + np.uint64(103), np.uint64(0) - seed)
    return _finish_mixed(state, length, seed)


@_step("uint64(uint64[::1], uint64, uint64)")
def _merge(lanes: Any, secret: Any, start: Any) -> Any:
    for lane in range(0, 8, 2):
        key = secret + np.uint64(8 * lane)
        start += _fold(lanes[lane] ^ load_word(key), lanes[lane + 1] ^ load_word(key + np.uint64(8)))
    return _avalanche(start)


@njit(_PAIR(types.uint64, types.uint64, types.uint64, types.uint64[::1]), nogil=True, cache=True)
def _hash_long(at: Any, length: Any, secret: Any, lanes: Any) -> Any:
    """Hash more than 240 bytes by a secret that was made from the seed."""
    lanes[:] = _START
    state = np.uint64(lanes.ctypes.data)
    for stripe in range((length - np.uint64(1)) >> np.uint64(6)):
        in_block = stripe & np.uint64(15)
        take_stripe(state, at + (stripe << np.uint64(6)), secret + (in_block << np.uint64(3)))
        if in_block == 15:
            for lane in range(8):
                key = load_word(secret + np.uint64(128 + 8 * lane))
                lanes[lane] = (lanes[lane] ^ (lanes[lane] >> np.uint64(47)) ^ key) * _S1
    take_stripe(state, at + length - np.uint64(64), secret + np.uint64(121))
    low = _merge(lanes, secret + np.uint64(11), length * _P1)
    return low, _merge(lanes, secret + np.uint64(117), ~(length * _P2))


@_step(_PAIR(types.uint64, types.uint64, types.uint64, types.uint64))
def _hash_0_to_16(at: Any, length: Any, seed: Any, secret: Any) -> Any:
    if length > np.uint64(8):
        return _hash_9_to_16(at, length, seed, secret)
    if length > np.uint64(3):
        return _hash_4_to_8(at, length, seed, secret)
    if length > np.uint64(0):
        return _hash_1_to_3(at, length, seed, secret)
    low = seed ^ load_word(secret + np.uint64(64)) ^ load_word(secret + np.uint64(72))
    return _spread(low), _spread(seed ^ load_word(secret + np.uint64(80)) ^ load_word(secret + np.uint64(88)))


@_step(_PAIR(types.uint64, types.uint64, types.uint64, types.uint64[::1], types.uint64[::1]))
def _hash_run(at: Any, length: Any, seed: Any, secrets: Any, lanes: Any) -> Any:
    secret = np.uint64(secrets.ctypes.data)
    if length > np.uint64(240):
        return _hash_long(at, length, secret + np.uint64(192), lanes)
    if length > np.uint64(128):
        return _hash_129_to_240(at, length, seed, secret)
    if length > np.uint64(16):
        return _hash_17_to_128(at, length, seed, secret)
    return _hash_0_to_16(at, length, seed, secret)


@njit(types.void(_BYTES, _OFFSETS, types.uint64, types.uint64[::1], _OUT), nogil=True, cache=True)
def _hash_runs(data: Any, offsets: Any, seed: Any, secrets: Any, out: Any) -> None:
    lanes = np.empty(8, np.uint64)
    begin = np.uint64(data.ctypes.data)
    for row in range(len(out)):
        length = np.uint64(offsets[row + 1] - offsets[row])
        at = begin + np.uint64(offsets[row])
        out[row, 0], out[row, 1] = _hash_run(at, length, seed, secrets, lanes)


@njit(types.void(_BYTES, types.int64, types.uint64, types.uint64[::1], _OUT), nogil=True, cache=True)
def _hash_rows(data: Any, width: Any, seed: Any, secrets: Any, out: Any) -> None:
    lanes = np.empty(8, np.uint64)
    at, length = np.uint64(data.ctypes.data), np.uint64(width)
    for row in range(len(out)):
        out[row, 0], out[row, 1] = _hash_run(at, length, seed, secrets, lanes)
        at += length


def _secrets(seed: int) -> Keys:
    """Lay out the secret, and behind it the one made from the seed, for runs of over 240 bytes."""
    plain = _SECRET.view(np.uint64)
    shift = np.uint64(seed)
    made = np.stack([plain[::2] + shift, plain[1::2] - shift], axis=1).reshape(-1)
    return np.concatenate([plain, made])


def hash_runs(data: Bytes, offsets: Offsets, seed: int) -> Keys:
    """Hash runs of bytes; releases the GIL.

    Args:
        data: Where the bytes lie, uint8 of shape [bytes].
        offsets: Where each run begins, then where the last one ends; int64 of shape [n + 1], never falling,
            and never outside of the bytes.
        seed: Of XXH3, 0 to 2**64 - 1.

    Returns:
        The low word of each key, then the high one; uint64 of shape [n, 2].
    """
    out = np.empty((len(offsets) - 1, 2), np.uint64)
    _hash_runs(data, offsets, np.uint64(seed), _secrets(seed), out)
    return out


def hash_rows(rows: NDArray[Any], seed: int) -> Keys:
    """Hash the bytes of each row; releases the GIL.

    Args:
        rows: Of shape [n, ...], of any type of fixed width, in C order.
        seed: Of XXH3, 0 to 2**64 - 1.

    Returns:
        The low word of each key, then the high one; uint64 of shape [n, 2].
    """
    out = np.empty((len(rows), 2), np.uint64)
    data = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
    _hash_rows(data, len(data) // max(len(rows), 1), np.uint64(seed), _secrets(seed), out)
    return out
