"""Which records of an LMDB environment form which sample: by key, or by numbered key patterns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter

import numpy as np
from numpy.typing import NDArray

from headrace.errors import ChangedSourceError, CorruptSourceError, OptionError
from headrace.fingerprint import digest
from headrace.sources.files import ShardFile
from headrace.sources.lmdb_header import Database, Header, read_header
from headrace.sources.lmdb_pages import IS_DATABASE, Nodes, Tree, name_key
from headrace.sources.mapped import MappedFile, Places, windows

# A row group should be worth a read and small enough for a core's cache.
_GROUP_BYTES, _GROUP_ROWS = 1 << 23, 1 << 16
_CONTROL_KEYS = (b"__len__", b"__keys__", b"__length__", b"num-samples", b"num_samples")
_COUNTERS = (b"num-samples", b"num_samples")
_MOST_DIGITS = 18
_SHOWN = 10

Records = range | NDArray[np.integer]
"""Sample to record number: a range where one record follows the other."""


@dataclass(frozen=True, slots=True)
class KeyPattern:
    """Numbered keys, such as `image-{index:09d}`.

    Attributes:
        name: The field that they hold.
        text: The pattern as written.
        prefix: What stands before the number.
        suffix: What stands behind it.
        digits: To how many digits the number is padded with zeros.

    Example:
        >>> KeyPattern.parse("image", "image-{index:09d}").key(7)
        b'image-000000007'
    """

    name: str
    text: str
    prefix: bytes
    suffix: bytes
    digits: int

    @staticmethod
    def parse(name: str, text: str) -> KeyPattern:
        """Read a pattern with one `{index}` or `{index:09d}`.

        Raises:
            OptionError: It has none, several, or another kind of placeholder.
        """
        try:
            pieces = list(Formatter().parse(text))
        except (TypeError, ValueError):
            pieces = []
        placed = [piece for piece in pieces if piece[1] is not None]
        spec = re.fullmatch(r"(?:0([1-9]|1[0-8]))?d?", placed[0][2] or "") if placed else None
        if len(placed) != 1 or spec is None or placed[0][1] != "index" or placed[0][3]:
            raise OptionError(
                f"the pattern of `{name}` must hold one placeholder like {{index}} or {{index:09d}}, got "
                f"{text!r}"
            )
        at = pieces.index(placed[0])
        prefix, suffix = (
            "".join(piece[0] for piece in part) for part in (pieces[: at + 1], pieces[at + 1 :])
        )
        return KeyPattern(name, text, prefix.encode(), suffix.encode(), int(spec[1] or 1))

    def key(self, index: int) -> bytes:
        """Return the key of one number."""
        return self.prefix + str(index).zfill(self.digits).encode() + self.suffix

    def match(self, nodes: Nodes) -> tuple[Places, Places]:
        """Find the records whose keys fit, and their numbers."""
        rows: list[Places] = []
        numbers: list[Places] = []
        head, tail = np.frombuffer(self.prefix, np.uint8), np.frombuffer(self.suffix, np.uint8)
        for length in np.unique(nodes.key_lengths).tolist():
            digits = length - len(head) - len(tail)
            if not self.digits <= digits <= _MOST_DIGITS:
                continue
            here = np.flatnonzero(nodes.key_lengths == length)
            keys = windows(nodes.buffer, length)[nodes.keys[here]]
            figures = keys[:, len(head) : length - len(tail)] - np.uint8(ord("0"))
            fits = (keys[:, : len(head)] == head).all(1) & (keys[:, length - len(tail) :] == tail).all(1)
            fits &= (figures <= 9).all(1)
            if digits > self.digits:
                fits &= figures[:, 0] != 0
            rows.append(here[fits])
            numbers.append(figures[fits].astype(np.int64) @ (10 ** np.arange(digits - 1, -1, -1)))
        if not rows:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return np.concatenate(rows), np.concatenate(numbers)


@dataclass(frozen=True, eq=False)
class Environment:
    """What was learned of one environment when it was opened.

    Attributes:
        file: Its data file.
        identity: Digest of its leaf pages, thus of keys and sizes, and of its last transaction.
        tree: Where its records lie.
        records: Field to the record of each sample.
        cuts: Number of the first sample of each row group, then the total.
        nbytes: Stored bytes of each row group.
    """

    file: MappedFile
    identity: str
    tree: Tree
    records: Mapping[str, Records]
    cuts: Places
    nbytes: tuple[int, ...]

    @property
    def samples(self) -> int:
        """How many samples it holds."""
        return int(self.cuts[-1])

    def records_of(self, name: str, samples: Places) -> Places:
        """Find a field's records by sample."""
        records = self.records[name]
        return samples + records.start if isinstance(records, range) else records[samples].astype(np.int64)

    def check(self) -> None:
        """Refuse what was read while a transaction was committed; mapped writes show in no time stamp.

        Raises:
            ChangedSourceError: The file is no longer as it was when it was opened.
        """
        self.file.check()
        if read_header(self.file).transaction != self.tree.header.transaction:
            raise ChangedSourceError(
                f"{self.file.path}: a transaction was committed after it was opened; open the data set again"
            )

    @staticmethod
    def name_of(nodes: Nodes, row: int) -> str:
        """Name a record in an error."""
        return name_key(nodes.key(row))


