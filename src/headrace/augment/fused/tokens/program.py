"""The program of a token stage: what becomes of one column of ids, and of those that go with it.

Every kernel, on the CPU and on a GPU, works by the same whole numbers. A sample's ids lie side by side from
`begins[i]` on, `sizes[i]` of them; of those the first `tokens[i]` are tokens, but for the padding. `options`
are int64:

| word | name    | MASK         | REPLACE    | DROP                              | WINDOW           |
|------|---------|--------------|------------|-----------------------------------|------------------|
| 0    | has_pad | 1 where places that hold `pad` are no tokens, else 0                             |
| 1    | pad     | the id of padding                                                                |
| 2    | applied | where in a sample's record the gate is                                           |
| 3    | word    | -1           | -1         | -1                                | where it lies    |
| 4    | a       | masked       | threshold  | threshold                         | size             |
| 5    | b       | replaced     | vocab_size | 1 to replace, 0 to close the gaps |                  |
| 6    | c       | chosen       |            |                                   |                  |
| 7    | d       | mask_id      |            |                                   |                  |
| 8    | e       | vocab_size   |            |                                   |                  |
| 9    | f       | ignore_index |            |                                   |                  |
| 10.. | special | ids that are never changed                                                       |

Thresholds are compared with words of 32 bits. Token e of a sample has word e, but for MASK and REPLACE the
words 2e and 2e + 1. DROP and WINDOW say which place comes at each, and how many: all columns are then read at
these. WINDOW's own word lies in the record.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.chain import Bound
from headrace.augment.tokens.change import TokenDropout, TokenReplace
from headrace.augment.tokens.mask import MaskTokens
from headrace.augment.tokens.window import RandomWindow
from headrace.draws import numbers


class Option(IntEnum):
    """Where in `options` something is."""

    HAS_PAD = 0
    PAD = 1
    APPLIED = 2
    WORD = 3
    A = 4
    B = 5
    C = 6
    D = 7
    E = 8
    F = 9
    SPECIAL = 10


def write_options(bound: Bound, number: int, is_ragged: bool) -> NDArray[np.int64]:
    """Write the options of one augmentation of tokens."""
    op: Any = bound.chain.ops[number]
    fields: Any = bound.dtype.fields
    record, begin = fields[bound.chain.paths[number]][:2]
    has_pad = op.pad_id is not None and op.lengths is None and not is_ragged
    places = [(begin + record.fields[name][1]) // 4 for name in record.names] + [-1]
    own: list[int] = []
    match op:
        case MaskTokens():
            own = [*op.thresholds, op.mask_id, op.vocab_size, op.ignore_index]
        case TokenReplace():
            own = [numbers.threshold(op.rate), op.vocab_size]
        case TokenDropout():
            own = [numbers.threshold(op.rate), int(op.replacement is not None)]
        case RandomWindow():
            own = [op.size]
        case _:
            pass
    own += [0] * (Option.SPECIAL - Option.A - len(own))
    special = getattr(op, "special_ids", ())
    return np.array([int(has_pad), op.pad_id or 0, *places[:2], *own, *special], np.int64)
