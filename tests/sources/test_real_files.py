"""Real images and real series: each file gives its values or one clear error; the table is golden."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr

HERE = Path(__file__).parents[1]
DATA, GOLDEN = HERE / "data", HERE / "golden" / "real-files.json"
IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
VOWELS = DATA / "japanese-vowels"
SERIES = ("JapaneseVowels_TRAIN.ts", "JapaneseVowels_TEST.ts")
# What is opened, below the folder of the data, and the format by name.
OPENED: tuple[tuple[str, str | None], ...] = (
    *((f"fashion-mnist/{name}", format) for name in ("t10k-*", IMAGES, LABELS) for format in ("idx", None)),
    *((f"japanese-vowels/{name}", format) for name in SERIES for format in (None, "parquet", "hdf5", "idx")),
)


def outcome(name: str, format: str | None) -> dict[str, Any]:
    """Open and read; tell the columns and a digest of the values, or the error up to its remedy."""
    try:
        table = hr.open(DATA / name, format).to_arrow()
    except hr.HeadraceError as error:
        says = str(error).replace(f"{DATA}/", "").split(", which none")[0].split(" (file signature")[0]
        return {"error": type(error).__name__, "says": says}
    columns = {field.name: str(field.type) for field in table.schema}
    values = [
        np.asarray(column.combine_chunks().to_numpy_ndarray())
        if hasattr(column.type, "shape")
        else column.to_numpy()
        for column in table.columns
    ]
    digest = hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest()[:16]
    return {"rows": table.num_rows, "columns": columns, "values": digest}


def outcomes() -> dict[str, dict[str, Any]]:
    return {f"{name} as {format or 'it is'}": outcome(name, format) for name, format in OPENED}


def test_outcomes_are_the_golden_ones() -> None:
    """Every file, as it is and by the name of a format, gives what the table says."""
    assert outcomes() == json.loads(GOLDEN.read_text())


def test_every_file_is_in_the_table() -> None:
    """No data file of the two folders is left out."""
    notes = {"LICENSE", "LICENSE.aeon", "README.md"}
    files = {
        f"{folder}/{path.name}"
        for folder in ("fashion-mnist", "japanese-vowels")
        for path in (DATA / folder).iterdir()
        if path.name not in notes
    }

    assert files <= {name for name, _ in OPENED}


def test_digests_are_those_of_the_bytes() -> None:
    """The golden digests of images and labels are those of the unpacked files behind their headers."""
    table = json.loads(GOLDEN.read_text())
    for name, skip in ((IMAGES, 16), (LABELS, 8)):
        content = gzip.decompress((DATA / "fashion-mnist" / name).read_bytes())[skip:]
        expected = hashlib.sha256(content).hexdigest()[:16]

        assert table[f"fashion-mnist/{name} as idx"]["values"] == expected


def read_series(name: str) -> tuple[list[np.ndarray], list[int]]:
    """Parse a file of series by hand: float64 of shape [12, length], and the speaker."""
    lines = (VOWELS / name).read_text().splitlines()
    parts = [line.split(":") for line in lines[lines.index("@data") + 1 :]]
    series = [np.array([channel.split(",") for channel in channels[:-1]], np.float64) for channels in parts]
    return series, [int(channels[-1]) for channels in parts]


def write_parquet(path: Path, series: list[np.ndarray], labels: list[int]) -> None:
    pq.write_table(pa.table({"series": [one.T.ravel() for one in series], "label": labels}), path)


def write_hdf5(path: Path, series: list[np.ndarray], labels: list[int]) -> None:
    with h5py.File(path, "w") as file:
        column = file.create_dataset("series", (len(series),), h5py.vlen_dtype("f8"))
        for place, one in enumerate(series):
            column[place] = one.T.ravel()
        file["label"] = labels


def write_lmdb(path: Path, series: list[np.ndarray], labels: list[int]) -> None:
    with lmdb.open(str(path), map_size=1 << 22) as environment, environment.begin(write=True) as write:
        for place, (one, label) in enumerate(zip(series, labels, strict=True)):
            write.put(b"series-%05d" % place, one.T.tobytes())
            write.put(b"label-%05d" % place, np.int64(label).tobytes())


LMDB = hr.LmdbOptions(
    fields={"series": "series-{index:05d}", "label": "label-{index:05d}"},
    dtype={"series": "float64", "label": "int64"},
    shape={"series": (-1,), "label": ()},
)


@pytest.mark.parametrize(
    ("write", "options"), [(write_parquet, None), (write_hdf5, None), (write_lmdb, LMDB)]
)
@pytest.mark.parametrize("name", SERIES)
def test_series_of_all_lengths_keep_their_values(tmp_path: Path, name: str, write: Any, options: Any) -> None:
    """Spoken vowels of 7 to 29 frames go through every format that holds lists, bit for bit."""
    series, labels = read_series(name)
    write(tmp_path / "a.data", series, labels)
    table = hr.open(tmp_path / "a.data", options=options).to_arrow()

    assert len({one.shape[1] for one in series}) > 10, "lengths differ"
    assert table["label"].to_pylist() == labels
    for values, one in zip(table["series"].to_pylist(), series, strict=True):
        assert values == one.T.ravel().tolist()


if __name__ == "__main__":  # writes the table anew; look at the difference before you keep it
    GOLDEN.write_text(json.dumps(outcomes(), indent=1) + "\n")