def open_environment(
    shard: ShardFile,
    patterns: Sequence[KeyPattern] = (),
    database: str | bytes | None = None,
    exclude: Sequence[str | bytes] = (),
) -> Environment:
    """Read the tree of one environment, and assign its records to samples.

    Raises:
        CorruptSourceError: The file is damaged or cut off, or records of a sample are missing.
        OptionError: There is no such sub-database, or only sub-databases.
    """
    path, file = shard.path, MappedFile(shard, shard.stamp())
    header = read_header(file)
    chosen = header.main if database is None else _sub_database(file, header, database)
    leaves: list[Places] = []
    counts: list[Places] = []
    finder = _Finder(file, header, patterns, tuple(_to_bytes(key) for key in exclude))
    for numbers, nodes in Tree.scan(file, header, chosen):
        leaves.append(numbers)
        counts.append(nodes.counts)
        finder.add(nodes, numbers)
    total = sum(int(part.sum()) for part in counts)
    if total != chosen.entries:
        raise CorruptSourceError(
            f"{path}: {chosen.entries} records are promised, but {total} lie in its pages"
        )
    if finder.databases and len(finder.databases) == total:
        raise OptionError(
            f"{path}: the environment holds only named databases; choose one, as in "
            f"`LmdbOptions(database={finder.databases[0]!r})`, of {_listed(finder.databases)}"
        )
    starts = np.zeros(sum(len(part) for part in counts) + 1, np.int64)
    np.cumsum(_joined(counts), out=starts[1:])
    records, sizes = finder.finish()
    cuts, nbytes = _cut(sizes)
    file.check()
    identity = digest("lmdb", file.size, header.transaction, chosen.entries, finder.hasher.hexdigest())
    return Environment(file, identity, Tree(header, _joined(leaves), starts), records, cuts, nbytes)


def _sub_database(file: MappedFile, header: Header, database: str | bytes) -> Database:
    wanted = _to_bytes(database)
    names: list[str] = []
    for _, nodes in Tree.scan(file, header, header.main):
        for row in np.flatnonzero(nodes.flags & IS_DATABASE).tolist():
            if nodes.key(row) == wanted:
                return nodes.database(row, header, file.path)
            names.append(nodes.key(row).decode("utf-8", "replace"))
    raise OptionError(
        f"{file.path}: has no database {database!r}, but {_listed(names) or 'none with a name'}"
    )


