"""How the bytes of one object come over: as a stream from S3 and from web servers, else in pieces.

A stream that breaks keeps what had come before, so that the next one begins where it ended.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.errors import ChangedSourceError, SourceError

Take = Callable[[bytes], None]
"""Takes the next bytes."""

_CHUNK_BYTES = 1 << 18
_PIECE_BYTES = 1 << 22  # of one request where a broken one loses all that it had brought
# What tells one version of an object from the next, the surest first.
_TAGS = (
    *("ETag", "etag", "generation", "Content-MD5", "content_md5", "md5"),
    *("Last-Modified", "LastModified", "last_modified", "updated", "mtime", "modified", "created"),
)


@dataclass(frozen=True, slots=True)
class Version:
    """What a store says of an object; another version means that the object was replaced.

    Attributes:
        size: Its bytes.
        tag: Its ETag, generation or time of change, as far as the store has any.
    """

    size: int
    tag: str

    @staticmethod
    def of(info: Mapping[str, Any], url: str) -> Version:
        """Read what fsspec says of an object.

        Raises:
            SourceError: Its size is not known.
        """
        if not isinstance(info.get("size"), int):
            raise SourceError(
                f"{url}: the server does not say how many bytes the file has; copy it elsewhere"
            )
        return Version(info["size"], next((str(info[name]) for name in _TAGS if info.get(name)), ""))

    def check(self, found: Version, url: str) -> None:
        """Raise `ChangedSourceError` if the object is no longer the one that was opened."""
        if found != self:
            raise ChangedSourceError(
                f"{url}: the file was replaced or rewritten after it was opened; open the data set again"
            )


class Transfer(Protocol):
    """Looks at objects and brings their bytes. Thread-safe."""

    @property
    def is_checked(self) -> bool:
        """Whether `stream` itself refuses another version of the object."""
        ...

    def version(self, path: str, url: str) -> Version:
        """Ask for an object's version."""
        ...

    def stream(self, path: str, url: str, span: tuple[int, int], version: Version, take: Take) -> None:
        """Hand the bytes between two places over as they come; it may end early."""
        ...


def choose_transfer(filesystem: Any) -> Transfer:
    """Choose by what the file system can do."""
    if hasattr(filesystem, "_call_s3") and hasattr(filesystem, "split_path"):
        return S3Transfer(filesystem)
    if hasattr(filesystem, "set_session") and hasattr(filesystem, "encode_url"):
        return HttpTransfer(filesystem)
    return PlainTransfer(filesystem)


@dataclass(frozen=True, slots=True)
class PlainTransfer:
    """Any file system of fsspec."""

    filesystem: Any
    is_checked: bool = False

    def version(self, path: str, url: str) -> Version:
        """Ask anew, whatever was listed before."""
        self.filesystem.invalidate_cache()
        info = self.filesystem.info(path)
        if info.get("type") == "directory":
            raise IsADirectoryError(path)
        return Version.of(info, url)

    def stream(self, path: str, url: str, span: tuple[int, int], version: Version, take: Take) -> None:
        """Bring the bytes in pieces, of which a broken one is lost."""
        for begin in range(*span, _PIECE_BYTES):
            end = min(begin + _PIECE_BYTES, span[1])
            content = self.filesystem.cat_file(path, start=begin, end=end)
            if len(content) > end - begin:
                raise _other_bytes(url, f"{len(content):,} of them, not {end - begin:,}")
            take(content)
            if len(content) < end - begin:
                return


