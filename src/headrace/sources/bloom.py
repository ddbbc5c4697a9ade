"""The Bloom filters of Parquet files: split blocks of 256 bits, filled by XXH64.

A filter tells for certain that a value is not there. Its header is Thrift in the compact protocol;
anything in it that is not what the format promises means that nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence

_SALT = (
    0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31,
)  # fmt: skip
_BLOCK_BYTES = 32
_LARGEST_HEADER = 256
_MOST_BYTES = 1 << 27  # the format's own limit

_MASK = (1 << 64) - 1
_P1, _P2, _P3, _P4, _P5 = (
    0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5,
)  # fmt: skip


class BloomFilter:
    """Tells which values cannot be in a column of a row group.

    Example:
        >>> empty = BloomFilter(bytes(32))
        >>> empty.may_hold(b"anything")
        False
    """

    def __init__(self, bits: bytes) -> None:
        """Keep the bits, a multiple of 32 bytes."""
        self._bits = bits
        self._blocks = len(bits) // _BLOCK_BYTES

    @staticmethod
    def read(path: str, offset: int) -> BloomFilter | None:
        """Read the filter that begins at an offset of a file; None if it is none that is known."""
        try:
            with open(path, "rb") as file:
                file.seek(offset)
                size, begin = _parse_header(file.read(_LARGEST_HEADER))
                if size % _BLOCK_BYTES or not 0 < size <= _MOST_BYTES:
                    return None
                file.seek(offset + begin)
                bits = file.read(size)
        except (OSError, ValueError, IndexError):
            return None
        return BloomFilter(bits) if len(bits) == size else None

    def may_hold(self, value: bytes) -> bool:
        """Tell whether a value, in its plain encoding without a length, may have been put in."""
        hashed = xxh64(value)
        begin = ((hashed >> 32) * self._blocks >> 32) * _BLOCK_BYTES
        key = hashed & 0xFFFFFFFF
        for number, salt in enumerate(_SALT):
            place = begin + 4 * number
            word = int.from_bytes(self._bits[place : place + 4], "little")
            if not word >> ((key * salt & 0xFFFFFFFF) >> 27) & 1:
                return False
        return True


def _parse_header(data: bytes) -> tuple[int, int]:
    """Return how many bytes the bits take, and where they begin.

    The header is a struct of a size and three unions (algorithm, hash, compression), of each of
    which the first and only member, an empty struct, is known.
    """
    place, known = 0, 0
    size = -1
    while (head := data[place]) != 0:
        place += 1
        known += head >> 4
        if head & 15 == 5 and known == 1:  # a whole number of 32 bits
            shift = encoded = 0
            while True:
                encoded |= (data[place] & 127) << shift
                shift += 7
                place += 1
                if data[place - 1] < 128:
                    break
            size = (encoded >> 1) ^ -(encoded & 1)
        elif head & 15 == 12 and known in (2, 3, 4):
            if data[place : place + 3] != b"\x1c\x00\x00":  # the first member, its end, the union's end
                raise ValueError("an algorithm, hash or compression that is not known")
            place += 3
        else:
            raise ValueError("a field that is not known")
    if known != 4 or size < 0:
        raise ValueError("fields are missing")
    return size, place + 1


def xxh64(data: bytes) -> int:
    """Hash bytes by XXH64 with seed 0.

    Example:
        >>> hex(xxh64(b"")), hex(xxh64(b"abc"))
        ('0xef46db3751d8e999', '0x44bc2cf5ad770999')
    """
    whole = len(data) // 32 * 32
    mixed = _stripes(data[:whole]) if whole else _P5
    mixed = (mixed + len(data)) & _MASK
    place = whole
    while place + 8 <= len(data):
        mixed ^= _round(0, int.from_bytes(data[place : place + 8], "little"))
        mixed = (_rotated(mixed, 27) * _P1 + _P4) & _MASK
        place += 8
    if place + 4 <= len(data):
        mixed ^= int.from_bytes(data[place : place + 4], "little") * _P1 & _MASK
        mixed = (_rotated(mixed, 23) * _P2 + _P3) & _MASK
        place += 4
    for byte in data[place:]:
        mixed ^= byte * _P5 & _MASK
        mixed = _rotated(mixed, 11) * _P1 & _MASK
    mixed = (mixed ^ mixed >> 33) * _P2 & _MASK
    mixed = (mixed ^ mixed >> 29) * _P3 & _MASK
    return mixed ^ mixed >> 32


def _stripes(data: bytes) -> int:
    lanes: Sequence[int] = ((_P1 + _P2) & _MASK, _P2, 0, -_P1 & _MASK)
    for place in range(0, len(data), 32):
        words = [int.from_bytes(data[place + 8 * lane : place + 8 * lane + 8], "little") for lane in range(4)]
        lanes = [_round(lane, word) for lane, word in zip(lanes, words, strict=True)]
    mixed = sum(_rotated(lane, turn) for lane, turn in zip(lanes, (1, 7, 12, 18), strict=True)) & _MASK
    for lane in lanes:
        mixed = ((mixed ^ _round(0, lane)) * _P1 + _P4) & _MASK
    return mixed


def _round(lane: int, word: int) -> int:
    return _rotated((lane + word * _P2) & _MASK, 31) * _P1 & _MASK


def _rotated(value: int, turn: int) -> int:
    return (value << turn | value >> (64 - turn)) & _MASK
