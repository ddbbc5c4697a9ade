"""The kernels of devices on the CPU: compiled by the host's compiler, a loop around each of them."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import numpy as np
from host_compiler import compile_shared

from headrace.augment.cuda.source import kernel_source

_KERNEL = re.compile(r"KERNEL NAME\((\w+)\)\(([^)]*)\)")


class HostLauncher:
    """Runs kernels thread by thread, on NumPy arrays."""

    xp = np

    def __init__(self, folder: Path):
        self._library = compile_shared(folder, "#define HOST\n" + _with_loops(kernel_source()))
        self.launched = []

    def constant(self, array):
        return np.ascontiguousarray(array)

    def zeros(self, shape, dtype):
        return np.zeros(shape, dtype)

    def launch(self, name, threads, *arguments):
        found = [
            ctypes.c_int(each) if isinstance(each, int) else ctypes.c_void_p(each.ctypes.data)
            for each in arguments
        ]
        assert all(isinstance(each, int) or each.flags.c_contiguous for each in arguments)
        getattr(self._library, f"run_{name}")(ctypes.c_ulonglong(threads), *found)
        self.launched.append(name)


def _with_loops(text):
    """Put a function `run_...` behind each kernel that calls it for each of so many threads."""
    parts = re.split(r"(?m)^(#define NAME\(x\) x##_(\w+))$", text)
    found = [parts[0]]
    for define, kind, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        program = (re.search(r"#define PROGRAM((?:.*\\\n)*.*)", body) or [None, ""])[1]
        loops = []
        for name, parameters in _KERNEL.findall(body):
            given = parameters.replace("PROGRAM", program.replace("\\\n", " "))
            names = ", ".join(re.findall(r"(\w+)(?:,|$)", given))
            loops.append(
                f"void run_{name}_{kind}(u64 threads, {given}) {{"
                f" for (host_thread = 0; host_thread < threads; ++host_thread) {name}_{kind}({names}); }}"
            )
        head, undef, tail = body.partition("#undef PIXEL")
        found += [define, head, "\n".join(loops) + "\n", undef, tail]
    return "".join(found)