@dataclass(frozen=True, slots=True)
class S3Transfer:
    """S3, by s3fs."""

    filesystem: Any
    is_checked: bool = True

    def version(self, path: str, url: str) -> Version:
        """Ask for the object's size and ETag."""
        return PlainTransfer(self.filesystem).version(path, url)

    def stream(self, path: str, url: str, span: tuple[int, int], version: Version, take: Take) -> None:
        """Bring the bytes by one request, which names the version that it is about."""
        try:
            _run(self.filesystem, self._stream(path, url, span, version, take))
        except OSError as error:
            if error.errno == errno.EINVAL:  # as for a range that lies beyond the end now
                version.check(self.version(path, url), url)
            raise

    async def _stream(self, path: str, url: str, span: tuple[int, int], version: Version, take: Take) -> None:
        bucket, key, number = self.filesystem.split_path(path)
        chosen = {"VersionId": number} if number else {}
        answer = await self.filesystem._call_s3(
            "get_object", Bucket=bucket, Key=key, Range=f"bytes={span[0]}-{span[1] - 1}", **chosen
        )
        body = answer["Body"]
        try:
            total = _total(answer.get("ContentRange"), span[0], url)
            version.check(Version.of({**answer, "size": total}, url), url)
            while chunk := await body.read(_CHUNK_BYTES):
                take(chunk)
        finally:
            body.close()


@dataclass(frozen=True, slots=True)
class HttpTransfer:
    """Web servers, by aiohttp."""

    filesystem: Any
    is_checked: bool = True

    def version(self, path: str, url: str) -> Version:
        """Ask for the first byte: not all servers answer HEAD, nor do addresses signed for GET."""
        return _run(self.filesystem, self._version(path, url))

    def stream(self, path: str, url: str, span: tuple[int, int], version: Version, take: Take) -> None:
        """Bring the bytes by one request, and compare the version that the answer tells."""
        _run(self.filesystem, self._stream(path, url, span, version, take))

    async def _version(self, path: str, url: str) -> Version:
        async with await self._get(path, 0, 1) as answer:
            if answer.status == 416:  # no byte can be had of an empty file
                return Version(0, _tag(answer.headers))
            return _answered(answer, 0, url)

    async def _stream(self, path: str, url: str, span: tuple[int, int], version: Version, take: Take) -> None:
        async with await self._get(path, *span) as answer:
            if answer.status == 416:
                version.check(Version(-1, ""), url)
            version.check(_answered(answer, span[0], url), url)
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                take(chunk)

    async def _get(self, path: str, begin: int, end: int) -> Any:
        filesystem = self.filesystem
        session = await filesystem.set_session()
        settings = dict(filesystem.kwargs)
        # Compressed on its way, the bytes would be counted wrongly.
        wanted = {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
        settings["headers"] = {**settings.get("headers", {}), **wanted}
        answer = await session.get(filesystem.encode_url(path), **settings)
        if answer.status in (404, 410):
            answer.close()
            raise FileNotFoundError(path)
        if answer.status != 416:
            answer.raise_for_status()
        return answer


def _answered(answer: Any, begin: int, url: str) -> Version:
    """Read the version from an answer, and make sure that the bytes are those asked for."""
    total: int | None = answer.content_length
    if answer.status == 206:
        total = _total(answer.headers.get("Content-Range"), begin, url)
    elif begin:
        raise SourceError(
            f"{url}: the server does not answer requests for a range of bytes; copy the file elsewhere"
        )
    return Version.of({"size": total, "ETag": _tag(answer.headers)}, url)


def _tag(headers: Mapping[str, str]) -> str:
    return next((headers[name] for name in ("ETag", "Last-Modified") if name in headers), "")


def _total(content_range: str | None, begin: int, url: str) -> int:
    """Read the file's size from `bytes 0-99/1234`."""
    found = re.match(r"bytes (\d+)-\d+/(\d+)", content_range or "")
    if found is None or int(found[1]) != begin:
        raise _other_bytes(url, repr(content_range))
    return int(found[2])


def _other_bytes(url: str, what: str) -> SourceError:
    return SourceError(
        f"{url}: the server answered with other bytes than asked for ({what}); copy the file elsewhere"
    )


def _run(filesystem: Any, work: Coroutine[Any, Any, Any]) -> Any:
    """Run in fsspec's own event loop, and wait."""
    from fsspec.asyn import sync

    return sync(filesystem.loop, lambda: work)
