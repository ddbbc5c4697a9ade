"""World: which of how many training processes this one is."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from headrace.errors import OptionError


@dataclass(frozen=True, slots=True)
class World:
    """The place of one training process among all of them.

    Attributes:
        rank: Index of this process, 0 to size - 1.
        size: How many training processes there are.

    Example:
        >>> World(rank=1, size=4).slice(10)
        (2, 5)
    """

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        are_whole = all(isinstance(getattr(self, name), int) for name in ("rank", "size"))
        if not are_whole or self.size < 1 or not 0 <= self.rank < self.size:
            raise OptionError(
                "a world needs a size of at least 1 and a rank in 0..size - 1, "
                f"got {self.rank=} and {self.size=}"
            )

    def slice(self, count: int) -> tuple[int, int]:
        """Return the begin and end of this rank's contiguous part of `count` samples."""
        return self.rank * count // self.size, (self.rank + 1) * count // self.size

    @staticmethod
    def detect() -> World:
        """Ask torch.distributed if it is initialised, else torchrun's variables, else one rank.

        This is the only place in headrace that reads environment variables, and it runs only
        when a loader was given no world. torch is asked only if the program imported it.

        Example:
            >>> World.detect()
            World(rank=0, size=1)
        """
        distributed = sys.modules.get("torch.distributed")
        if distributed is not None and distributed.is_available() and distributed.is_initialized():
            return World(int(distributed.get_rank()), int(distributed.get_world_size()))
        rank, size = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
        if rank is None or size is None:
            return World()
        try:
            return World(int(rank), int(size))
        except ValueError as error:
            raise OptionError(
                "RANK and WORLD_SIZE must be whole numbers with 0 <= RANK < WORLD_SIZE, "
                f"got {rank!r} and {size!r}"
            ) from error
