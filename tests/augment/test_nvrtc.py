"""The kernels, compiled by NVRTC as a device would have it done; no GPU is needed, but the wheels are."""

from __future__ import annotations

import re

import pytest

from headrace.augment.cuda.source import OPTIONS, kernel_source

pytestmark = pytest.mark.nvrtc

KERNELS = {f"image_moves_{kind}" for kind in ("u8", "u16", "u32", "u64", "f32")}
KERNELS |= {f"{name}_{kind}" for name in ("choose", "paste") for kind in ("u8", "u16", "u32", "u64")}
KERNELS |= {
    "jitter_f32",
    "jitter_f64",
    "blend_u8",
    "blend_f32",
    "blend_f64",
    "labels_u64",
    "tokens_i32",
    "tokens_i64",
}
KERNELS |= {f"series_{kind}" for kind in ("u8", "u16", "u32", "u64", "f32", "f64")}
KERNELS |= {f"image_{name}_{kind}" for name in ("gray", "pixels") for kind in ("u8", "f32")}


def compile_ptx(architecture, options):
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(kernel_source(), "headrace.cu", [], [])
    nvrtc.compileProgram(program, (f"--gpu-architecture={architecture}", *options))
    ptx = nvrtc.getPTX(program)
    return ptx.decode() if isinstance(ptx, bytes) else ptx


@pytest.mark.parametrize("architecture", ["compute_90", "compute_100"])
def test_kernels_compile_and_fuse_nothing(architecture):
    """All kernels are there, and no product is fused with a sum, nor is a quotient or a root approximate."""
    ptx = compile_ptx(architecture, OPTIONS)

    assert set(re.findall(r"\.entry (\w+)", ptx)) == KERNELS
    assert not re.findall(r"\b(?:fma|mad)\.[\w.]*f(?:32|64)", ptx)
    assert not re.findall(r"\b(?:div|sqrt|rcp)\.(?:approx|full)", ptx)


def test_the_option_is_what_keeps_them_apart():
    """Without it NVRTC does fuse, so that the test above can fail."""
    ptx = compile_ptx("compute_90", [option for option in OPTIONS if "fmad" not in option])

    assert re.findall(r"\bfma\.[\w.]*f32", ptx)


def test_cupy_takes_the_module_without_a_device():
    """CuPy can be imported and given the module; it compiles when a kernel is first run."""
    import cupy

    from headrace.augment.cuda.module import CudaLauncher

    assert CudaLauncher(cupy).xp.float32 is cupy.float32
