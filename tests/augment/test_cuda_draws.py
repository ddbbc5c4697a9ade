"""The device's draws, compiled by the host's compiler: the published answers, and the bits of NumPy."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_compiler import compile_shared

import headrace.augment
from headrace.draws import numbers, tables

SOURCE = Path(headrace.augment.__file__).parent / "cuda_source" / "draws.cuh"
LOOPS = """
void philox(const u32 *counters, const u32 *keys, u32 *words, long count) {
    for (long i = 0; i < count; ++i) {
        const u32 *c = counters + 4 * i;
        philox4x32_10(c[0], c[1], c[2], c[3], keys[2 * i], keys[2 * i + 1], words + 4 * i);
    }
}
void uniforms(const u32 *words, float *out, long count) {
    for (long i = 0; i < count; ++i) out[i] = uniform_of(words[i]);
}
void integers(const u32 *words, u64 n, u32 *out, long count) {
    for (long i = 0; i < count; ++i) out[i] = integer_of(words[i], n);
}
void gates(const u32 *words, u64 threshold, int *out, long count) {
    for (long i = 0; i < count; ++i) out[i] = bernoulli_of(words[i], threshold);
}
void quantiles(const u32 *words, const float *table, float *out, long count) {
    for (long i = 0; i < count; ++i) out[i] = quantile_of(words[i], table);
}
"""
EDGES = [0, 1, 2, 127, 128, 129, 255, 2**24, 2**30, 2**31 - 1]
WORDS = np.concatenate(
    [
        np.random.default_rng(0).integers(0, 2**32, 50_000, dtype=np.uint32),
        np.array([*EDGES, *(2**32 - 1 - edge for edge in EDGES)], np.uint32),
        np.array([bit for power in range(32) for bit in (1 << power, 2**32 - (1 << power))], np.uint32),
    ]
)


def run(library: ctypes.CDLL, name: str, dtype: Any, *arguments: Any) -> Any:
    out = np.zeros(len(WORDS), dtype)
    getattr(library, name)(
        WORDS.ctypes.data_as(ctypes.c_void_p),
        *arguments,
        out.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_long(len(WORDS)),
    )
    return out


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compile_shared(tmp_path_factory.mktemp("draws"), SOURCE.read_text() + LOOPS)


def test_philox_gives_the_published_answers(library: ctypes.CDLL) -> None:
    """The three vectors that Random123 publishes for Philox4x32 with ten rounds."""
    rows = [
        "00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd",
        "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1",
    ]
    vectors = np.array([[int(word, 16) for word in row.split()] for row in rows], np.uint32)
    words = np.zeros((3, 4), np.uint32)

    parts = [np.ascontiguousarray(part) for part in (vectors[:, :4], vectors[:, 4:6])]
    pointers = [part.ctypes.data_as(ctypes.c_void_p) for part in (*parts, words)]
    library.philox(*pointers, ctypes.c_long(3))

    np.testing.assert_array_equal(words, vectors[:, 6:])


def test_uniforms_have_the_bits_of_numpy(library: ctypes.CDLL) -> None:
    """Words become the same float32."""
    np.testing.assert_array_equal(run(library, "uniforms", np.float32), numbers.uniform(WORDS))


@pytest.mark.parametrize("n", [1, 2, 3, 10, 256, 2**31 + 1, 2**32])
def test_integers_are_those_of_numpy(library: ctypes.CDLL, n: int) -> None:
    """Words become the same integers, up to 2^32 of them."""
    np.testing.assert_array_equal(
        run(library, "integers", np.uint32, ctypes.c_uint64(n)), numbers.integers(WORDS, n)
    )


@pytest.mark.parametrize("p", [0.0, 2.0**-32, 0.3, 0.5, 1.0])
def test_gates_are_those_of_numpy(library: ctypes.CDLL, p: float) -> None:
    """Words pass the same gates; one of probability 1 lets every word pass."""
    passed = run(library, "gates", np.int32, ctypes.c_uint64(int(p * 2**32)))

    np.testing.assert_array_equal(passed.astype(bool), numbers.bernoulli(WORDS, p))


@pytest.mark.parametrize("name", ["normal", "beta"])
def test_tables_are_read_to_the_bit(library: ctypes.CDLL, name: str) -> None:
    """Normal and beta numbers have the bits of NumPy, at the ends of the tails too."""
    table = tables.normal_table() if name == "normal" else tables.beta_table(0.2, 0.7)
    expected = numbers.normal(WORDS) if name == "normal" else numbers.beta(WORDS, 0.2, 0.7)

    found = run(library, "quantiles", np.float32, table.ctypes.data_as(ctypes.c_void_p))

    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


def test_a_fused_product_would_be_seen(tmp_path: Path) -> None:
    """The comparison of bits is sharp enough to tell a fused multiply-add from a product and a sum."""
    line = "return entry[0] + entry[1] * ((float)rest * 1.1920928955078125e-07f);"
    other = "return __builtin_fmaf(entry[1], (float)rest * 1.1920928955078125e-07f, entry[0]);"
    text = SOURCE.read_text().replace(line, other)
    assert other in text
    fused = compile_shared(tmp_path, text + LOOPS)

    found = run(fused, "quantiles", np.float32, tables.normal_table().ctypes.data_as(ctypes.c_void_p))

    assert (found != numbers.normal(WORDS)).any()
