"""Bounds on what a child may take while it reads damaged files."""

from __future__ import annotations

import resource
from pathlib import Path


def limit_memory(extra: int) -> None:
    """Bound this process to so many bytes of addresses beyond those that it was forked with.

    A fixed bound may lie below what a test process has mapped by then. Not even a thread starts there,
    and Python waits for it for ever.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
