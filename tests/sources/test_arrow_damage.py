"""Damaged and hostile Arrow files: one headrace error or all rows, never a signal, never much memory."""

from __future__ import annotations

import multiprocessing
import os
import resource
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from arrow_files import body_of, open_arrow, patch, read, write
from limits import limit_memory

import headrace as hr

FLIPS = 150
TABLE = pa.table(
    {
        "i": pa.array([None, *range(1, 300)]),
        "s": pa.array([f"text {number}" for number in range(300)]),
        "l": pa.array([list(range(number % 5)) for number in range(300)]),
        "v": pa.array([f"view {number}" * (number % 3) for number in range(300)], pa.string_view()),
        "d": pa.array([f"c{number % 7}" for number in range(300)]).dictionary_encode(),
        "t": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((300, 2, 2), np.int16)),
    }
)


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("kept", [0, 1, 7, 8, 0.5, -9, -8, -1])
def test_cut_off_file_is_an_error(tmp_path: Path, kind: str, kept: float) -> None:
    """A file or stream that was cut anywhere is refused when it is opened, by name."""
    path = write(tmp_path / "a.arrow", TABLE, 100, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) if isinstance(kept, float) else kept])

    with pytest.raises(hr.CorruptSourceError, match=r"a\.arrow"):
        hr.open(path, format="arrow")


def test_stream_cut_between_two_messages_is_an_error(tmp_path: Path) -> None:
    """What a stopped writer leaves has no end marker, and is not taken for a whole stream."""
    path = write(tmp_path / "a.arrow", TABLE, 100, "stream")
    last = open_arrow(path).heads[0].batches[-1]
    path.write_bytes(path.read_bytes()[: last.begin])

    with pytest.raises(hr.CorruptSourceError, match=r"a\.arrow: the stream has no end marker"):
        hr.open(path, format="arrow")


def test_file_cut_off_after_opening(tmp_path: Path) -> None:
    """A file that loses its end while it is open is an error, not a signal."""
    path = write(tmp_path / "a.arrow", TABLE)
    source = open_arrow(path)
    os.truncate(path, 500)

    with pytest.raises(hr.ChangedSourceError):
        source.read(source.manifest[0], ["i"])


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("kind", ["file", "stream"])
def test_flipped_bits_never_end_the_process(tmp_path: Path, kind: str, compression: str | None) -> None:
    """All rows or one error that names the file, for bits anywhere and above all outside of the values."""
    random = np.random.default_rng(5)
    path = write(tmp_path / "a.arrow", TABLE, 150, kind, compression)
    content = path.read_bytes()
    heads = [
        place
        for head in open_arrow(path).heads
        for block in (*head.batches, *head.dictionaries)
        for place in range(block.begin, block.begin + block.head)
    ]
    heads += range(len(content) - 1500, len(content)) if kind == "file" else range(1200)
    bits = [int(place) * 8 + int(random.integers(8)) for place in random.choice(heads, FLIPS)]
    bits += random.integers(0, len(content) * 8, FLIPS).tolist()

    child = multiprocessing.get_context("fork").Process(target=_read_flipped, args=(path, content, bits))
    child.start()
    child.join(240)
    assert child.exitcode == 0


def _read_flipped(path: Path, content: bytes, bits: list[int]) -> None:
    limit_memory(2 << 30)
    for bit in bits:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            source = open_arrow(path, 1 << 28)
            for group in source.manifest:
                batch = source.read(group, source.schema.names)
                batch.validate(full=True)
                assert batch.num_rows == group.rows
        except hr.HeadraceError as error:
            assert str(path) in str(error), f"bit {bit}: {error}"


# Hostile values


@pytest.mark.parametrize(("number", "offset"), [(3, 1 << 30), (3, -5), (1, 7), (0, -1)])
def test_offsets_that_lead_elsewhere(tmp_path: Path, number: int, offset: int) -> None:
    """Offsets beyond the text, or that run backwards, are an error with file, row group and column."""
    path = write(tmp_path / "a.arrow", {"s": ["abc", "def", "ghi"]})
    begin, _ = body_of(path)
    patch(path, begin + 4 * number, offset, "<i")

    with pytest.raises(hr.CorruptSourceError, match=r"a\.arrow, row group 0, column `s`: .*ffset"):
        read(path)


