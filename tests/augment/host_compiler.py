"""The bodies of device functions, compiled by the host's C compiler, so that they run without a GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

# What NVRTC brings and a C compiler does not.
DEVICE_WORDS = {
    "__device__": "",
    "__global__": "",
    "__restrict__": "restrict",
    "__forceinline__": "static inline",
    "__clz": "__builtin_clz",
}


def compile_shared(folder: Path, text: str) -> ctypes.CDLL:
    """Compile C to a shared library and load it; products and sums are not fused, as with `--fmad=false`."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "a C compiler is needed: install gcc"
    source, library = folder / "body.c", folder / "body.so"
    source.write_text(text)
    words = [f"-D{name}={meaning}" for name, meaning in DEVICE_WORDS.items()]
    flags = ["-std=gnu17", "-O2", "-ffp-contract=off", "-Wall", "-Wno-unused-function", "-Werror"]
    subprocess.run([compiler, *flags, *words, "-shared", "-fPIC", "-o", library, source], check=True)
    return ctypes.CDLL(str(library))
