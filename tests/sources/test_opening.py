"""What `hr.open` finds under a name: files, lists, globs, folders, partitions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from parquet_files import write

import headrace as hr


def values(paths: Any) -> list[Any]:
    return hr.open(paths).to_polars()["x"].to_list()


def test_single_file(tmp_path: Path) -> None:
    """A file opens by its name as a text and as a path."""
    path = write(tmp_path / "a.parquet", {"x": [1, 2]})

    assert values(path) == [1, 2]
    assert values(Path(path)) == [1, 2]


def test_list_keeps_its_order(tmp_path: Path) -> None:
    """A list of files is read in the order given."""
    paths = [write(tmp_path / f"{name}.parquet", {"x": [name]}) for name in "bac"]

    assert values(paths) == ["b", "a", "c"]
    assert values(tuple(reversed(paths))) == ["c", "a", "b"]


def test_folder_is_sorted_naturally(tmp_path: Path) -> None:
    """Numbers in names count as numbers, in folders and globs."""
    for number in (10, 2, 1, 100):
        write(tmp_path / f"part-{number}.parquet", {"x": [number]})

    assert values(tmp_path) == [1, 2, 10, 100]
    assert values(str(tmp_path / "part-*.parquet")) == [1, 2, 10, 100]


def test_odd_digits_in_names(tmp_path: Path) -> None:
    """Digits that are no decimal numbers are sorted as text."""
    write(tmp_path / "m².parquet", {"x": [2]})
    write(tmp_path / "m1.parquet", {"x": [1]})

    assert values(tmp_path) == [1, 2]


def test_nested_folders(tmp_path: Path) -> None:
    """Files of all folders below are found, links to folders followed, circles left out."""
    write(tmp_path / "data" / "a" / "1.parquet", {"x": [1]})
    write(tmp_path / "data" / "b" / "c" / "2.parquet", {"x": [2]})
    write(tmp_path / "elsewhere" / "3.parquet", {"x": [3]})
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "circle").symlink_to(tmp_path / "data")

    assert values(tmp_path / "data") == [1, 2, 3]


@pytest.mark.parametrize("pattern", ["**/*.parquet", "**", "*/**/*.parquet", "*", "[ab]"])
def test_globs(tmp_path: Path, pattern: str) -> None:
    """A glob finds files and folders, at any depth with `**`, and each file once."""
    write(tmp_path / "a" / "1.parquet", {"x": [1]})
    write(tmp_path / "b" / "c" / "2.parquet", {"x": [2]})

    assert values(str(tmp_path / pattern)) == [1, 2]


def test_bookkeeping_is_passed_over(tmp_path: Path) -> None:
    """What other tools leave beside shards is no data, in folders and under any glob."""
    write(tmp_path / "part.parquet", {"x": [1]})
    for name in ("_SUCCESS", "_metadata", ".part.parquet.crc", ".hidden/p.parquet", "_temporary/0/p.parquet"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no data")

    assert values(tmp_path) == [1]
    assert values(str(tmp_path / "**" / "*")) == [1]
    assert values(str(tmp_path / "**" / "*.parquet")) == [1]
    assert values(str(tmp_path / "*")) == [1]


def test_hidden_file_by_its_name(tmp_path: Path) -> None:
    """Who names a hidden file or folder means it."""
    path = write(tmp_path / "_old" / ".x.parquet", {"x": [1]})

    assert values(path) == [1]
    write(tmp_path / "_old" / "y.parquet", {"x": [2]})
    assert values(tmp_path / "_old") == [2]
    assert values(str(tmp_path / "_old" / "*.parquet")) == [2]


def test_name_with_magic_characters(tmp_path: Path) -> None:
    """A file whose name looks like a pattern opens by that name."""
    assert values(write(tmp_path / "a[1]*.parquet", {"x": [1]})) == [1]


def test_partitions_become_columns(tmp_path: Path) -> None:
    """`key=value` folders give columns: whole numbers as int64, all else as text, null where it says so."""
    write(tmp_path / "year=2013" / "city=S%C3%A3o%20Paulo" / "p.parquet", {"x": [1, 2]})
    write(tmp_path / "year=2014" / "city=__HIVE_DEFAULT_PARTITION__" / "p.parquet", {"x": [3]})

    ds = hr.open(tmp_path)

    assert ds.schema.field("year").type == pa.int64()
    assert ds.to_polars().to_dict(as_series=False) == {
        "x": [1, 2, 3],
        "year": [2013, 2013, 2014],
        "city": ["São Paulo", "São Paulo", None],
    }
    assert ds.select(["year"]).to_polars()["year"].to_list() == [2013, 2013, 2014]


def test_null_partition_of_numbers(tmp_path: Path) -> None:
    """A null beside whole numbers stays an integer column."""
    write(tmp_path / "k=7" / "p.parquet", {"x": [1]})
    write(tmp_path / "k=__HIVE_DEFAULT_PARTITION__" / "p.parquet", {"x": [2]})

    assert hr.open(tmp_path).to_polars()["k"].to_list() == [7, None]


def test_partition_numbers_that_fit_no_integer(tmp_path: Path) -> None:
    """Values that no int64 holds, or that mix with text, stay text."""
    write(tmp_path / f"big={10**20}" / "mixed=1" / "p.parquet", {"x": [1]})
    write(tmp_path / "big=5" / "mixed=one" / "p.parquet", {"x": [2]})

    rows = hr.open(tmp_path).to_polars().sort("x")

    assert rows["big"].to_list() == [str(10**20), "5"]
    assert rows["mixed"].to_list() == ["1", "one"]


@pytest.mark.parametrize("how", ["folder", "glob", "list", "file"])
def test_partitions_do_not_depend_on_how_shards_are_named(tmp_path: Path, how: str) -> None:
    """A shard has the same columns, whether named by folder, glob, list or by itself."""
    path = write(tmp_path / "k=1" / "p.parquet", {"x": [1]})
    names: dict[str, Any] = {"folder": tmp_path, "glob": f"{tmp_path}/k=*/*", "list": [path], "file": path}

    assert hr.open(names[how]).to_polars().to_dict(as_series=False) == {"x": [1], "k": [1]}


def test_partition_key_that_is_also_stored(tmp_path: Path) -> None:
    """A column that lies in the files is read from there."""
    write(tmp_path / "x=1" / "p.parquet", {"x": [10, 11]})
    write(tmp_path / "x=2" / "p.parquet", {"x": [20]})

    assert values(tmp_path) == [10, 11, 20]
    assert hr.open(tmp_path).schema.names == ["x"]


def test_partition_fills_what_some_shards_lack(tmp_path: Path) -> None:
    """A stored column that a shard lacks is filled from its folder, if that says a value of the type."""
    write(tmp_path / "x=1.5" / "p.parquet", {"x": [10.0], "y": [0]})
    write(tmp_path / "x=2.5" / "p.parquet", {"y": [1]})
    options = hr.ParquetOptions(on_schema_change="fill")

    assert hr.open(tmp_path, options=options).to_polars()["x"].to_list() == [10.0, 2.5]

    write(tmp_path / "x=many" / "p.parquet", {"y": [2]})
    with pytest.raises(hr.SchemaError, match=r"x=many.*column `x`.*'many'"):
        hr.open(tmp_path, options=options).to_polars()


def test_partitions_that_differ_between_shards(tmp_path: Path) -> None:
    """Shards below different keys do not fit together; the error names one of each."""
    write(tmp_path / "k=1" / "a.parquet")
    write(tmp_path / "j=1" / "b.parquet")

    with pytest.raises(hr.SchemaError, match=r"same `key=value` folders.*a\.parquet"):
        hr.open(tmp_path)


def test_file_named_twice(tmp_path: Path) -> None:
    """A file named twice is refused under any spelling, with what to do instead."""
    path = write(tmp_path / "a.parquet")

    for second in (path, f"{tmp_path}/./a.parquet", str(tmp_path / "*.parquet")):
        with pytest.raises(hr.OptionError, match=r"a\.parquet is named twice; .*`rows`"):
            hr.open([path, second])


def test_foreign_file_beside_shards(tmp_path: Path) -> None:
    """A README beside shards is named, and the remedy is a glob or the format."""
    write(tmp_path / "a.parquet")
    (tmp_path / "README.md").write_text("# Data")

    with pytest.raises(hr.SourceError, match=r"1 of 2 are no Parquet files: .*README\.md; .*\*\.parquet"):
        hr.open(tmp_path)
    assert values(str(tmp_path / "*.parquet")) == [1, 2, 3]
    assert hr.open(tmp_path, format="parquet").to_polars()["x"].to_list() == [1, 2, 3]


def test_nothing_there(tmp_path: Path) -> None:
    """An empty folder, a missing file, an empty list and a glob without matches are named in errors."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "_SUCCESS").touch()

    for name in ("empty", "missing.parquet", "missing-*.parquet", "empty/*"):
        with pytest.raises(hr.MissingSourceError, match=name.replace("*", r"\*")) as caught:
            hr.open(tmp_path / name)
        assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(hr.MissingSourceError, match="empty list"):
        hr.open([])


