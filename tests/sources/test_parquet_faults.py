"""Parquet shards that are damaged, lie, or change while they are open."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_files import promise_rows, promise_total, rewrite_unseen, write, write_groups

import headrace as hr


def two_groups(path: Path, **options: Any) -> str:
    groups = [pa.table({"a": np.arange(8) + begin, "b": np.arange(8.0) + begin}) for begin in (0, 8)]
    return write_groups(path, groups, **options)


# Files that are cut off or of another format


def test_empty_file(tmp_path: Path) -> None:
    """A file of zero bytes is an error that says so, alone and among others."""
    write(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").touch()

    for path in (tmp_path, tmp_path / "b.parquet"):
        with pytest.raises(hr.CorruptSourceError, match=r"b\.parquet.* empty \(0 bytes\)"):
            hr.open(path)
    with pytest.raises(hr.CorruptSourceError, match=r"b\.parquet.* empty"):
        hr.open(tmp_path, format="parquet")


@pytest.mark.parametrize("keep", [1, 4, 7, 8, 11, 12, 0.5, -1, -8])
def test_truncated_file(tmp_path: Path, keep: float) -> None:
    """A file that is cut off anywhere is an error that names it."""
    path = write(tmp_path / "cut.parquet", {"x": list(range(1000))})
    content = Path(path).read_bytes()
    end = int(len(content) * keep) if keep == 0.5 else int(keep)
    Path(path).write_bytes(content[:end])

    with pytest.raises(hr.CorruptSourceError, match=r"cut\.parquet"):
        hr.open(path)
    with pytest.raises(hr.CorruptSourceError, match=r"cut\.parquet"):
        hr.open(path, format="parquet")


def test_every_byte_of_the_footer_damaged(tmp_path: Path) -> None:
    """A footer with any one byte changed opens with the right number of rows, or is a headrace error."""
    path = write(tmp_path / "x.parquet", {"x": [1, 2, 3], "s": ["a", None, "c"]})
    content = Path(path).read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    outcomes: set[str] = set()
    for place in range(len(content) - 8 - length, len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        Path(path).write_bytes(damaged)
        try:
            ds = hr.open(path, format="parquet", memory_limit="100MB")
            table = ds.to_arrow()
            assert table.num_rows == len(ds)
            outcomes.add("read")
        except hr.HeadraceError as error:
            assert "x.parquet" in str(error)
            outcomes.add("refused")

    assert outcomes == {"read", "refused"}


def test_file_of_another_format(tmp_path: Path) -> None:
    """What is no Parquet file is told by its first bytes, which the error shows."""
    path = tmp_path / "data.parquet"
    path.write_bytes(b"a,b\n1,2\n" * 10)

    with pytest.raises(hr.CorruptSourceError, match=r"data\.parquet.*begins with b'a,b"):
        hr.open(path)
    with pytest.raises(hr.CorruptSourceError, match=r"data\.parquet.*begin and end with b'PAR1'"):
        hr.open(path, format="parquet")


@pytest.mark.parametrize("arguments", [{}, {"format": "parquet"}])
def test_encrypted_file(tmp_path: Path, arguments: dict[str, Any]) -> None:
    """An encrypted file is called that, with what to do."""
    path = write(tmp_path / "secret.parquet")
    content = Path(path).read_bytes()
    Path(path).write_bytes(b"PARE" + content[4:-4] + b"PARE")

    with pytest.raises(hr.CorruptSourceError, match=r"secret\.parquet.*encrypted.*decrypt"):
        hr.open(path, **arguments)


def test_footer_alone_is_encrypted(tmp_path: Path) -> None:
    """A file whose end says that it is encrypted is called that too."""
    path = write(tmp_path / "secret.parquet")
    Path(path).write_bytes(Path(path).read_bytes()[:-4] + b"PARE")

    with pytest.raises(hr.CorruptSourceError, match=r"encrypted"):
        hr.open(path)


def test_column_named_twice(tmp_path: Path) -> None:
    """Two columns of one name cannot be told apart and are refused."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])

    with pytest.raises(hr.CorruptSourceError, match=r"a\.parquet.*unique, got \['x', 'x'\]"):
        hr.open(write(tmp_path / "a.parquet", table))


def test_no_rows_and_no_row_groups(tmp_path: Path) -> None:
    """Empty shards open beside others; a data set of nothing else has no samples and says so in a loader."""
    schema = pa.schema([("x", pa.int64())])
    with pq.ParquetWriter(tmp_path / "none.parquet", schema):
        pass
    write(tmp_path / "zero.parquet", schema.empty_table())
    empty = hr.open(tmp_path)

    assert pq.read_metadata(tmp_path / "none.parquet").num_row_groups == 0
    assert len(empty) == 0
    assert empty.to_polars().schema.names() == ["x"]
    with pytest.raises(hr.OptionError, match="at least one sample"):
        empty.loader(1)

    write(tmp_path / "some.parquet", {"x": [1, 2]})
    ds = hr.open(tmp_path)
    assert ds.to_polars()["x"].to_list() == [1, 2]
    assert [batch["x"].tolist() for batch in ds.loader(2, output="numpy")] == [[1, 2]]


