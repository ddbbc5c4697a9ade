"""Who computes an entry, among the threads of one process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager


class Claims:
    """Entries that threads compute at the moment.

    Thread-safe.

    Example:
        >>> claims = Claims()
        >>> with claims.claim(3, lambda: False) as mine:
        ...     mine, claims.is_claimed(3)
        (True, False)
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._changed = threading.Condition()
        self._owners: dict[Hashable, tuple[int, int]] = {}  # process and thread

    @contextmanager
    def claim(self, name: Hashable, is_done: Callable[[], bool]) -> Generator[bool]:
        """Wait for the thread that computes an entry, if there is one.

        Yields True to whoever shall compute it, and False once `is_done()` is true.
        """
        with self._changed:
            while not (done := is_done()) and self._owner(name) is not None:
                self._changed.wait(_LISTEN_SECONDS)
            if not done:
                self._owners[name] = os.getpid(), threading.get_ident()
        if done:
            yield False
            return
        try:
            yield True
        finally:
            with self._changed:
                self._owners.pop(name, None)
                self._changed.notify_all()

    def is_claimed(self, name: Hashable) -> bool:
        """Tell whether another thread computes an entry."""
        with self._changed:
            return self._owner(name) not in (None, threading.get_ident())

    def _owner(self, name: Hashable) -> int | None:
        """The thread that computes an entry; those of the process that forked this one are not here."""
        process, thread = self._owners.get(name, (0, 0))
        return thread if process == os.getpid() else None


_LISTEN_SECONDS = 0.2  # how often a waiting thread looks whether Ctrl-C was pressed
