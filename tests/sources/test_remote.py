"""Shards in an S3 server on loopback: each sample once, few bytes, one clear error."""

from __future__ import annotations

import pickle
import time
import traceback
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from remote_servers import SECRET, SILENT, Fault, Request, Store, in_the_middle
from torch.utils.data import DataLoader

import headrace as hr
from headrace.sources.base import Source
from headrace.testing import SourceTests

GROUPS, GROUP_ROWS, SHARDS = 3, 1500, 4
ROWS = GROUPS * GROUP_ROWS * SHARDS
COLUMNS = "abcdefgh"


def table() -> pa.Table:
    values = np.random.default_rng(0)
    columns: dict[str, Any] = {name: values.normal(size=ROWS) for name in COLUMNS}
    return pa.table(
        {"id": np.arange(ROWS), **columns, "text": [f"sample {number}" for number in range(ROWS)]}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four Parquet shards of three row groups."""
    place = tmp_path_factory.mktemp("shards")
    for shard in range(SHARDS):
        part = table().slice(shard * GROUPS * GROUP_ROWS, GROUPS * GROUP_ROWS)
        pq.write_table(part, place / f"part-{shard}.parquet", row_group_size=GROUP_ROWS)
    return place


@pytest.fixture(scope="module")
def uploaded(running_store: Store, folder: Path) -> str:
    running_store.put(folder, "shards")
    return "s3://data/shards"


def needed(folder: Path, columns: list[str]) -> int:
    """Bytes of the wanted column chunks and of the footers, as pyarrow tells them."""
    total = 0
    for path in sorted(folder.iterdir()):
        metadata = pq.read_metadata(path)
        total += metadata.serialized_size + 8
        for group in range(metadata.num_row_groups):
            chunks = [metadata.row_group(group).column(leaf) for leaf in range(metadata.num_columns)]
            total += sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema in columns)
    return total


def fetched(store: Store) -> int:
    """Bytes that came over, the listing's aside."""
    listing = sum(request.length for request in store.proxy.requests if request.status == 200)
    return store.proxy.sent - listing


def batches(dataset: hr.Dataset, **settings: Any) -> list[dict[str, list[Any]]]:
    loader = dataset.loader(257, shuffle=True, seed=3, output="numpy", with_ids=True, **settings)
    return [{name: np.asarray(column).tolist() for name, column in batch.items()} for batch in loader]


def once(fault: int) -> Fault:
    """Break every request when it is seen for the first time."""
    seen: set[tuple[str, str, int | None]] = set()

    def break_first(request: Request) -> int | None:
        is_new = (request.method, request.target, request.begin) not in seen
        seen.add((request.method, request.target, request.begin))
        return fault if is_new else None

    return break_first


class TestParquetInS3(SourceTests):
    """Parquet shards, of which column chunks are fetched."""

    @pytest.fixture
    def expected(self) -> pa.Table:
        return table()

    @pytest.fixture
    def source(self, store: Store, uploaded: str) -> Source:
        return hr.open(uploaded, storage_options=store.direct).recipe.source


class TestHdf5InS3(SourceTests):
    """HDF5 shards, which are fetched whole."""

    @pytest.fixture
    def expected(self) -> pa.Table:
        return pa.table({"x": np.arange(9000), "y": np.arange(9000) * 0.5})

    @pytest.fixture
    def source(self, store: Store, expected: pa.Table, tmp_path: Path) -> Source:
        for shard in range(3):
            with h5py.File(tmp_path / f"{shard}.h5", "w") as file:
                for name in "xy":
                    column = expected[name].to_numpy()[shard * 3000 : shard * 3000 + 3000]
                    file.create_dataset(name, data=column, chunks=(1000,), compression="gzip")
        store.put(tmp_path, "hdf5")
        return hr.open("s3://data/hdf5", storage_options=store.direct).recipe.source


@pytest.mark.parametrize(
    "columns", [table().column_names, ["id", "b", "g"], ["text"]], ids=["all", "some", "one"]
)
def test_epoch_fetches_what_it_needs(store: Store, uploaded: str, folder: Path, columns: list[str]) -> None:
    """An epoch equals the local one, and fetches at most 1.2 times the bytes of column chunks and footers."""
    found = batches(hr.open(uploaded, columns=columns, storage_options=store.options))

    assert found == batches(hr.open(folder, columns=columns))
    assert fetched(store) <= 1.2 * needed(folder, columns)


@pytest.mark.parametrize(
    ("fault", "columns"),
    [
        (in_the_middle, table().column_names),
        (in_the_middle, ["id", "b", "g"]),
        (once(SILENT), ["id", "b", "g"]),
        (once(-503), ["id", "b", "g"]),
    ],
    ids=["all columns, broken in the middle", "broken in the middle", "silent at first", "refused at first"],
)
def test_epoch_with_faults_gives_each_sample_once(
    store: Store, uploaded: str, folder: Path, fault: Fault, columns: list[str]
) -> None:
    """With a fault at every read, an epoch equals the local one, from at most 1.2 times the bytes."""
    store.proxy.reset(fault)
    found = batches(hr.open(uploaded, columns=columns, storage_options=store.options))

    assert found == batches(hr.open(folder, columns=columns))
    assert sorted(number for batch in found for number in batch["sample_id"]) == list(range(ROWS))
    assert store.proxy.broken > SHARDS * GROUPS
    assert fetched(store) <= 1.2 * needed(folder, columns)


def test_near_columns_come_by_one_request(store: Store, uploaded: str) -> None:
    """All columns of a row group lie together, so that one request fetches them."""
    dataset = hr.open(uploaded, format="parquet", storage_options=store.options)
    store.proxy.reset()
    dataset.to_arrow()

    assert len(store.proxy.requests) == GROUPS * SHARDS


def test_opening_reads_footers_alone(store: Store, uploaded: str, folder: Path) -> None:
    """Besides the listing, opening asks for first bytes and footers, once for each shard."""
    hr.open(uploaded, storage_options=store.options)
    reads = [request for request in store.proxy.requests if request.status == 206]

    assert len(reads) == 2 * SHARDS
    assert sum(request.length for request in reads) < 0.2 * needed(folder, table().column_names)


def test_fingerprint_is_that_of_local_files(store: Store, uploaded: str, folder: Path) -> None:
    """A data set is the same wherever it lies, so a state saved on a local disk goes on over S3."""
    remote, local = hr.open(uploaded, storage_options=store.options), hr.open(folder)
    loader = local.loader(100, shuffle=True, seed=1, output="numpy")
    next(iter(loader))
    resumed = remote.loader(100, shuffle=True, seed=1, output="numpy")
    resumed.load_state_dict(loader.state_dict())

    assert remote.fingerprint == local.fingerprint
    assert next(iter(resumed))["id"].tolist() == loader.batch(1)["id"].tolist()


def test_shard_replaced_in_mid_epoch(store: Store, folder: Path) -> None:
    """A shard that is replaced is an error that names it, never a mixture of two versions."""
    store.put(folder, "replaced")
    dataset = hr.open("s3://data/replaced", storage_options=store.direct)
    stream = iter(dataset.loader(100, output="numpy", threads=0, ahead=0))
    next(stream)
    for shard in range(SHARDS):
        store.put(folder / f"part-{(shard + 1) % SHARDS}.parquet", f"replaced/part-{shard}.parquet")

    with pytest.raises(hr.ChangedSourceError, match=r"s3://data/replaced/part-\d\.parquet"):
        list(stream)


def test_shard_that_was_cut_off(store: Store, folder: Path, tmp_path: Path) -> None:
    """A shard that is shorter now is a changed one."""
    store.put(folder / "part-0.parquet", "short.parquet")
    dataset = hr.open("s3://data/short.parquet", storage_options=store.direct)
    (tmp_path / "x").write_bytes(b"PAR1")
    store.put(tmp_path / "x", "short.parquet")

    with pytest.raises(hr.ChangedSourceError, match=r"s3://data/short\.parquet"):
        dataset.to_arrow()


def test_shard_that_is_gone(store: Store, folder: Path) -> None:
    """A shard that was deleted is missing, at once."""
    store.put(folder / "part-0.parquet", "gone.parquet")
    dataset = hr.open("s3://data/gone.parquet", storage_options=store.options)
    store.proxy.reset(lambda request: -404)

    with pytest.raises(hr.MissingSourceError, match=r"s3://data/gone\.parquet"):
        dataset.to_arrow()
    assert len(store.proxy.requests) <= GROUPS  # threads may read several row groups at once


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://no-such-bucket/x", "no such file"),
        ("s3://data/no-such-key", "no such file"),
        ("s3://data/no-such-folder/*.parquet", "matches no file"),
        ("s3://data/shards/*.csv", "matches no file"),
    ],
)
def test_nothing_lies_there(store: Store, uploaded: str, url: str, message: str) -> None:
    """What does not exist is one error that names the URL."""
    with pytest.raises(hr.MissingSourceError, match=message) as caught:
        hr.open(url, storage_options=store.direct)

    assert url in str(caught.value)