# Contents that are not what the footer says


@pytest.mark.parametrize("promised", [999, 1001, 1500])
def test_footer_that_lies(tmp_path: Path, promised: int) -> None:
    """Rows are compared with what the row group's footer promises, and a difference is never passed on."""
    path = write(tmp_path / "lie.parquet", {"x": list(range(1000))})
    promise_rows(path, 1000, promised)
    ds = hr.open(path)

    assert len(ds) == promised
    with pytest.raises(hr.CorruptSourceError, match=rf"lie\.parquet, row group 0.*promises {promised} rows"):
        ds.to_arrow()
    with pytest.raises(hr.CorruptSourceError, match=r"lie\.parquet, row group 0"):
        list(ds.loader(100, output="numpy"))


@pytest.mark.parametrize("promised", [999, 1001])
def test_footer_that_contradicts_itself(tmp_path: Path, promised: int) -> None:
    """A total that is not the sum of the row groups is refused: of lists nothing else would tell."""
    path = write(tmp_path / "lie.parquet", {"x": [[row, row] for row in range(1000)]})
    promise_total(path, 1000, promised)

    with pytest.raises(hr.CorruptSourceError, match=rf"lie\.parquet: .*counts {promised:,} rows.*1,000"):
        hr.open(path)


def test_footer_that_promises_too_many_lists(tmp_path: Path) -> None:
    """Where values do not tell the rows, what was decoded is counted."""
    path = write(tmp_path / "lie.parquet", {"x": [[row, row] for row in range(1000)]})
    promise_rows(path, 1000, 1500)

    with pytest.raises(
        hr.CorruptSourceError, match=r"lie\.parquet, row group 0: .*promises 1500 rows, but 1000 were decoded"
    ):
        hr.open(path).to_arrow()


def test_checksums_find_a_flipped_bit(tmp_path: Path) -> None:
    """A bit flipped in a page is found where pages have checksums; the error names row group and column."""
    path = two_groups(
        tmp_path / "x.parquet", write_page_checksum=True, compression="none", use_dictionary=False
    )
    chunk = pq.read_metadata(path).row_group(1).column(1)
    content = bytearray(Path(path).read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size - 4] ^= 1  # in the last value
    Path(path).write_bytes(content)
    ds = hr.open(path)

    assert ds.select(["a"]).to_polars()["a"].to_list() == list(range(16))
    with pytest.raises(hr.CorruptSourceError, match=r"x\.parquet, row group 1, column `b`: .*CRC") as caught:
        ds.to_arrow()
    assert isinstance(caught.value.__cause__, Exception)
    with pytest.raises(hr.CorruptSourceError, match=r"x\.parquet, row group 1, column `b`: .*CRC"):
        list(ds.loader(4, shuffle=True, output="numpy"))

    unverified = hr.open(path, options=hr.ParquetOptions(verify_checksums=False)).to_polars()["b"]
    assert (unverified != np.arange(16.0)).sum() == 1


