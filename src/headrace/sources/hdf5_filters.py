"""The filters of HDF5 chunks, undone outside of the HDF5 library and so without its global lock.

Every decoder is told how many bytes must come out and writes no more than that, so a damaged or
hostile chunk is an error and never a surprise in memory. All of them release Python's lock.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError

Bytes = NDArray[np.uint8]

DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
LZF, BLOSC, LZ4, BITSHUFFLE, ZSTD = 32000, 32001, 32004, 32008, 32015
NAMES = {
    DEFLATE: "deflate",
    SHUFFLE: "shuffle",
    FLETCHER32: "fletcher32",
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    307: "bzip2",
    LZF: "lzf",
    BLOSC: "blosc",
    LZ4: "lz4",
    BITSHUFFLE: "bitshuffle",
    32013: "zfp",
    ZSTD: "zstd",
    32026: "blosc2",
}

_KEEPS_LENGTH = (SHUFFLE, FLETCHER32)  # all others compress
_CHECKSUM_BYTES = 4
_LZ4_HEADER = struct.Struct(">QI")
_BLOCK_HEADER = struct.Struct(">I")
_BLOSC_HEADER = struct.Struct("<BBBBIII")
_BITSHUFFLE_BARE, _BITSHUFFLE_LZ4, _BITSHUFFLE_ZSTD = 0, 2, 3


@dataclass(frozen=True, slots=True)
class Filter:
    """One stage of a data set's filter pipeline.

    Attributes:
        code: The filter's registered number.
        values: Its settings, as the file holds them.
    """

    code: int
    values: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """What errors call it."""
        return NAMES.get(self.code, f"number {self.code}")


def undecodable(filters: Sequence[Filter]) -> tuple[Filter, ...]:
    """Return the filters that this module cannot undo, so that h5py must."""
    compressors = sum(stage.code not in _KEEPS_LENGTH for stage in filters)
    if filters and (compressors > 1 or find_spec("imagecodecs") is None):
        return tuple(filters)
    return tuple(stage for stage in filters if stage.code not in _DECODERS or not _is_known(stage))


Decode = Callable[[Bytes, Bytes], None]
"""Decodes one chunk: the chunk as it lies in the file, and where its plain bytes go."""


def make_decoder(filters: Sequence[Filter], mask: int, nbytes: int) -> Decode:
    """Prepare to undo the filters of chunks of one size.

    Args:
        filters: The pipeline, in the order in which it was applied.
        mask: Bit i is set where filter i was not applied to the chunk.
        nbytes: A chunk's plain bytes.

    Returns:
        A thread-safe function, which raises `CorruptSourceError` for bytes that the filters did
        not write.
    """
    applied = [stage for place, stage in enumerate(filters) if not mask >> place & 1]
    steps: list[tuple[Filter, int | None]] = []
    for place, stage in enumerate(applied):
        # What a compressor wrote has any length; what nothing compressed has that of its values.
        is_plain = all(before.code in _KEEPS_LENGTH for before in applied[:place])
        sums = sum(before.code == FLETCHER32 for before in applied[:place])
        steps.append((stage, nbytes + sums * _CHECKSUM_BYTES if is_plain else None))
    fills_out = bool(applied) and applied[0].code != FLETCHER32

    def decode(stored: Bytes, out: Bytes) -> None:
        data = stored
        for place in range(len(steps) - 1, -1, -1):
            data = _undo(data, *steps[place], out if place == 0 and fills_out else None)
        if not fills_out:
            if len(data) != nbytes:
                raise CorruptSourceError(
                    f"the chunk must hold {nbytes:,} bytes, got {len(data):,}; it is damaged"
                )
            out[:] = data

    return decode


def _undo(data: Bytes, stage: Filter, wanted: int | None, out: Bytes | None) -> Bytes:
    """Undo one filter, into memory of its own where none is given."""
    if wanted is None:
        wanted = max(len(data) - _CHECKSUM_BYTES * (stage.code == FLETCHER32), 0)
    target = np.empty(wanted, np.uint8) if out is None else out
    try:
        data = _DECODERS[stage.code](data, stage, target)
    except CorruptSourceError:
        raise
    except Exception as error:
        raise CorruptSourceError(f"the {stage.name} filter cannot be undone: {error}") from error
    if len(data) != wanted:
        raise CorruptSourceError(
            f"the {stage.name} filter must yield {wanted:,} bytes, got {len(data):,}; it is damaged"
        )
    return data


def _codecs() -> Any:
    import imagecodecs

    return imagecodecs


def _deflate(data: Bytes, stage: Filter, out: Bytes) -> Bytes:
    return _codecs().deflate_decode(data, out=out)


def _shuffle(data: Bytes, stage: Filter, out: Bytes) -> Bytes:
    """Bring the bytes of each value together again; a rest shorter than a value was left alone."""
    width = stage.values[0]
    if len(data) != len(out):
        return data  # of a wrong length, which the caller refuses
    count = len(data) // width
    planes = data[: count * width].reshape(width, count)
    whole = out[: count * width]
    if width == 1 or count <= 1:
        out[:] = data
        return out
    for place in range(width):
        whole[place::width] = planes[place]
    out[count * width :] = data[count * width :]
    return out


def _fletcher32(data: Bytes, stage: Filter, out: Bytes) -> Bytes:
    """Verify the checksum at the end, and cut it off."""
    plain, stored = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if len(stored) < _CHECKSUM_BYTES or not len(plain):
        raise CorruptSourceError("the chunk is too short for its checksum (Fletcher-32); it is damaged")
    found = int(_codecs().h5checksum_fletcher32(np.ascontiguousarray(plain)))
    kept = int.from_bytes(stored.tobytes(), "little")
    # HDF5 1.6.2 and before wrote each half with its bytes swapped; the library accepts both, so must we.
    swapped = (found & 0xFF00FF00) >> 8 | (found & 0x00FF00FF) << 8
    if kept not in (found, swapped):
        raise CorruptSourceError(
            f"the checksum (Fletcher-32) must be {kept:08x}, got {found:08x}; it is damaged"
        )
    return plain


def _lzf(data: Bytes, stage: Filter, out: Bytes) -> Bytes:
    return _codecs().lzf_decode(data, header=False, out=out)


def _zstd(data: Bytes, stage: Filter, out: Bytes) -> Bytes:
    return _codecs().zstd_decode(data, out=out)


def _blosc(data: Bytes, stage: Filter, out: Bytes) -> Bytes:
    if len(data) < _BLOSC_HEADER.size:
        raise CorruptSourceError("the chunk is too short for blosc; it is damaged")
    plain, _, stored = _BLOSC_HEADER.unpack_from(data.data)[4:]
    if plain != len(out) or stored > len(data):
        raise CorruptSourceError(
            f"the blosc filter must yield {len(out):,} bytes from {len(data):,}, but it says "
            f"{plain:,} from {stored:,}; it is damaged"
        )
    return _codecs().blosc_decode(data, numthreads=1, out=out)


def _lz4(data: Bytes, stage: Filter, out: Bytes) -> Bytes:
    plain, size = _read_lz4_header(data, out)
    place = _LZ4_HEADER.size
    for begin in range(0, plain, size):
        place = _lz4_block(data, place, out[begin : begin + size], is_raw_if_equal=True)
    return out


def _bitshuffle(data: Bytes, stage: Filter, out: Bytes) -> Bytes:
    """Undo the compression of each block, then the shuffling of bits within each."""
    width, kind = stage.values[2], _compression(stage)
    block = stage.values[3] if len(stage.values) > 3 else 0
    if kind == _BITSHUFFLE_BARE:
        block = block or _default_block(width)
        return _codecs().bitshuffle_decode(data.data, itemsize=width, blocksize=block, out=out)
    plain, size = _read_lz4_header(data, out)
    if size % (8 * width):
        raise CorruptSourceError(
            f"blocks of bitshuffle must hold a multiple of {8 * width} bytes, got {size}"
        )
    tail = plain % (8 * width)  # what fills no eight values is stored as it is
    shuffled = np.empty(plain, np.uint8)
    place = _LZ4_HEADER.size
    for begin in range(0, plain - tail, size):
        target = shuffled[begin : min(begin + size, plain - tail)]
        place = _lz4_block(data, place, target, is_raw_if_equal=False, decode=_BLOCK_DECODERS[kind])
    if len(data) - place < tail:
        raise CorruptSourceError(f"{tail} bytes are missing at the end of the chunk; it is damaged")
    shuffled[plain - tail :] = data[place : place + tail]
    return _codecs().bitshuffle_decode(shuffled.data, itemsize=width, blocksize=size // width, out=out)


def _read_lz4_header(data: Bytes, out: Bytes) -> tuple[int, int]:
    """Read the sizes of the whole and of a block that lz4 and bitshuffle begin with."""
    if len(data) < _LZ4_HEADER.size:
        raise CorruptSourceError("the chunk is too short for its header; it is damaged")
    plain, size = _LZ4_HEADER.unpack_from(data.data)
    if plain != len(out) or not 0 < size <= 1 << 31:
        raise CorruptSourceError(
            f"the chunk must hold {len(out):,} bytes, but it says {plain:,} in blocks of {size:,}"
        )
    return plain, size


def _lz4_block(
    data: Bytes,
    place: int,
    out: Bytes,
    *,
    is_raw_if_equal: bool,
    decode: Callable[[Bytes, Bytes], Any] | None = None,
) -> int:
    """Decode one block with its length before it, and return where the next one begins."""
    begin = place + _BLOCK_HEADER.size
    if begin > len(data):
        raise CorruptSourceError("the chunk ends before its last block; it is damaged")
    length = _BLOCK_HEADER.unpack_from(data.data, place)[0]
    block = data[begin : begin + length]
    if len(block) != length:
        raise CorruptSourceError("the chunk ends within a block; it is damaged")
    if is_raw_if_equal and length == len(out):
        out[:] = block
    elif len((decode or _decode_lz4)(block, out)) != len(out):
        raise CorruptSourceError("a block yields too few bytes; the chunk is damaged")
    return begin + length


def _decode_lz4(block: Bytes, out: Bytes) -> Any:
    return _codecs().lz4_decode(block, out=out)


def _decode_zstd(block: Bytes, out: Bytes) -> Any:
    return _codecs().zstd_decode(block, out=out)


def _default_block(width: int) -> int:
    """How many values a block of bitshuffle has where the file does not say."""
    return max(8192 // width // 8 * 8, 128)


def _compression(stage: Filter) -> int:
    return stage.values[4] if len(stage.values) > 4 else _BITSHUFFLE_BARE


def _is_known(stage: Filter) -> bool:
    """Whether a filter's settings are among those that can be undone."""
    if stage.code == SHUFFLE:
        return len(stage.values) > 0 and stage.values[0] > 0
    if stage.code == BITSHUFFLE:
        known = (_BITSHUFFLE_BARE, _BITSHUFFLE_LZ4, _BITSHUFFLE_ZSTD)
        return len(stage.values) > 2 and stage.values[2] > 0 and _compression(stage) in known
    return True


_BLOCK_DECODERS = {_BITSHUFFLE_LZ4: _decode_lz4, _BITSHUFFLE_ZSTD: _decode_zstd}
_DECODERS: dict[int, Callable[[Bytes, Filter, Bytes], Bytes]] = {
    DEFLATE: _deflate,
    SHUFFLE: _shuffle,
    FLETCHER32: _fletcher32,
    LZF: _lzf,
    BLOSC: _blosc,
    LZ4: _lz4,
    BITSHUFFLE: _bitshuffle,
    ZSTD: _zstd,
}