def test_server_that_is_down(store: Store, uploaded: str) -> None:
    """Without a server there is one error, after the retries and not much later."""
    begin = time.monotonic()
    with pytest.raises(hr.SourceError, match=r"s3://data/shards: cannot be read \(3 times\)"):
        hr.open(uploaded, retries=2, storage_options={**store.direct, "endpoint_url": "http://127.0.0.1:9"})

    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_retries_are_as_many_as_asked(store: Store, uploaded: str, retries: int) -> None:
    """A request that always fails is made once, and once more for every retry."""
    dataset = hr.open(f"{uploaded}/part-0.parquet", retries=retries, storage_options=store.options)
    store.proxy.reset(lambda request: -500)
    with pytest.raises(hr.SourceError, match="part-0"):
        dataset.head(1)

    assert len(store.proxy.requests) == 1 + retries


@pytest.mark.parametrize("status", [403, 401])
def test_refused_access_shows_no_secret(store: Store, uploaded: str, status: int) -> None:
    """Refused credentials are one error without a retry, and appear in no text, whole traceback included."""
    store.proxy.reset(lambda request: -status)
    with pytest.raises(hr.SourceError, match=r"access is refused|cannot be read") as caught:
        hr.open(uploaded, storage_options=store.options)

    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    assert len(store.proxy.requests) == 1


