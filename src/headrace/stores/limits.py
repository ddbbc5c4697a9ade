"""How small a limit may be."""

from __future__ import annotations

from headrace.errors import OptionError


def check_limit(limit: int | None, size: int) -> None:
    """Hold a limit against the size of one entry.

    Raises:
        OptionError: The limit is too small.
    """
    if limit is not None and size > limit:
        raise OptionError(
            f"`limit` must hold one prepared row group at least, got {limit:,} bytes for a row group of "
            f"{size:,}; raise the limit, or write smaller row groups"
        )
