"""What a fit can ask of the data, in one place.

A statistic is a value that names what is asked, so that two steps that ask the same share the answer. Its
states are computed by row group and merged. Merging is exact wherever it can be: a fitted number has the same
bits for any row groups, any order and any executor.
"""

from __future__ import annotations

from headrace.prepare.numbers.memory import known_numbers
from headrace.prepare.statistics.counts import Counts, CountsState
from headrace.prepare.statistics.distinct import Distinct, DistinctState
from headrace.prepare.statistics.group_sums import GroupSums, GroupSumsState, GroupTable
from headrace.prepare.statistics.kll import SketchState
from headrace.prepare.statistics.moments import Moments, MomentsState
from headrace.prepare.statistics.states import Payload, Reducible, State, Statistic, merge_states
from headrace.prepare.statistics.values import Values, ValuesState

__all__ = [
    "Counts",
    "CountsState",
    "Distinct",
    "DistinctState",
    "GroupSums",
    "GroupSumsState",
    "GroupTable",
    "Moments",
    "MomentsState",
    "Payload",
    "Reducible",
    "SketchState",
    "State",
    "Statistic",
    "Values",
    "ValuesState",
    "known_numbers",
    "merge_states",
]
