"""Damaged LMDB files: whatever bit flips, the answer is values or one clear error."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from limits import limit_memory
from lmdb_files import open_lmdb, write

from headrace.errors import HeadraceError

FLIPS = 150


def _read_flipped(path: str, content: bytes, places: list[int], counts: list[str]) -> None:
    """Read the file once for every flipped bit; leave by another exit code at the first other exception."""
    limit_memory(2 << 30)
    target = Path(path) / "data.mdb"
    for place in places:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        target.write_bytes(flipped)
        answer = _rows_or_error(path)
        assert answer in counts or str(target) in answer, f"bit {place}: {answer}"


def _rows_or_error(path: str) -> str:
    try:
        source = open_lmdb(path, limit=1 << 28)
        return str(sum(source.read(group, source.schema.names).num_rows for group in source.manifest))
    except HeadraceError as error:
        return str(error)


@pytest.mark.parametrize("kind", ["small", "large", "deep", "named"])
def test_flipped_bits_never_end_the_process(tmp_path: Path, kind: str) -> None:
    """Values or one error that names the file, for bits anywhere and above all in the pages' structure."""
    random = np.random.default_rng(5)
    sizes = {"small": (300, 30), "large": (40, 9000), "deep": (4000, 12), "named": (50, 500)}
    count, size = sizes[kind]
    records = {f"{i:05d}".encode(): random.bytes(size) for i in range(count)}
    write(tmp_path / "sound", records, database="only" if kind == "named" else None)
    content = (tmp_path / "sound" / "data.mdb").read_bytes()
    structure = [
        bit
        for page in range(len(content) // 4096)
        for bit in random.integers(page * 4096 * 8, (page * 4096 + 64) * 8, 6).tolist()
    ]
    anywhere = random.integers(0, len(content) * 8, FLIPS).tolist()
    chosen = random.permutation(structure)[:FLIPS].tolist()
    (tmp_path / "flipped").mkdir()

    counts = [str(count)]
    arguments = (str(tmp_path / "flipped"), content, [*chosen, *anywhere], counts)
    child = multiprocessing.get_context("fork").Process(target=_read_flipped, args=arguments)
    child.start()
    child.join(240)

    assert child.exitcode == 0
