"""Imported by a fork server before it forks: everything that a host process loads, compiled code included."""

from __future__ import annotations

import numpy as np

import headrace as hr
import headrace.execution.host.serving

for shuffle in (True, "global"):
    list(
        hr.from_arrays({"x": np.arange(40), "image": np.zeros((40, 2, 3), np.uint8)}).loader(
            6, shuffle=shuffle, threads=0, output="numpy"
        )
    )
    list(
        hr.from_arrays({"x": np.arange(40), "text": ["a"] * 40}).loader(
            6, shuffle=shuffle, threads=0, output="numpy"
        )
    )