def test_secrets_stay_inside(store: Store, uploaded: str) -> None:
    """Neither a representation nor a fingerprint depends on credentials."""
    first = hr.open(uploaded, storage_options=store.direct)
    second = hr.open(uploaded, storage_options={**store.direct, "secret": "another"})
    source: Any = first.recipe.source

    assert SECRET not in repr((first, source, source.files, source.files[0].remote.storage))
    assert first.fingerprint == second.fingerprint


def test_loader_survives_pickling(store: Store, uploaded: str, folder: Path) -> None:
    """A data set opens its store anew where it was sent."""
    dataset = pickle.loads(pickle.dumps(hr.open(uploaded, storage_options=store.direct)))

    assert dataset.to_arrow().equals(hr.open(folder).to_arrow())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_give_the_same_batches(store: Store, uploaded: str, folder: Path, method: str) -> None:
    """Workers of torch's DataLoader read from S3, however they were started."""
    loader = hr.open(uploaded, columns=["id", "a"], storage_options=store.direct).loader(500, shuffle=True)
    list(loader)  # this process has connections, which must not be used by others
    loader.set_epoch(0)
    local = hr.open(folder, columns=["id", "a"]).loader(500, shuffle=True)
    workers = DataLoader(loader.to_torch(), batch_size=None, num_workers=2, multiprocessing_context=method)

    assert [batch["id"].tolist() for batch in workers] == [batch["id"].tolist() for batch in local]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"retries": -1}, "retries"),
        ({"retries": 1.5}, "retries"),
        ({"storage_options": ["anon"]}, "storage_options"),
        ({"shard_cache": "/tmp"}, "shard_cache"),
    ],
)
def test_settings_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    """Wrong settings are refused by name."""
    with pytest.raises(hr.OptionError, match=message):
        hr.open("memory://x.parquet", **arguments)


@pytest.mark.parametrize(
    "url", ["nosuch://bucket/key", "simplecache::s3://data/shards", "zip://a.parquet::s3://data/x.zip"]
)
def test_urls_that_cannot_be_opened(url: str) -> None:
    """An unknown kind of URL and fsspec's chains are refused."""
    with pytest.raises(hr.OptionError, match="URL"):
        hr.open(url)


@pytest.mark.parametrize(("protocol", "extra"), [("gs", "gs"), ("az", "az"), ("s3", "remote")])
def test_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, protocol: str, extra: str) -> None:
    """The error says what to install."""
    import fsspec

    def refuse(name: str) -> Any:
        raise ImportError(f"Install something to access {name}")

    monkeypatch.setattr(fsspec, "get_filesystem_class", refuse)
    with pytest.raises(hr.MissingDependencyError, match=rf"headrace\[{extra}\]"):
        hr.open(f"{protocol}://bucket/key")