@pytest.mark.parametrize("page", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_notes_say_what_has_no_checksum(tmp_path: Path, page: str, dictionary: bool) -> None:
    """`explain` says so when pages have no checksums or when they are not verified, and only then."""
    settings = {"data_page_version": page, "use_dictionary": dictionary}
    with_checksums = write(tmp_path / "a.parquet", write_page_checksum=True, **settings)
    without = write(tmp_path / "b.parquet", **settings)

    def advice(path: str, **options: Any) -> str:
        ds = hr.open(path, options=hr.ParquetOptions(**options))
        return "; ".join(ds.loader(2, output="numpy").explain().advice)

    assert "checksum" not in advice(with_checksums)
    assert "`verify_checksums=False` leaves out page checksums" in advice(
        with_checksums, verify_checksums=False
    )
    assert re.search(r"b\.parquet have no checksums; .*headrace info --hash", advice(without))


def test_damaged_page_names_its_column(tmp_path: Path) -> None:
    """Bytes that cannot be decoded are an error with file, row group and column."""
    path = two_groups(tmp_path / "x.parquet", compression="zstd", use_dictionary=False)
    chunk = pq.read_metadata(path).row_group(1).column(0)
    content = bytearray(Path(path).read_bytes())
    content[chunk.data_page_offset : chunk.data_page_offset + 12] = b"\xff" * 12
    Path(path).write_bytes(content)
    ds = hr.open(path)

    with pytest.raises(
        hr.CorruptSourceError, match=r"x\.parquet, row group 1, column `a`: cannot be decoded"
    ):
        ds.to_arrow()
    assert ds.select(["b"]).to_polars()["b"].to_list() == list(range(16))


# Shards that change after they were opened


def replace(path: str, content: bytes) -> None:
    Path(path + ".new").write_bytes(content)
    os.replace(path + ".new", path)


def overwrite(path: str, content: bytes) -> None:
    rewrite_unseen(path, content)
    os.utime(path)


CHANGES = {"replaced": replace, "rewritten": overwrite, "same size and time": rewrite_unseen}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_change_between_opening_and_reading(tmp_path: Path, change: Any) -> None:
    """A shard that changed after opening is refused by the data set that was opened before."""
    path = write(tmp_path / "x.parquet", {"x": [1, 2, 3]}, write_statistics=False)
    other = write(tmp_path / "other" / "x.parquet", {"x": [3, 2, 1]}, write_statistics=False)
    ds, content = hr.open(path), Path(other).read_bytes()
    assert len(content) == os.path.getsize(path)
    change(path, content)

    with pytest.raises(hr.ChangedSourceError, match=r"x\.parquet: .*open the data set again"):
        ds.to_arrow()
    assert hr.open(path).to_polars()["x"].to_list() == [3, 2, 1]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("threads", [0, 2])
def test_change_in_mid_epoch(tmp_path: Path, change: Any, threads: int) -> None:
    """A shard that changes while a loader reads it is an error, and none of the new rows are delivered."""
    old = [pa.table({"x": np.arange(8) + begin}) for begin in range(0, 320, 8)]
    new = [pa.table({"x": -1 - np.arange(8) - begin}) for begin in range(0, 320, 8)]
    path = write_groups(tmp_path / "x.parquet", old)
    content = Path(write_groups(tmp_path / "other" / "x.parquet", new)).read_bytes()
    loader = hr.open(path).loader(8, output="numpy", threads=threads)
    seen: list[int] = []

    def consume() -> None:
        for step, batch in enumerate(loader):
            seen.extend(batch["x"].tolist())
            if step == 2:
                change(path, content)

    with pytest.raises(hr.ChangedSourceError, match=r"x\.parquet"):
        consume()
    assert seen == list(range(len(seen)))
    assert 24 <= len(seen) < 320


def test_deleted_shard(tmp_path: Path) -> None:
    """A shard that is deleted after opening is an error that names it."""
    path = write(tmp_path / "x.parquet")
    ds = hr.open(path)
    os.remove(path)

    with pytest.raises(hr.MissingSourceError, match=r"x\.parquet: no such file"):
        ds.to_arrow()


def test_folder_in_the_place_of_a_shard(tmp_path: Path) -> None:
    """A shard that became a folder is an error that names it."""
    path = write(tmp_path / "x.parquet")
    ds = hr.open(path)
    os.remove(path)
    os.mkdir(path)

    with pytest.raises(hr.SourceError, match=r"x\.parquet"):
        ds.to_arrow()


def test_rewrite_is_another_data_set(tmp_path: Path) -> None:
    """Opening anew sees a rewrite in place, even of equal size, time and footer, and refuses old states."""
    plain = {"write_statistics": False, "compression": "none", "use_dictionary": False}
    path = write(tmp_path / "x.parquet", {"x": [1, 2, 3, 4]}, **plain)
    before = hr.open(path)
    loader = before.loader(2, output="numpy")
    next(iter(loader))
    other = write(tmp_path / "other" / "x.parquet", {"x": [4, 3, 2, 1]}, **plain)
    footers = [pq.read_metadata(name).to_dict() for name in (path, other)]
    assert footers[0] == footers[1]
    rewrite_unseen(path, Path(other).read_bytes())
    after = hr.open(path)

    assert after.fingerprint != before.fingerprint
    with pytest.raises(hr.StateError, match="data"):
        after.loader(2, output="numpy").load_state_dict(loader.state_dict())


def test_move_is_the_same_data_set(tmp_path: Path) -> None:
    """Moving and copying shards does not change the fingerprint; other contents or another order do."""
    a, b = write(tmp_path / "a.parquet", {"x": [1]}), write(tmp_path / "b.parquet", {"x": [2]})
    before = hr.open([a, b]).fingerprint
    os.makedirs(tmp_path / "elsewhere")
    for name in (a, b):
        os.replace(name, tmp_path / "elsewhere" / os.path.basename(name))

    assert hr.open(tmp_path / "elsewhere").fingerprint == before
    assert hr.open(sorted((tmp_path / "elsewhere").iterdir(), reverse=True)).fingerprint != before