@dataclass(eq=False)
class _Finder:
    """Assigns records to samples, while leaf pages pass by."""

    file: MappedFile
    header: Header
    patterns: Sequence[KeyPattern]
    exclude: tuple[bytes, ...]
    databases: list[str] = field(default_factory=list[str])
    hasher: hashlib.blake2b = field(default_factory=lambda: hashlib.blake2b(digest_size=16))
    _sizes: list[NDArray[np.uint32]] = field(default_factory=list["NDArray[np.uint32]"])
    _kept: list[Places] = field(default_factory=list[Places])
    _numbered: dict[str, list[tuple[Places, Places]]] = field(
        default_factory=dict[str, "list[tuple[Places, Places]]"]
    )
    _total: int = 0
    _promised: int | None = None

    def add(self, nodes: Nodes, numbers: Places) -> None:
        """Look at the records of some leaf pages."""
        page_size = self.header.page_size
        self.hasher.update(_pages(nodes.buffer, page_size)[numbers].data)
        is_database = (nodes.flags & IS_DATABASE) != 0
        for row in np.flatnonzero(is_database).tolist():
            nodes.database(row, self.header, self.file.path)
            self.databases.append(nodes.key(row).decode("utf-8", "replace"))
        keep = ~is_database
        for key in (*_CONTROL_KEYS, *self.exclude):
            keep[_rows_of(nodes, key)] = False
        for pattern in self.patterns:
            rows, numbers = pattern.match(nodes)
            kept = keep[rows]
            self._numbered.setdefault(pattern.name, []).append((rows[kept] + self._total, numbers[kept]))
        for key in _COUNTERS if self.patterns else ():
            for row in _rows_of(nodes, key).tolist() if key not in self.exclude else ():
                begin = int(nodes.data[row])
                text = nodes.buffer[begin : begin + min(int(nodes.sizes[row]), _MOST_DIGITS)].tobytes()
                self._promised = int(text) if text.isdigit() else self._promised
        self._kept.append(np.flatnonzero(keep) + self._total)
        self._sizes.append(nodes.sizes.astype(np.uint32))
        self._total += len(keep)

    def finish(self) -> tuple[dict[str, Records], NDArray[np.int64]]:
        """Return the records of each field, and the bytes of each sample."""
        sizes = np.concatenate(self._sizes) if self._sizes else np.empty(0, np.uint32)
        if not self.patterns:
            records = _as_range(_joined(self._kept))
            return {"key": records, "value": records}, _chosen(sizes, records)
        found = {name: self._in_order(name) for name in (pattern.name for pattern in self.patterns)}
        begin, count = self._span(found)
        result: dict[str, Records] = {}
        for pattern in self.patterns:
            numbers, records = found[pattern.name]
            here = slice(*np.searchsorted(numbers, [begin, begin + count]))
            missing = np.flatnonzero(numbers[here] != np.arange(begin, begin + count)[: len(numbers[here])])
            gap = int(missing[0]) if len(missing) else len(numbers[here])
            if gap < count:
                raise CorruptSourceError(
                    f"{self.file.path}: {name_key(pattern.key(begin + gap))} of the field "
                    f"`{pattern.name}` is missing, "
                    f"but samples {begin} to {begin + count - 1} are there; write it, or choose other "
                    "`fields`"
                )
            result[pattern.name] = _as_range(records[here])
        return result, np.sum([_chosen(sizes, records) for records in result.values()], axis=0)

    def _in_order(self, name: str) -> tuple[Places, Places]:
        parts = self._numbered.get(name, [])
        records, numbers = _joined([part[0] for part in parts]), _joined([part[1] for part in parts])
        order = np.argsort(numbers, kind="stable")
        return numbers[order], records[order]

    def _span(self, found: Mapping[str, tuple[Places, Places]]) -> tuple[int, int]:
        """Tell the first number and how many samples there are; a counter must agree."""
        empty = [pattern for pattern in self.patterns if not len(found[pattern.name][0])]
        if self._total and empty and self._promised != 0:
            keys = ", ".join(pattern.text for pattern in empty)
            raise OptionError(
                f"{self.file.path}: no key fits {keys}; its {self._total} keys are of another form"
            )
        if empty:
            return 0, 0
        begin = min(int(numbers[0]) for numbers, _ in found.values())
        last = max(int(numbers[-1]) for numbers, _ in found.values())
        if begin > 1:
            raise CorruptSourceError(
                f"{self.file.path}: samples must be numbered from 0 or 1, but the first key is {begin}; "
                "are some missing?"
            )
        count = last - begin + 1
        if self._promised is not None and self._promised != count:
            raise CorruptSourceError(
                f"{self.file.path}: its counter promises {self._promised} samples, but the keys are "
                f"numbered from {begin} to "
                f"{last}; if the counter is wrong, pass `exclude=['num-samples']`"
            )
        return begin, count


def _pages(content: NDArray[np.uint8], page_size: int) -> NDArray[np.uint8]:
    """View a file as its pages, without the rest that some files end with."""
    return content[: len(content) // page_size * page_size].reshape(-1, page_size)


def _rows_of(nodes: Nodes, key: bytes) -> Places:
    """Find the records with this key, or, if it ends in `*`, with keys that begin so."""
    is_prefix = key.endswith(b"*")
    wanted = np.frombuffer(key.removesuffix(b"*"), np.uint8)
    fits = nodes.key_lengths >= len(wanted) if is_prefix else nodes.key_lengths == len(wanted)
    rows = np.flatnonzero(fits)
    if not len(rows) or not len(wanted):
        return rows
    return rows[(windows(nodes.buffer, len(wanted))[nodes.keys[rows]] == wanted).all(1)]


def _as_range(records: Places) -> Records:
    if (
        len(records)
        and int(records[-1]) - int(records[0]) + 1 == len(records)
        and bool((np.diff(records) == 1).all())
    ):
        return range(int(records[0]), int(records[-1]) + 1)
    return records.astype(np.uint32) if not len(records) or int(records.max()) < 1 << 32 else records


def _chosen(sizes: NDArray[np.uint32], records: Records) -> NDArray[np.int64]:
    chosen = sizes[records.start : records.stop] if isinstance(records, range) else sizes[records]
    return chosen.astype(np.int64)


def _cut(sizes: NDArray[np.int64]) -> tuple[Places, tuple[int, ...]]:
    """Cut samples into row groups of some MB."""
    if not len(sizes):
        return np.zeros(1, np.int64), ()
    weights = np.maximum(sizes, _GROUP_BYTES // _GROUP_ROWS)
    groups = (np.cumsum(weights) - weights) // _GROUP_BYTES
    firsts = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.append(firsts, len(sizes)), tuple(np.add.reduceat(sizes, firsts).tolist())


def _joined(parts: Iterable[Places]) -> Places:
    arrays = list(parts)
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)


def _to_bytes(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else bytes(key)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:_SHOWN]) + more
