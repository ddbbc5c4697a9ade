"""Random numbers that are addressed, not consumed: a pure function of seed, epoch, sample and role.

- `philox4x32` is the generator: Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
  (2011), on arrays of any library that follows the array API.
- `Draws` is one epoch's numbers; `Samples` says for whom is drawn.
- `headrace.draws.numbers` turns 32-bit words into uniform, whole, normal and other numbers.

Example:
    >>> import headrace as hr, numpy as np
    >>> hr.draws.Draws(seed=0, epoch=1).words("mine", hr.draws.Samples(np.array([7])), count=3).shape
    (1, 3)
"""

from headrace.draws.draws import DRAWS_VERSION, Draws, Samples
from headrace.draws.philox import philox4x32

__all__ = ["DRAWS_VERSION", "Draws", "Samples", "philox4x32"]
