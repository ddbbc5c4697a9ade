"""Content hashes of shards: made once, kept beside the data, and held against it when it is opened.

They find what formats without checksums cannot: a bit that flipped within a value, a shard that was
exchanged, removed or added. `headrace info --hash PATH` writes them into `_headrace-hashes.json`
in the folder that the path begins in (a folder itself, the fixed part of a glob, the folder of
a file), and `hr.open(path, verify=True)` compares.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from headrace.errors import CorruptSourceError, MissingSourceError, OptionError, SourceError
from headrace.sources.files import Paths, ShardFile, Stamp
from headrace.sources.names import without_scheme

NAME = "_headrace-hashes.json"
ALGORITHM = "blake2b-256"
UNPROTECTED = "damage can pass unseen without `headrace info --hash` and `hr.open(..., verify=True)`"

_VERSION = 1
_HASHERS = 8  # threads; one of them hashes about a GB in a second, and reading may be slower
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class FileHash:
    """What is kept of one file.

    Attributes:
        nbytes: Its size.
        samples: How many samples it holds, where that is known without options.
        hash: BLAKE2b of all its bytes, 256 bits in hexadecimal.
    """

    nbytes: int
    samples: int | None
    hash: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as it stands in the manifest."""
        return {"bytes": self.nbytes, "samples": self.samples, "hash": self.hash}


@dataclass(slots=True)
class _Folder:
    """A folder whose manifest is asked, and which of the names below it the paths stand for."""

    path: str
    names: set[str] = field(default_factory=set[str])
    patterns: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])

    @property
    def manifest(self) -> str:
        return os.path.join(self.path, NAME)

    def covers(self, name: str) -> bool:
        parts = PurePosixPath(name).parts
        return name in self.names or any(_fits(parts, pattern) for pattern in self.patterns)


def check_local(files: Sequence[ShardFile]) -> None:
    """Refuse shards behind URLs.

    Raises:
        OptionError: One of them lies behind a URL.
    """
    for file in files:
        if file.remote is not None:
            raise OptionError(
                f"{file.path}: content hashes are made of local files and compared with them alone, not with "
                "those behind URLs; copy the files to a local disk to verify them"
            )


def write_hashes(
    paths: Paths, files: Sequence[ShardFile], samples: Mapping[str, int]
) -> tuple[list[str], dict[str, FileHash]]:
    """Hash all bytes of some files and keep the hashes beside them, for `verify=True`.

    What a manifest says of files that the paths do not stand for is kept.

    Args:
        paths: What the user named.
        files: The files that were found there, all of them local.
        samples: How many samples each file holds, by path, where that is known.

    Returns:
        The manifests that were written, and what is known of each file.

    Raises:
        SourceError: A file cannot be read or changes meanwhile, or a manifest cannot be written.
    """
    folders = _folders(paths)
    entries = {place: _kept(folder) for place, folder in folders.items()}
    contents = _hash_all([file.path for file in files])
    hashed: dict[str, FileHash] = {}
    for (place, name), file, (stamp, content) in zip(_places(folders, files), files, contents, strict=True):
        hashed[file.path] = FileHash(stamp.size, samples.get(file.path), content)
        entries[place][name] = hashed[file.path]
    for place, folder in folders.items():
        _write_manifest(folder.manifest, entries[place])
    return [folder.manifest for folder in folders.values()], hashed


def check_hashes(paths: Paths, files: Sequence[ShardFile]) -> dict[str, Stamp]:
    """Compare all bytes of some files with the hashes beside them.

    Args:
        paths: What the user named.
        files: The files that were found there.

    Returns:
        Each file's stamp at the time when it was right.

    Raises:
        MissingSourceError: There is no manifest; the message says how to make one.
        CorruptSourceError: A file differs, is missing or was added; the message names it.
        OptionError: A file lies behind a URL.
    """
    check_local(files)
    folders = _folders(paths)
    expected = {
        (place, name): entry
        for place, folder in folders.items()
        for name, entry in _entries(folder, paths).items()
        if folder.covers(name)
    }
    found = dict(zip(_places(folders, files), [file.path for file in files], strict=True))
    missing = [os.path.join(folders[place].path, name) for place, name in expected.keys() - found.keys()]
    complaints = [f"{path}: is missing, but was hashed" for path in sorted(missing)]
    complaints += [f"{path}: was added since" for key, path in found.items() if key not in expected]
    pairs = [(path, expected[key]) for key, path in found.items() if key in expected]
    complaints += _other_sizes(pairs)
    stamps: dict[str, Stamp] = {}
    if not complaints:  # hashing takes long
        contents = _hash_all([path for path, _ in pairs])
        stamps = {path: stamp for (path, _), (stamp, _) in zip(pairs, contents, strict=True)}
        complaints = [
            f"{path}: its {entry.nbytes:,} bytes are others than when they were hashed ({ALGORITHM} "
            f"{content[:12]}… instead of {entry.hash[:12]}…)"
            for (path, entry), (_, content) in zip(pairs, contents, strict=True)
            if content != entry.hash
        ]
    if complaints:
        more = f"; and {len(complaints) - _SHOWN:,} more" if len(complaints) > _SHOWN else ""
        raise CorruptSourceError(
            f"{'; '.join(complaints[:_SHOWN])}{more}; restore what differs, or, if the change was meant, "
            f"hash anew by `headrace info --hash {_shown(paths)}`"
        )
    return stamps


