"""The text of the kernels: one module without headers, joined from the files of `cuda_source`."""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from importlib.resources import files

from headrace.augment.fused.image.program import PASS_WORDS, Kind, Sampling, Word
from headrace.augment.fused.series import program as series_program
from headrace.augment.fused.tokens.program import Option
from headrace.augment.image.tone import GAMMA_CELLS, GAMMAS
from headrace.augment.series.base import STEP
from headrace.augment.series.warp import WHOLE

OPTIONS = ("--fmad=false", "--std=c++14")
"""For NVRTC: products and sums are not fused, so that their bits are those of the reference."""

# For each kind of element: its name in C, what is computed with, whether that is whole, and the files.
_KINDS = {
    "u8": ("u8", "int", 1, ("moves", "image", "series", "pick", "blend")),
    "u16": ("u16", "u16", 1, ("moves", "series", "pick")),
    "u32": ("u32", "u32", 1, ("moves", "series", "pick")),
    "u64": ("u64", "u64", 1, ("moves", "series", "pick", "labels")),
    "f32": ("float", "float", 0, ("moves", "image", "series", "jitter", "blend")),
    "i32": ("int", "int", 1, ("tokens",)),
    "i64": ("long long", "long long", 1, ("tokens",)),
    "f64": ("double", "double", 0, ("series", "jitter", "blend")),
}


@cache
def kernel_source() -> str:
    """Return the whole text."""
    parts = [_constants(), _read("draws"), _read("common")]
    for name, (pixel, wide, is_whole, texts) in _KINDS.items():
        words = {"PIXEL": pixel, "WIDE": wide, "IS_WHOLE": is_whole, "NAME(x)": f"x##_{name}"}
        parts += [f"#define {word} {meaning}" for word, meaning in words.items()]
        parts += [_read(text) for text in texts]
        parts += [f"#undef {word.partition('(')[0]}" for word in (*words, "PROGRAM", "BOUND")]
    return "\n".join(parts) + "\n"


def _constants() -> str:
    """Return the words of programs as C sees them."""
    values = {"PASS_WORDS": PASS_WORDS, "GAMMA_STEPS": GAMMAS, "GAMMA_CELLS": GAMMA_CELLS}
    values |= {"S_PASS_WORDS": series_program.PASS_WORDS, "SERIES_PLACE_SHIFT": WHOLE - STEP}
    tables: tuple[tuple[str, type[IntEnum]], ...] = (
        ("", Kind),
        ("", Word),
        ("", Sampling),
        ("S_", series_program.Kind),
        ("S_", series_program.Word),
        ("T_", Option),
    )
    for prefix, table in tables:
        values |= {prefix + each.name: each.value for each in table}
    return "\n".join(f"#define {name} {value}" for name, value in values.items())


def _read(name: str) -> str:
    return (files("headrace.augment") / "cuda_source" / f"{name}.cuh").read_text()