def test_text_that_is_no_text(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are an error in a column of text."""
    path = write(tmp_path / "a.arrow", {"s": ["abc"]})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"abc", b"a\xffc"))

    with pytest.raises(hr.CorruptSourceError, match=r"column `s`: .*UTF8"):
        read(path)


def test_codes_outside_of_the_dictionary(tmp_path: Path) -> None:
    """A code that the dictionary has no value for is an error, not foreign memory."""
    path = write(tmp_path / "a.arrow", {"d": pa.array(["a", "b"]).dictionary_encode()})
    begin, _ = body_of(path)
    patch(path, begin, 1 << 20, "<i")

    with pytest.raises(hr.CorruptSourceError, match=r"column `d`: .*(index|indices|bounds)"):
        read(path)


def test_head_that_promises_other_rows(tmp_path: Path) -> None:
    """Rows are compared with what the head of the record batch promises."""
    path = write(tmp_path / "a.arrow", {"x": np.arange(1000)})
    block = open_arrow(path).heads[0].batches[0]
    content = path.read_bytes()
    head = content[block.begin : block.begin + block.head]
    promise = struct.pack("<q", 1000)
    assert head.count(promise) == 2  # of the record batch and of its column
    place = block.begin + head.index(promise)
    for at in (place, block.begin + head.rindex(promise)):
        path.write_bytes(content)
        patch(path, at, 900, "<q")
        with pytest.raises(hr.CorruptSourceError, match=r"a\.arrow, row group 0, column `x`: .* rows holds"):
            read(path)


# Bombs


def memory_of(work: Any) -> int:
    """Run in a child; return how many bytes its largest memory grew by."""
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            work()
        finally:
            sender.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10)
            os._exit(0)
    os.waitpid(child, 0)
    return receiver.recv()


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compression_bomb(tmp_path: Path, compression: str) -> None:
    """A small file that unpacks to gigabytes is refused before it is unpacked."""
    path = write(
        tmp_path / "a.arrow",
        {"x": np.zeros(1 << 25), "y": np.zeros(1 << 25, "b1")},
        None,
        "file",
        compression,
    )
    assert path.stat().st_size < 3e6

    def work() -> None:
        with pytest.raises(
            hr.MemoryLimitError, match=r"a\.arrow, row group 0: .*268,\d+,\d+ \(`x`\).* 50,000,000"
        ):
            hr.open(path, memory_limit="50MB").to_arrow()

    assert memory_of(work) < 40e6
    assert len(hr.open(path, memory_limit="50MB").select(["y"]).to_arrow()) == 1 << 25


def test_compressed_buffer_that_lies(tmp_path: Path) -> None:
    """A buffer that unpacks to other than the promised bytes is an error, whichever is more."""
    for compression in ("lz4", "zstd"):
        for promised in (7992, 8008, 1 << 26, -7):
            path = write(tmp_path / "a.arrow", {"x": np.zeros(1000)}, None, "file", compression)
            begin, _ = body_of(path)
            patch(path, begin, promised, "<q")
            with pytest.raises(hr.CorruptSourceError, match=r"a\.arrow, row group 0, column `x`"):
                read(path)


@pytest.mark.parametrize("kind", ["dictionary", "views"])
def test_text_that_is_stored_once(tmp_path: Path, kind: str) -> None:
    """Text that many rows refer to is charged as often as it appears."""
    text = "x" * (1 << 20)
    codes = pa.array(np.zeros(4000, np.int32))
    column: Any = pa.DictionaryArray.from_arrays(codes, pa.array([text]))
    if kind == "views":
        view = pa.array([text], pa.string_view())
        buffers = view.buffers()
        views = pa.py_buffer(buffers[1].to_pybytes() * 4000)
        column = pa.Array.from_buffers(pa.string_view(), 4000, [None, views, *buffers[2:]])
    path = write(tmp_path / "a.arrow", {"id": np.arange(4000), "v": column})
    assert path.stat().st_size < 2e6

    def work() -> None:
        with pytest.raises(hr.MemoryLimitError, match=r"row group 0: .*4,19\d,\d+,\d+ \(`v`\)"):
            hr.open(path, memory_limit="50MB").to_arrow()

    assert memory_of(work) < 40e6
    assert hr.open(path, memory_limit="50MB").select(["id"]).to_polars().height == 4000


def test_columns_without_bytes_are_charged_for_their_rows(tmp_path: Path) -> None:
    """A column of nulls, which takes no bytes in the file, takes some once it is used."""
    path = write(tmp_path / "a.arrow", {"n": pa.nulls(100_000_000)})

    with pytest.raises(hr.MemoryLimitError, match=r"100,000,000 \(`n`\)"):
        hr.open(path, memory_limit="50MB").to_arrow()


def test_footer_that_lists_a_message_often(tmp_path: Path) -> None:
    """Record batches that overlap are refused, so that a small file is no huge data set."""
    path = tmp_path / "a.arrow"
    large, small = (pa.record_batch({"x": np.arange(rows)}) for rows in (4000, 1))
    with pa.ipc.new_file(path, large.schema) as writer:
        for batch in (large, small, small):
            writer.write_batch(batch)
    first, *others = (
        struct.pack("<qixxxxq", block.begin, block.head, block.body)
        for block in open_arrow(path).heads[0].batches
    )
    content = path.read_bytes()
    for entry in others:
        assert content.count(entry) == 1
        content = content.replace(entry, first)
    path.write_bytes(content)

    with pytest.raises(hr.CorruptSourceError, match=r"a\.arrow: the footer lists messages that overlap"):
        hr.open(path)