def _other_sizes(pairs: Sequence[tuple[str, FileHash]]) -> list[str]:
    sized = [(path, entry.nbytes, Stamp.of(path).size) for path, entry in pairs]
    return [
        f"{path}: has {size:,} bytes instead of the {nbytes:,} that were hashed"
        for path, nbytes, size in sized
        if size != nbytes
    ]


def _entries(folder: _Folder, paths: Paths) -> dict[str, FileHash]:
    if os.path.exists(folder.manifest):
        return _read_manifest(folder.manifest)
    raise MissingSourceError(
        f"{folder.manifest}: `verify=True` needs content hashes, and there are none; make them, while the "
        f"data is known to be right, by `headrace info --hash {_shown(paths)}`"
    )


def _kept(folder: _Folder) -> dict[str, FileHash]:
    """What a manifest says already of files that are not hashed now."""
    known = _read_manifest(folder.manifest) if os.path.exists(folder.manifest) else {}
    return {name: entry for name, entry in known.items() if not folder.covers(name)}


def _folders(paths: Paths) -> dict[str, _Folder]:
    """Tell the folders that paths begin in, by absolute path."""
    folders: dict[str, _Folder] = {}
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        place = os.path.expanduser(without_scheme(os.fspath(path)))
        head, name = os.path.split(os.path.normpath(place))
        pattern: tuple[str, ...] = ()
        if os.path.isdir(place):
            head, name = place, ""
        elif glob.has_magic(place) and not os.path.lexists(place):
            parts = Path(place).parts
            fixed = next(at for at, part in enumerate(parts) if glob.has_magic(part))
            head, pattern, name = os.path.join("", *parts[:fixed]), parts[fixed:], ""
        folder = folders.setdefault(os.path.abspath(head), _Folder(head))
        if name:
            folder.names.add(name)
        else:
            folder.patterns.append(pattern)
    return folders


def _places(folders: Mapping[str, _Folder], files: Sequence[ShardFile]) -> list[tuple[str, str]]:
    """Tell each file's folder, as a key of `folders`, and its name in the manifest there."""
    return [_place(folders, Path(os.path.abspath(file.path))) for file in files]


def _place(folders: Mapping[str, _Folder], path: Path) -> tuple[str, str]:
    for parent in map(str, path.parents):
        name = path.relative_to(parent).as_posix()
        if parent in folders and folders[parent].covers(name):
            return parent, name
    raise AssertionError(f"{path} lies in none of the folders {list(folders)}")


def _fits(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether a pattern matches a file's name, or that of a folder above it."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_fits(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _hash_all(paths: Sequence[str]) -> list[tuple[Stamp, str]]:
    with ThreadPoolExecutor(_HASHERS, thread_name_prefix="headrace-hash") as pool:
        return list(pool.map(_hash, paths))


def _hash(path: str) -> tuple[Stamp, str]:
    stamp = Stamp.of(path)
    try:
        with open(path, "rb", buffering=0) as file:
            content = hashlib.file_digest(file, partial(hashlib.blake2b, digest_size=32)).hexdigest()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    stamp.check(path)
    return stamp, content


def _read_manifest(path: str) -> dict[str, FileHash]:
    try:
        with open(path, encoding="utf-8") as file:
            document: Any = json.load(file)
        if (document["version"], document["algorithm"]) != (_VERSION, ALGORITHM):
            raise SourceError(
                f"{path}: holds hashes of version {document['version']} ({document['algorithm']}), and only "
                f"{_VERSION} ({ALGORITHM}) can be compared; remove it, and hash anew"
            )
        return {_checked(name): _parse(entry) for name, entry in document["files"].items()}
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptSourceError(
            f"{path}: is no manifest of content hashes, or is damaged ({type(error).__name__}: {error}); "
            "remove it, and hash anew"
        ) from error


def _checked(name: str) -> str:
    """Refuse names that lead out of the manifest's folder."""
    if (
        PurePosixPath(name).is_absolute()
        or ".." in PurePosixPath(name).parts
        or name != os.path.normpath(name)
    ):
        raise ValueError(f"the name {name!r} leads elsewhere")
    return name


def _parse(entry: Any) -> FileHash:
    nbytes, samples, content = entry["bytes"], entry["samples"], entry["hash"]
    if type(nbytes) is not int or type(content) is not str or len(content) != 64:
        raise ValueError(f"{entry!r} has no size or no hash")
    return FileHash(nbytes, samples, content)


def _write_manifest(path: str, entries: Mapping[str, FileHash]) -> None:
    """Write a manifest aside and put it in its place, so that there never is half of one."""
    document = {
        "version": _VERSION,
        "algorithm": ALGORITHM,
        "files": {name: entry.as_dict() for name, entry in sorted(entries.items())},
    }
    aside = f"{path}.{os.getpid()}"
    try:
        with open(aside, "w", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        with suppress(OSError):
            os.remove(aside)
        raise SourceError(f"{path}: cannot be written: {error.strerror}") from error


def _shown(paths: Paths) -> str:
    named = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    more = " …" if len(named) > _SHOWN else ""
    return " ".join(shlex.quote(os.fspath(path)) for path in named[:_SHOWN]) + more
