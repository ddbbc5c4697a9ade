"""The journal of a job: whose output a folder is, what is staged already, and its publishing.

`out/_unfinished` holds a lock, `job.json` with what the job's output follows from, one staging folder, and,
while it is published, the list of what moves where. The staging folder of each new start has a name of its
own, so that what a process of an earlier start still writes goes nowhere.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

from headrace.errors import ClosedError, OutputError, StateError
from headrace.fingerprint import digest
from headrace.sources.written.manifest import NAME, UNFINISHED, WrittenFile, WrittenManifest, read_manifest
from headrace.writing import publishing
from headrace.writing.disk import ASIDE, output_errors, sync_folder, write_file
from headrace.writing.locking import OutputLock
from headrace.writing.records import read_sealed, seal
from headrace.writing.staging import Staging, has_size

_JOB = "job.json"
_VERSION = 1
_STAGING = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}")
_TRASH = ".trash-"
_SHOWN = 60  # characters of a value that differs


class Journal:
    """What the client of a job holds while it writes to a folder. Not to be pickled: tasks get `staging`.

    Attributes:
        complete: The output, if the folder holds all of it; then there is nothing to write.
        previous: With `update`, the shards of the complete output that is in the folder, by key.
        staging: Where tasks put shards, below the folder.
    """

    complete: WrittenManifest | None
    previous: Mapping[str, WrittenFile]
    staging: Staging

    def __init__(
        self,
        folder: Path,
        staging: Staging,
        lock: OutputLock | None,
        complete: WrittenManifest | None = None,
        previous: Mapping[str, WrittenFile] | None = None,
    ) -> None:
        """Take over what `open` found."""
        self._folder, self._lock = folder, lock
        self.staging, self.complete, self.previous = staging, complete, previous or {}

    @classmethod
    def open(cls, folder: Path, identity: Mapping[str, str], *, resume: bool, update: bool) -> Journal:
        """Begin a job, or go on with it; a publishing that was interrupted is finished first.

        Args:
            folder: The output's; it is made.
            identity: All that the output follows from, by the name of each part.
            resume: Whether to go on with unfinished work, and to leave a complete output as it is. If not,
                that work is thrown away, and a complete output is written anew; the old one stays until then.
            update: Whether a complete output of another identity may be replaced.

        Raises:
            OutputError: The folder is in use by another job, holds something else, or cannot be written to.
            StateError: It holds the output of another identity, complete or not; the message says in what
                they differ.
            CorruptSourceError: It holds an output whose manifest is damaged.
        """
        folder, identity = Path(os.path.abspath(folder)), dict(identity)
        with output_errors(folder):
            _make(folder)
            if resume and not (folder / UNFINISHED).exists():
                found = read_manifest(os.fspath(folder))
                if _is_of(found, identity) and not _lacking(folder, found):
                    return cls(folder, Staging(folder / UNFINISHED), None, complete=found)
            _check_ours(folder)
            lock = OutputLock(folder / UNFINISHED)
            try:
                return cls._open_locked(folder, lock, identity, resume=resume, update=update)
            except BaseException:
                lock.release()
                raise

    @classmethod
    def _open_locked(
        cls, folder: Path, lock: OutputLock, identity: dict[str, str], *, resume: bool, update: bool
    ) -> Journal:
        if publishing.resume(folder):
            _clear(folder)
        found, job = read_manifest(os.fspath(folder)), _read_job(folder, resume=resume)
        if found is None and job is None:
            _check_empty(folder)
        lacking = [] if found is None else _lacking(folder, found)
        if found is not None and not _is_of(found, identity) and not update:
            raise StateError(_differences(folder, "the complete output", found.identity, identity) + _UPDATE)
        is_begun = job is not None and job["identity"] == identity
        if resume and not is_begun and _is_of(found, identity):
            if not lacking:
                _sweep(folder / UNFINISHED, None if job is None else job["staging"])
                lock.release()
                return cls(folder, Staging(folder / UNFINISHED), None, complete=found)
            if not update:
                raise OutputError(
                    f"{folder / lacking[0]}: is gone or changed since the job wrote it, and "
                    f"{len(lacking) - 1} more; `update=True` writes what lacks, `resume=False` everything"
                )
        if resume and not is_begun and job is not None:
            raise StateError(_differences(folder, "unfinished work", job["identity"], identity) + _AGAIN)
        previous: dict[str, WrittenFile] = {}
        if found is not None and update:
            gone = set(lacking)
            previous = {file.key: file for file in found.files if file.name not in gone}
        staging = _begin(folder, identity, job if resume else None)
        return cls(folder, staging, lock, previous=previous)

    def publish(self, manifest: WrittenManifest, kept: Mapping[str, str], extras: Sequence[str] = ()) -> None:
        """Make what is staged the output, complete or not at all, and end the job.

        Args:
            manifest: Of the new output.
            kept: New names of shards, and the names that they have in the complete output that is replaced.
            extras: Names of other files of the staging folder that belong to the output; they begin with "_".

        Raises:
            OutputError: Something lacks or lies in the way, or the disk is full; run again to go on.
            ClosedError: The journal is closed, or another process's.
        """
        if self._lock is None or not self._lock.is_held:
            raise ClosedError(f"{self._folder}: the journal is closed, or that of another process")
        with output_errors(self._folder):
            publishing.plan(self._folder, self.staging.folder, manifest, kept, extras)
            publishing.resume(self._folder)
            _clear(self._folder)

    def close(self) -> None:
        """Let go of the lock; what is unfinished stays for the next run. May be called again."""
        if self._lock is not None:
            self._lock.release()


_UPDATE = "; `update=True` brings it up to date, or name another folder"
_AGAIN = "; run the same job to go on with it, start over by `resume=False`, or name another folder"


def _make(folder: Path) -> None:
    if folder.is_dir():
        return
    if os.path.lexists(folder) and not folder.is_symlink():
        raise OutputError(f"{folder}: an output must be a folder, and this is a file; name another place")
    missing = [folder, *folder.parents]
    missing = [path for path in missing if not path.is_dir()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        sync_folder(path.parent)


def _check_ours(folder: Path) -> None:
    """Refuse a folder in which something lies that no job wrote."""
    entries = os.listdir(folder)
    if entries and NAME not in entries and UNFINISHED not in entries:
        _refuse(folder, entries)


def _check_empty(folder: Path) -> None:
    entries = [name for name in os.listdir(folder) if name != UNFINISHED]
    if entries:
        _refuse(folder, entries)


def _refuse(folder: Path, entries: list[str]) -> None:
    more = f" and {len(entries) - 1} more" if len(entries) > 1 else ""
    raise OutputError(
        f"{folder}: must be empty or hold an output of `write`, and holds `{min(entries)}`{more}; name "
        "another folder, or remove what is there"
    )


def _read_job(folder: Path, *, resume: bool) -> dict[str, Any] | None:
    path = folder / UNFINISHED / _JOB
    if not os.path.lexists(path):
        return None
    job = read_sealed(path)
    if job is not None and job.get("version") == _VERSION and _STAGING.fullmatch(job["staging"]):
        return job
    if resume:
        raise StateError(
            f"{path}: the journal of unfinished work is damaged, or another version's; start over by "
            "`resume=False`, or name another folder"
        )
    return {"identity": None}


def _begin(folder: Path, identity: dict[str, str], job: dict[str, Any] | None) -> Staging:
    """Go on with the staging folder of a job, or make another one; remove what is of no use."""
    unfinished = folder / UNFINISHED
    name = job["staging"] if job is not None else f"{digest(identity)[:16]}-{secrets.token_hex(4)}"
    staging = unfinished / name
    with suppress(FileExistsError):
        staging.mkdir()
    sync_folder(unfinished)
    sync_folder(folder)
    if job is None:
        write_file(unfinished / _JOB, seal({"version": _VERSION, "staging": name, "identity": identity}))
    _sweep(unfinished, name)
    for path, _, files in os.walk(staging):
        for file in files:
            if file.startswith(ASIDE):
                with suppress(OSError):
                    os.unlink(os.path.join(path, file))
    return Staging(staging)


def _clear(folder: Path) -> None:
    """End a job whose output is complete; the list of what moved goes last."""
    unfinished = folder / UNFINISHED
    _sweep(unfinished, None)
    (unfinished / _JOB).unlink(missing_ok=True)
    publishing.forget(folder)
    sync_folder(unfinished)


def _sweep(unfinished: Path, staging: str | None) -> None:
    """Remove the staging folders of earlier starts, and what was left half-written or half-removed."""
    for name in os.listdir(unfinished):
        path = unfinished / name
        if name.startswith(ASIDE):
            path.unlink(missing_ok=True)
        elif name.startswith(_TRASH) or (_STAGING.fullmatch(name) and name != staging):
            # Whoever still writes in there fails from now on, and cannot put anything more into it.
            trash = unfinished / f"{_TRASH}{secrets.token_hex(8)}"
            os.replace(path, trash)
            shutil.rmtree(trash, ignore_errors=True)


def _is_of(found: WrittenManifest | None, identity: dict[str, str]) -> TypeGuard[WrittenManifest]:
    """Tell whether there is a manifest, and it is of this identity."""
    return found is not None and dict(found.identity) == identity


def _lacking(folder: Path, manifest: WrittenManifest) -> list[str]:
    """Return the names of an output's shards that are not there with the size that they were written with."""
    return [file.name for file in manifest.files if not has_size(folder / file.name, file.nbytes)]


def _differences(folder: Path, what: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """Say in which parts two identities differ."""
    parts = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    told = ", ".join(f"`{name}` was {_shown(theirs, name)} and is {_shown(ours, name)}" for name in parts)
    return f"{folder}: holds {what} of another job: {told}"


def _shown(identity: Mapping[str, str], name: str) -> str:
    if name not in identity:
        return "missing"
    value = repr(identity[name])
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…{value[0]}"
