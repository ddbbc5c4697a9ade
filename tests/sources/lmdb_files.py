"""LMDB environments for tests, and reads of them in a process of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limits import limit_memory

from headrace.dataset import Dataset
from headrace.errors import HeadraceError
from headrace.sources.lmdb import LmdbOptions, LmdbSource
from headrace.sources.open import open_source

LIMIT = 1 << 30


def write(path: Path, records: Mapping[bytes, bytes], database: str | None = None, **settings: Any) -> Path:
    import lmdb

    environment = lmdb.open(str(path), map_size=1 << 30, max_dbs=8, sync=False, **settings)
    handle = None if database is None else environment.open_db(database.encode())
    with environment.begin(write=True, db=handle) as transaction:
        for key, value in records.items():
            transaction.put(key, value)
    environment.sync(True)
    environment.close()
    return path


def open_lmdb(path: Any, limit: int = LIMIT, **options: Any) -> LmdbSource:
    source = open_source(path, "lmdb", LmdbOptions(**options), limit)
    assert isinstance(source, LmdbSource)
    return source


def rows(source: LmdbSource) -> list[dict[str, Any]]:
    return Dataset.of(source).to_arrow().to_pylist()


def in_child(function: Any, *arguments: Any, method: str = "fork", memory: int = 0) -> str:
    """Run a function in a process of its own; tell its answer, its HeadraceError, or how it died."""
    context = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_report, args=(sender, function, arguments, memory))
    child.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        answer = "no answer"
    child.join(60)
    return answer if child.exitcode == 0 else f"exit code {child.exitcode}: {answer}"


def _report(sender: Any, function: Any, arguments: tuple[Any, ...], memory: int) -> None:
    if memory:
        limit_memory(memory)
    try:
        sender.send(str(function(*arguments)))
    except HeadraceError as error:
        sender.send(f"{type(error).__name__}: {error}")


def read_everything(path: str, options: Mapping[str, Any]) -> str:
    source = open_lmdb(path, **options)
    names = source.schema.names
    return f"{sum(source.read(row_group, names).num_rows for row_group in source.manifest)} rows"