def test_dangling_link(tmp_path: Path) -> None:
    """A link whose file is gone is an error that names it, alone and in a folder."""
    write(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").symlink_to(tmp_path / "gone.parquet")

    for path in (tmp_path, tmp_path / "b.parquet"):
        with pytest.raises(hr.SourceError, match=r"b\.parquet"):
            hr.open(path)


def test_folder_that_ends_like_a_file(tmp_path: Path) -> None:
    """A folder under a file's name is a folder of shards."""
    write(tmp_path / "set.parquet" / "part-0.parquet", {"x": [5]})

    assert values(tmp_path / "set.parquet") == [5]
    assert values(str(tmp_path / "*.parquet")) == [5]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_instead_of_a_file(tmp_path: Path) -> None:
    """A named pipe among the shards is refused and never waited for."""
    write(tmp_path / "a.parquet")
    os.mkfifo(tmp_path / "b.parquet")

    with pytest.raises(hr.SourceError, match=r"b\.parquet"):
        hr.open(tmp_path)


@pytest.mark.parametrize("paths", [3, None, b"a.parquet", ["a.parquet", 3], {"a": 1}, "", "a\0b"])
def test_what_is_no_path(paths: Any) -> None:
    """Anything but texts and paths is refused as an option."""
    with pytest.raises(hr.OptionError):
        hr.open(paths)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "xls"}, "`format` must be one of"),
        ({"options": {"verify": True}}, "ParquetOptions"),
        ({"columns": ["xx"]}, "did you mean `x`"),
        ({"memory_limit": "much"}, '"512MiB"'),
        ({"memory_limit": 0}, "positive number"),
        ({"memory_limit": "9" * 400 + "GB"}, "positive number"),
    ],
)
def test_options_that_cannot_be_right(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    """An unknown format, foreign options, columns that are not there and odd sizes are refused."""
    path = write(tmp_path / "a.parquet")

    with pytest.raises(hr.HeadraceError, match=message):
        hr.open(path, **arguments)


def test_unknown_schema_option() -> None:
    """What to do on a change of schema is one of three words."""
    with pytest.raises(hr.OptionError, match='"error", "fill" or "cast", got \'ignore\''):
        hr.ParquetOptions(on_schema_change="ignore")  # type: ignore[arg-type]


def test_columns_are_narrowed_at_opening(tmp_path: Path) -> None:
    """`columns` names what is wanted, in the order wanted."""
    path = write(tmp_path / "a.parquet", {"x": [1], "y": [2], "z": [3]})

    assert hr.open(path, columns=["z", "x"]).to_polars().equals(pl.DataFrame({"z": [3], "x": [1]}))
    assert hr.open(path, columns=["y"]).recipe.columns == ("y",)
