"""Who follows a loader: its copies in the worker processes of somebody else."""

from __future__ import annotations

from typing import Protocol


class Follower(Protocol):
    """Copies of a loader in worker processes: told where to begin, asked how far they came."""

    def move(self, epoch: int, cursor: int) -> None:
        """Tell the workers where their next pass begins."""
        ...

    def reached(self) -> int | None:
        """Return the epoch that the workers have come to, or None if they finished none."""
        ...

    def start_under_way(self) -> tuple[int, int] | None:
        """Return where a pass began that workers have not read to its end."""
        ...
