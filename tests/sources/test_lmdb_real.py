"""LMDB environments that other projects wrote: right values, or one clear error; the table is golden."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from lmdb_files import open_lmdb, rows
from PIL import Image

from headrace.errors import HeadraceError, UndecodableError

FOLDER = Path(__file__).parents[1] / "data" / "lmdb-real"
GOLDEN = Path(__file__).parents[1] / "golden" / "lmdb-real.json"
FIELDS = {"image": "image-{index:09d}", "label": "label-{index:09d}"}
READS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "images": {"decode": "image"},
    "images alone": {"decode": "image", "exclude": ["label-*"]},
    "json": {"decode": "json"},
    "image and label": {"fields": FIELDS, "decode": {"label": "text"}},
    "decoded image and label": {"fields": FIELDS, "decode": {"image": "image", "label": "text"}},
    "labels by number": {"fields": {"label": FIELDS["label"]}, "decode": "json"},
}


def outcome(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Read one environment: its columns and a digest of its values, or the error."""
    try:
        source = open_lmdb(FOLDER / name, **options)
        values = rows(source)
    except HeadraceError as error:
        return {"error": type(error).__name__, "message": str(error).replace(f"{FOLDER}/", "")}
    columns = {field.name: str(field.type) for field in source.schema}
    digest = hashlib.sha256(repr(values).encode()).hexdigest()[:16]
    return {"columns": columns, "samples": len(values), "values": digest}


def test_outcomes_are_the_golden_ones() -> None:
    """Every environment, read in every way, gives what the table says."""
    names = sorted(path.name for path in FOLDER.glob("*.lmdb"))
    table = {name: {read: outcome(name, options) for read, options in READS.items()} for name in names}

    assert table == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("name", ["broken", "demo", "imgs", "label"])
def test_records_are_those_of_the_library(name: str) -> None:
    """Keys and values equal what the library reads, the counter aside."""
    path = FOLDER / f"{name}.lmdb"
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        expected = [
            {"key": key, "value": value} for key, value in transaction.cursor() if key != b"num-samples"
        ]

    assert rows(open_lmdb(path)) == expected


def test_pictures_are_those_of_pillow() -> None:
    """The picture of a baboon has its pixels."""
    source = open_lmdb(FOLDER / "demo.lmdb", decode="image")
    picture = rows(open_lmdb(FOLDER / "demo.lmdb"))[0]["value"]
    expected = np.asarray(Image.open(io.BytesIO(picture)))

    assert np.array_equal(source.take([0], ["value"])["value"][0], expected)


def test_cut_picture_is_one_sample() -> None:
    """The one sample whose JPEG is cut short is named by its key; its label can be read."""
    source = open_lmdb(
        FOLDER / "broken.lmdb",
        fields=FIELDS,
        decode={"image": "image", "label": "text"},
        shape={"image": (26, 67, 3)},
    )

    with pytest.raises(
        UndecodableError, match=r"broken.lmdb/data.mdb, row group 0, key `image-000000001`"
    ) as caught:
        source.read(source.manifest[0], ["image"])
    assert caught.value.rows == (0,)
    assert source.read(source.manifest[0], ["label"]).to_pylist() == [{"label": "broken"}]
