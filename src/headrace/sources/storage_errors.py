"""Errors of object stores and web servers: what may pass, what they mean, and what must not be shown."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from headrace.errors import HeadraceError, MissingDependencyError, MissingSourceError, SourceError

_FINAL = (
    HeadraceError,
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    ImportError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    NotImplementedError,
)
_FINAL_NUMBERS = (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG)
_MAY_PASS = (408, 425, 429)  # of HTTP's 4xx: timeouts and too many requests
# Settings that are no secret; every other text among the storage options is taken for one.
_OPEN_SETTINGS = ("endpoint", "region", "project", "account_name", "profile", "host", "version")
_SHORTEST_SECRET = 4


def is_final(error: BaseException) -> bool:
    """Whether the same request would fail again."""
    status = _status(error)
    if 400 <= status < 600:
        return status < 500 and status not in _MAY_PASS
    if isinstance(error, OSError) and error.errno in _FINAL_NUMBERS:
        return True
    return isinstance(error, _FINAL) or _is_refusal(error)


def _status(error: BaseException) -> int:
    """The server's status that led to an error; 0 where there was none."""
    for part in _chain(error):
        answer: Any = getattr(
            part, "response", None
        )  # botocore's errors keep it there, aiohttp's in `status`
        details = answer.get("ResponseMetadata", {}) if isinstance(answer, Mapping) else {}
        status = getattr(part, "status", None) or details.get("HTTPStatusCode")
        if isinstance(status, int):
            return status
    return 0


def _is_refusal(error: BaseException) -> bool:
    """Whether the store wants other credentials."""
    if isinstance(error, PermissionError) or _status(error) in (401, 403):
        return True
    return "Credential" in type(error).__name__ or "Authentication" in type(error).__name__


def explain(error: BaseException, url: str, options: Mapping[str, Any], tries: int) -> HeadraceError:
    """Word an error of a store, and chain its cause; no secret shows in either."""
    if isinstance(error, HeadraceError):
        return error
    reason = redact(f"{type(error).__name__}: {error}".rstrip(": "), options)
    again = f" ({tries} times)" if tries > 1 else ""
    if isinstance(error, FileNotFoundError) or _status(error) in (404, 410):
        found: HeadraceError = MissingSourceError(
            f"{url}: no such file or folder; it was moved or deleted, or the name is another ({reason})"
        )
    elif isinstance(error, ImportError):
        found = MissingDependencyError(f"{url}: needs a library that is not installed: {reason}")
    elif _is_refusal(error):
        found = SourceError(
            f"{url}: access is refused; look at the credentials in `storage_options`: {reason}"
        )
    else:
        found = SourceError(f"{url}: cannot be read{again}: {reason}")
    # A traceback prints the whole chain, so no part of it may name a secret.
    is_safe = all(redact(str(part), options) == str(part) for part in _chain(error))
    found.__cause__ = error if is_safe else OSError(reason)
    return found


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def redact(text: str, options: Mapping[str, Any]) -> str:
    """Blank the secrets of a text: those among the options, and what URLs hold of them.

    Example:
        >>> redact("GET https://u:p@host/x?sig=1 with hunter2", {"secret": "hunter2"})
        'GET https://***@host/x?*** with ***'
    """
    text = re.sub(r"(\w://[^\s'\"?#]*)\?[^\s'\"]*", r"\1?***", text)
    text = re.sub(r"(\w://)[^\s/'\"@?]*:[^\s/'\"?]*@", r"\1***@", text)
    for secret in sorted(_secrets(options), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _secrets(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, part in cast("Mapping[Any, Any]", value).items():
            yield from _secrets(part, str(key))
    elif isinstance(value, (list, tuple, set)):
        for part in cast("list[Any]", value):
            yield from _secrets(part, name)
    elif isinstance(value, (str, bytes)) and not any(known in name for known in _OPEN_SETTINGS):
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if len(text) >= _SHORTEST_SECRET:
            yield text
