"""Thirteen checks of the GPU path: that it is right, how fast it is beside the link, what it leaves behind.

Run it on a machine with a GPU; it is to take less than nine minutes, and needs NumPy, pyarrow, Polars, Numba,
torch and CuPy:

    python benchmarks/gpu_check.py --json gpu_check.json

`--dry` runs what a CPU can show, on `HostDevice`: the reference against the compiled stages, batches of any
size, races, too little memory. All else says "no device". The exit code is 0 if all checks passed, 1 if one
failed, and 3 if none failed but some could not be run. The last line is all results as JSON. Figures are
medians after a warm-up, of data that is never all zeros; no clock of the GPU is changed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
import traceback
from functools import partial

import numpy as np

import headrace as hr
from headrace import augment
from headrace.augment.base import Mixing, Spec
from headrace.augment.chain import Chain
from headrace.augment.fused.compile import find_stages
from headrace.augment.stage import reference_stages, run_stages
from headrace.draws import Draws, philox4x32
from headrace.draws.draws import Samples, draw_words, reference_words
from headrace.execution.device.host import HostDevice
from headrace.execution.device.slabs import SlabMemory
from headrace.execution.device.transfer import Cargo, Transfer

PASS, FAIL, REPORT, NONE = "pass", "FAIL", "report", "no device"
LINK_SHARE, OVERLAP, MOST_LAUNCHES, DRIFT = 0.85, 0.9, 4, 1 << 20


class Check:
    """What checks share: whether there is a device, and what earlier ones found."""

    def __init__(self, is_dry):
        self.is_dry = is_dry
        self.link = None  # bytes a second, host to device, the best of check 1
        if not is_dry:
            import cupy
            import torch

            self.cupy, self.torch = cupy, torch

    def device(self, early=()):
        return HostDevice(early) if self.is_dry else "cuda"

    def output(self):
        return "numpy" if self.is_dry else "torch"

    def to_host(self, batch):
        return {name: column if self.is_dry else column.cpu().numpy() for name, column in batch.items()}

    def seconds(self, work, repeats=7):
        """The median time of work on the current stream, by events."""
        cuda = self.torch.cuda
        work()
        found = []
        for _ in range(repeats):
            begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
            begin.record()
            work()
            end.record()
            end.synchronize()
            found.append(begin.elapsed_time(end) / 1e3)
        return statistics.median(found)


# ---- 0 to 2: the machine


def check_machine(check):
    """0: versions, the link, and how long the kernels take to compile."""
    from headrace.augment.cuda.module import CudaLauncher

    properties = check.cupy.cuda.runtime.getDeviceProperties(0)
    found = {
        "device": properties["name"].decode(),
        "driver": check.cupy.cuda.runtime.driverGetVersion(),
        "cupy": check.cupy.__version__,
        "torch": check.torch.__version__,
    }
    if shutil.which("nvidia-smi"):
        query = "pcie.link.gen.current,pcie.link.width.current,power.limit"
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=False,
        )
        found["link (generation, width, watts)"] = done.stdout.strip()
    begin = time.perf_counter()
    launcher = CudaLauncher(check.cupy)
    launcher.compile()
    found["compile_seconds"] = time.perf_counter() - begin
    return PASS if found["compile_seconds"] < 10 else FAIL, found


def check_bandwidth(check):
    """1: copies of all sizes, from page-locked and from pageable memory; the best is the link."""
    torch, found = check.torch, {}
    for size in (1 << 16, 1 << 20, 1 << 24, 1 << 26, 1 << 28, 1 << 30):
        source = torch.randint(0, 256, (size,), dtype=torch.uint8)
        pinned, there = source.pin_memory(), torch.empty(size, dtype=torch.uint8, device="cuda")
        other = torch.empty_like(there)
        ways = {
            "pinned to device": partial(there.copy_, pinned, non_blocking=True),
            "pageable to device": partial(there.copy_, source),
            "device to pinned": partial(pinned.copy_, there, non_blocking=True),
            "device to device": partial(other.copy_, there, non_blocking=True),
        }
        found[size] = {name: size / check.seconds(work) / 1e9 for name, work in ways.items()}
    slabs = [torch.randint(0, 256, (1 << 25,), dtype=torch.uint8).pin_memory() for _ in range(3)]
    targets = [torch.empty(1 << 25, dtype=torch.uint8, device="cuda") for _ in slabs]

    def three():
        for target, slab in zip(targets, slabs, strict=True):
            target.copy_(slab, non_blocking=True)

    found["three slabs of 32 MiB"] = 3 * (1 << 25) / check.seconds(three) / 1e9
    check.link = 1e9 * max(
        found["three slabs of 32 MiB"],
        *(each["pinned to device"] for each in found.values() if isinstance(each, dict)),
    )
    return REPORT, {"GB/s": found, "link_GB/s": check.link / 1e9}


KNOWN = (  # counter, key and answer of Random123's kat_vectors for philox4x32, 10 rounds
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)


def check_philox(check):
    """2: the published answers, and ten million words, equal on the device."""
    xp = np if check.is_dry else check.cupy
    counters, keys, answers = (np.array([each[part] for each in KNOWN], np.uint32) for part in range(3))
    known = _host(philox4x32(xp.asarray(counters), xp.asarray(keys)))
    count, each = (1000, 100) if check.is_dry else (10_000, 1000)
    draws, samples = Draws(5, 2), Samples(np.arange(count) * 977)
    identity, key = draws.identity(samples), draws.key("check")
    expected = draw_words([key], [each], identity)[0]
    found = _host(reference_words(xp, xp.asarray(key), xp.asarray(identity), each))
    is_right = np.array_equal(known, answers) and np.array_equal(found, expected)
    return PASS if is_right else FAIL, {"words": count * each, "known_answers": len(KNOWN)}


def _host(array):
    return array if isinstance(array, np.ndarray) else array.get()


# ---- 3 and 4: equal bits


def image_ops(k):
    yield from (
        augment.RandomCrop("x", (9, 11), padding=3, fill=1, **k),
        augment.CenterCrop("x", (20, 8), **k),
        augment.RandomResizedCrop("x", (8, 9), **k),
        augment.RandomResizedCrop("x", (31, 30), antialias=False, **k),
        augment.Resize("x", (6, 21), **k),
        augment.Resize("x", (6, 21), interpolation="nearest", **k),
        augment.HorizontalFlip("x", **k),
        augment.VerticalFlip("x", **k),
        augment.Rot90("x", k=(0, 2), **k),
        augment.Rotate("x", 70, **k),
        augment.Rotate("x", 70, interpolation="bilinear", fill=1, p=0.6, **k),
        augment.Brightness("x", 0.7, p=0.7, **k),
        augment.Contrast("x", 0.7, p=0.7, **k),
        augment.Saturation("x", 0.7, **k),
        augment.Gamma("x", (0.5, 2.0), **k),
        augment.Invert("x", **k),
        augment.Posterize("x", (2, 7), **k),
        augment.Solarize("x", (0.1, 0.9), **k),
        augment.Grayscale("x", p=0.5, **k),
        augment.GaussianNoise("x", sigma=(0.05, 0.3), **k),
        augment.RandomErasing("x", **k),
        augment.Cutout("x", (1, 4), (0.1, 0.5), **k),
        augment.Normalize("x", (0.4, 0.5, 0.6), 0.25, to_layout="NCHW", **k),
        augment.Normalize("x", 0.5, 0.25, to_layout="NHWC", **k),
        augment.CutMix("x", **k),
    )


def other_ops():
    """Operation, name of its column, shape and dtypes."""
    floats = ("float32", "float64")
    for op in (
        augment.Jitter("x"),
        augment.Scaling("x"),
        augment.TimeWarp("x"),
        augment.WindowSlice("x"),
        augment.WindowSlice("x", size=9),
        augment.Permutation("x"),
        augment.Shift("x"),
        augment.Reverse("x"),
        augment.TimeMask("x", mask_param=5),
        augment.FrequencyMask("x", mask_param=2),
        augment.MixUp("x"),
    ):
        yield op, (23, 3), floats
    for op in (
        augment.MaskTokens("x", mask_id=3, vocab_size=50, pad_id=0),
        augment.TokenDropout("x", pad_id=0),
        augment.TokenReplace("x", vocab_size=50, pad_id=0),
        augment.RandomWindow("x", size=7, pad_id=0),
    ):
        yield op, (17,), ("int32", "int64")
    for op in (
        augment.FeatureDropout("x", rate=0.4),
        augment.GaussianJitter("x", sigma=0.3),
        augment.SwapNoise("x", rate=0.5),
    ):
        yield op, (13,), floats


def cases():
    """Every operation with every layout, dtype and an odd shape."""
    for layout, shape in (("NHWC", (15, 19, 3)), ("NCHW", (3, 15, 19))):
        for op in image_ops({"layout": layout}):
            for dtype in ("uint8", "float32", "float16", "float64"):
                yield op, shape, dtype
    for op, shape, dtypes in other_ops():
        for dtype in dtypes:
            yield op, shape, dtype


def fresh(shape, dtype, count, seed):
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.random((count, *shape)).astype(kind)
    return rng.integers(0, 256 if kind == np.uint8 else 50, (count, *shape)).astype(kind)


def poisoned(xp, wanted):
    """Memory that holds neither zeros nor what was in it before."""
    found = {}
    for name, (shape, dtype) in wanted.items():
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        found[name] = xp.full(max(size, 1), 0xA5, dtype=xp.uint8)[:size].view(dtype).reshape(shape)
    return found


def check_parity(check):
    """3: every operation, dtype and layout: the device's bits are those of the reference on NumPy."""
    stages_of, planned_on, xp = _backend(check)
    failed, count = [], 0
    for number, (op, shape, dtype) in enumerate(cases()):
        name = f"{type(op).__name__} {dtype} {shape}"
        try:
            bound = Chain((op,)).bind({"x": Spec(shape, np.dtype(dtype))})
        except hr.SchemaError:
            continue  # not for this dtype
        own, other = fresh(shape, dtype, 37, number), fresh(shape, dtype, 37, number + 10_000)
        draws, ids = Draws(number, 3), np.arange(37) * 7
        planned, planned_other = bound.plan(draws, Samples(ids)), bound.plan(draws, Samples(ids + 1))
        partners = isinstance(op, Mixing)
        expected = run_stages(
            bound,
            reference_stages(bound),
            {"x": own},
            planned,
            partial(poisoned, np),
            ({"x": other}, planned_other) if partners else None,
        )
        found = run_stages(
            bound,
            stages_of(bound),
            {"x": xp.asarray(own)},
            planned_on(bound, planned),
            partial(poisoned, xp),
            ({"x": xp.asarray(other)}, planned_on(bound, planned_other)) if partners else None,
        )
        count += 1
        for column, values in expected.items():
            if _host(found[column]).tobytes() != values.tobytes():
                failed.append(f"{name}: column {column}")
    return PASS if not failed else FAIL, {"compared": count, "differ": failed}


def _backend(check):
    """How a chain is performed, what was drawn, and the namespace of arrays there."""
    if check.is_dry:
        return find_stages, lambda bound, planned: planned, np
    from headrace.augment.cuda.module import CudaLauncher
    from headrace.augment.cuda.stages import DevicePlanned, device_stages

    cupy, launcher = check.cupy, CudaLauncher(check.cupy)

    def planned_on(bound, planned):
        packed, identity = cupy.asarray(planned.packed), cupy.asarray(planned.identity)
        return DevicePlanned(bound.dtype, packed, identity, planned.element_keys)

    return partial(device_stages, launcher=launcher), planned_on, cupy


def image_dataset(count, side=64):
    rng = np.random.default_rng(1)
    return hr.from_arrays(
        {
            "image": rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8),
            "label": rng.integers(0, 10, count),
        }
    )


def whole_chain(ds, size=56):
    return ds.augment(
        augment.RandomCrop("image", size, padding=4),
        augment.HorizontalFlip("image"),
        augment.Brightness("image"),
        augment.Contrast("image"),
        augment.GaussianNoise("image", sigma=0.05),
        augment.RandomErasing("image"),
        augment.Normalize("image", 0.5, 0.25, to_layout="NCHW"),
    )


def check_batches(check):
    """4: an epoch in batches of any size, by any number of threads, is that of the CPU."""
    ds = whole_chain(image_dataset(600))
    options = {"shuffle": "global", "seed": 4}
    expected = _epoch(ds.loader(100, output="numpy", **options), lambda batch: batch)
    different = [
        (size, threads)
        for size in (1, 7, 256)
        for threads in (0, 4)
        if _epoch(
            ds.loader(size, threads=threads, device=check.device(), output=check.output(), **options),
            check.to_host,
        )
        != expected
    ]
    return PASS if not different else FAIL, {"differ (batch size, threads)": different}


def _epoch(loader, to_host):
    with loader:
        return b"".join(to_host(batch)["image"].tobytes() for batch in loader)


# ---- 5 and 6: who owns what, and when


def check_dlpack(check):
    """5: arrays handed from torch to CuPy and back keep address and strides, whoever lets go first."""
    cupy, torch, wrong = check.cupy, check.torch, []
    for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
        with torch.cuda.stream(stream):
            tensor = torch.arange(24, device="cuda", dtype=torch.int32).reshape(2, 3, 4)
            view = cupy.from_dlpack(tensor.transpose(0, 2))
            total, place = int(tensor.sum()), tensor.data_ptr()
            if view.data.ptr != place or view.strides != (4, 16, 48):
                wrong.append("torch to CuPy")
            del tensor
            _churn(torch)
            if int(view.sum()) != total:
                wrong.append("torch lets go first")
            array = cupy.arange(24, dtype=cupy.int32).reshape(4, 6)
            tensor = torch.from_dlpack(array)
            total = int(array.sum())
            if tensor.data_ptr() != array.data.ptr or tensor.stride() != (6, 1):
                wrong.append("CuPy to torch")
            del array
            _churn(torch)
            cupy.full(24, -1, dtype=cupy.int32)
            if int(tensor.sum()) != total:
                wrong.append("CuPy lets go first")
    return PASS if not wrong else FAIL, {"wrong": wrong}


def _churn(torch):
    gc.collect()
    for _ in range(8):
        torch.full((24,), -7, device="cuda", dtype=torch.int32)


def check_races(check):
    """6: a consumer that drops every batch at once sees right sums; without waits it does not."""
    batches, side = (60, 24) if check.is_dry else (2000, 64)
    ds = image_dataset(4096 if not check.is_dry else 480, side)
    size = 8 if check.is_dry else 64
    options = {"batch_size": size, "shuffle": "global", "seed": 9}
    wrong = {}
    for name, is_deaf in (("in order", False), ("without waits", True)):
        wrong[name] = sum(
            _wrong_sums(check, ds, options, batches, early, is_deaf)
            for early in ((), ("copy",), ("augment",))
            if check.is_dry or not early
        )
    is_right = wrong["in order"] == 0 and wrong["without waits"] > 0
    return PASS if is_right else FAIL, {"batches": batches, "wrong": wrong}


def _wrong_sums(check, ds, options, batches, early, is_deaf):
    """How many batches do not have the sums that they have on the CPU."""
    chain = ds.augment(augment.VerticalFlip("image"), augment.Invert("image"))
    expected, found = [], []
    with chain.loader(output="numpy", **options) as loader:
        while len(expected) < batches:
            expected += [int(batch["image"].sum(dtype=np.int64)) for batch in loader]
    device = _deaf(check, early) if is_deaf else check.device(early)
    streams = [None] if check.is_dry else [check.torch.cuda.Stream() for _ in range(3)]
    with chain.loader(device=device, output=check.output(), **options) as loader:
        while len(found) < batches:
            for number, batch in enumerate(loader):
                found.append(_sum_of(check, batch["image"], streams[number % len(streams)]))
                del batch
    if not check.is_dry:
        check.torch.cuda.synchronize()
    return sum(int(one) != other for one, other in zip(found[:batches], expected[:batches], strict=True))


def _sum_of(check, image, stream):
    if check.is_dry:
        return int(image.sum(dtype=np.int64))
    torch = check.torch
    stream.wait_stream(torch.cuda.current_stream())
    image.record_stream(stream)
    with torch.cuda.stream(stream):
        return image.sum(dtype=torch.int64)  # looked at when all are launched


def _deaf(check, early):
    """A device whose streams wait for nobody."""
    if check.is_dry:

        class DeafHost(HostDevice):
            def stream(self, role):
                stream = super().stream(role)
                stream.wait = lambda event: None
                return stream

        return DeafHost(early)
    from headrace.execution.device.cuda import CudaDevice

    class DeafCuda(CudaDevice):
        def stream(self, role):
            stream = super().stream(role)
            stream.wait = lambda event: None
            return stream

    return DeafCuda(0)


# ---- 7 and 8: how fast


class Passing:
    """Hands on what was sent, as a chain of no augmentations does."""

    def __init__(self, slab):
        self.outputs = {key: (part.shape, part.dtype) for key, part in slab.parts.items()}

    def __call__(self, inputs, outputs):
        for key, output in outputs.items():
            output[...] = inputs[0][key]


def _sent(check, arrays, count, ahead=2):
    """Seconds for each of `count` transfers of the same slabs, in a stream that does nothing else."""
    from headrace.execution.device.cuda import CudaDevice
    from headrace.torch import TorchOutputs

    device = CudaDevice(0)
    memory = SlabMemory(device)
    slabs = [memory.slab({(name, ""): array for name, array in arrays.items()}) for _ in range(3)]
    transfer = Transfer(device, TorchOutputs(device), ahead, reuse=True)
    cargoes = (Cargo((slabs[n % 3],), f"transfer {n}", Passing(slabs[n % 3])) for n in range(count + 10))
    begin = 0.0
    for number, (delivered, _) in enumerate(transfer.deliver(cargoes)):
        if number == 9:
            check.torch.cuda.synchronize()
            begin = time.perf_counter()
        del delivered
    check.torch.cuda.synchronize()
    return (time.perf_counter() - begin) / count, slabs[0].data.nbytes


def loads():
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (2048, 224, 224, 3), dtype=np.uint8)
    yield "uint8 images of 224, batches of 256", hr.from_arrays({"image": images}), 256
    table = rng.standard_normal((400_000, 100), dtype=np.float32)
    yield "100 float32 columns, batches of 65,536", hr.from_arrays({"x": table}), 65_536
    lengths = rng.integers(1, 2048, 20_000)
    tokens = np.split(rng.integers(0, 50_000, lengths.sum(), dtype=np.int32), np.cumsum(lengths)[:-1])
    yield "ragged int32 tokens, batches of 2,048", hr.from_arrays({"ids": tokens}), 2048


def check_throughput(check):
    """7: the share of the link that transfers and whole loaders reach, and launches for each batch."""
    if check.link is None:
        check_bandwidth(check)
    found, rng = {}, np.random.default_rng(3)
    seconds, nbytes = _sent(check, {"x": rng.integers(0, 256, (256, 224, 224, 3), dtype=np.uint8)}, 200)
    share = nbytes / seconds / check.link
    found["transfer alone"] = {"GB/s": nbytes / seconds / 1e9, "share of the link": share}
    for name, ds, size in loads():
        loader, moved, batches = ds.loader(size, shuffle="global", device="cuda"), 0, 0
        with loader:
            for batch in loader:  # a pass to warm up
                del batch
            begin = time.perf_counter()
            for _ in range(4):
                for batch in loader:
                    moved += sum(_nbytes(column) for column in batch.values())
                    batches += 1
                    del batch
            check.torch.cuda.synchronize()
        rate = moved / (time.perf_counter() - begin)
        found[name] = {"GB/s": rate / 1e9, "share of the link": rate / check.link, "batches": batches}
    found["launches of a chain of seven"] = launches = _launches(check)
    is_right = share >= LINK_SHARE and launches <= MOST_LAUNCHES
    return PASS if is_right else FAIL, found


def _nbytes(column):
    return column.values().nbytes + column.offsets().nbytes if column.is_nested else column.nbytes


def _launches(check):
    """How many kernels one batch of a chain of seven augmentations launches."""
    from headrace.augment.cuda.module import CudaLauncher
    from headrace.augment.cuda.stages import device_stages

    class Counting(CudaLauncher):
        launched = 0

        def launch(self, name, threads, *arguments):
            Counting.launched += 1
            super().launch(name, threads, *arguments)

    ds = whole_chain(image_dataset(64))
    bound = ds.recipe.augment.bind({"image": Spec((64, 64, 3), np.dtype("uint8"))})
    _, planned_on, cupy = _backend(check)
    planned = bound.plan(Draws(0), Samples(np.arange(64)))
    images = cupy.asarray(fresh((64, 64, 3), "uint8", 64, 0))
    stages = device_stages(bound, Counting(cupy))
    run_stages(bound, stages, {"image": images}, planned_on(bound, planned), partial(poisoned, cupy))
    return Counting.launched


def check_overlap(check):
    """8: copies run beside a consumer's kernels."""
    torch, rng = check.torch, np.random.default_rng(4)
    arrays = {"x": rng.integers(0, 256, (256, 224, 224, 3), dtype=np.uint8)}
    copying, _ = _sent(check, arrays, 100)
    matrix = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)

    def compute(times):
        for _ in range(times):
            torch.mm(matrix, matrix)

    once = check.seconds(partial(compute, 10)) / 10
    times = max(round(copying / once), 1)
    computing = check.seconds(partial(compute, times))
    from headrace.execution.device.cuda import CudaDevice
    from headrace.torch import TorchOutputs

    device, count = CudaDevice(0), 100
    memory = SlabMemory(device)
    slabs = [memory.slab({(name, ""): array for name, array in arrays.items()}) for _ in range(3)]
    cargoes = (Cargo((slabs[n % 3],), "", Passing(slabs[n % 3])) for n in range(count + 10))
    begin = 0.0
    for number, (delivered, _) in enumerate(Transfer(device, TorchOutputs(device), 2).deliver(cargoes)):
        if number == 9:
            torch.cuda.synchronize()
            begin = time.perf_counter()
        compute(times)
        del delivered
    torch.cuda.synchronize()
    both = (time.perf_counter() - begin) / count
    overlap = (copying + computing - both) / min(copying, computing)
    figures = {"copy_ms": copying * 1e3, "compute_ms": computing * 1e3, "both_ms": both * 1e3}
    return PASS if overlap >= OVERLAP else FAIL, {**figures, "overlap": overlap}


# ---- 9 and 10: memory


def check_growth(check):
    """9: nothing grows between batch 100 and batch 1,000."""
    cupy, torch = check.cupy, check.torch
    ds, marks, count = whole_chain(image_dataset(1024)), {}, 0
    with ds.loader(64, shuffle="global", device="cuda") as loader:
        while count < 1000:
            for batch in loader:
                count += 1
                if count in (100, 1000):
                    torch.cuda.synchronize()
                    free, total = torch.cuda.mem_get_info()
                    marks[count] = {
                        "resident": _resident(),
                        "torch_reserved": torch.cuda.memory_reserved(),
                        "cupy_total": cupy.get_default_memory_pool().total_bytes(),
                        "device_used": total - free,
                        "pinned_blocks": cupy.get_default_pinned_memory_pool().n_free_blocks(),
                    }
                del batch
                if count == 1000:
                    break
    drift = {name: marks[1000][name] - marks[100][name] for name in marks[100]}
    return PASS if all(abs(value) < DRIFT for value in drift.values()) else FAIL, {
        "drift": drift,
        **marks[100],
    }


def _resident():
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def check_memory(check):
    """10: too little memory is an error that names the batch, and less `ahead` resumes at the same one."""
    side = 64 if check.is_dry else 224
    ds = image_dataset(1280, side).augment(augment.HorizontalFlip("image"))
    size, found = 128 * side * side * 3, {}
    for whose in ("host",) if check.is_dry else ("CuPy", "torch"):
        found[whose] = _resumed(check, ds, whose, size)
    return PASS if all(each["is_right"] for each in found.values()) else FAIL, found


def _resumed(check, ds, whose, size):
    """Fail with `ahead=8`, and go on with `ahead=0`."""
    options = {"batch_size": 128, "shuffle": "global", "seed": 2}
    with ds.loader(output="numpy", **options) as loader:
        expected = [batch["image"].tobytes() for batch in loader]
    found, error, state = [], None, None
    for ahead in (8, 0):
        device = HostDevice(limit=5 * size) if check.is_dry else "cuda"
        release = (lambda: None) if check.is_dry else _limited(check, whose, 5 * size)
        loader = ds.loader(device=device, output=check.output(), ahead=ahead, **options)
        if state is not None:
            loader.load_state_dict(state)
        try:
            for batch in loader:
                found.append(check.to_host(batch)["image"].tobytes())
                del batch
        except hr.DeviceMemoryError as raised:
            error = str(raised)
        finally:
            release()
        state = loader.state_dict()
        loader.close()
    is_right = error is not None and "epoch 0, step" in error and found == expected
    return {"is_right": is_right, "error": error, "delivered": len(found), "of": len(expected)}


def _limited(check, whose, size):
    """Leave room for so many bytes more in the memory of CuPy or of torch; returns what lifts the limit."""
    gc.collect()
    cuda, pool = check.torch.cuda, check.cupy.get_default_memory_pool()
    pool.free_all_blocks()
    cuda.empty_cache()
    if whose == "CuPy":
        pool.set_limit(size=pool.total_bytes() + size)
        return partial(pool.set_limit, size=0)
    cuda.set_per_process_memory_fraction((cuda.memory_reserved() + size) / cuda.mem_get_info()[1])
    return partial(cuda.set_per_process_memory_fraction, 1.0)


# ---- 11 and 12


def check_end_to_end(check):
    """11: a small network trained from our loader, and from a DataLoader with page-locked memory."""
    torch, found = check.torch, {}
    ds = image_dataset(8192)
    ours = ds.augment(
        augment.RandomCrop("image", 56),
        augment.HorizontalFlip("image"),
        augment.Normalize("image", 0.5, 0.25, to_layout="NCHW"),
    )
    images, labels = (ds.take(np.arange(8192))[name] for name in ("image", "label"))

    class Samples(torch.utils.data.Dataset):
        def __len__(self):
            return len(labels)

        def __getitem__(self, index):
            rng = np.random.default_rng()
            top, left = rng.integers(0, 9, 2)
            image = images[index, top : top + 56, left : left + 56]
            image = image[:, ::-1] if rng.random() < 0.5 else image
            pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
            return {"image": (pixels - 0.5) / 0.25, "label": int(labels[index])}

    theirs = torch.utils.data.DataLoader(
        Samples(), 256, shuffle=True, num_workers=min(os.cpu_count() or 1, 8), pin_memory=True
    )
    for name, loader in {
        "headrace on the device": ours.loader(256, shuffle=True, device="cuda"),
        "headrace on the CPU": ours.loader(256, shuffle=True),
        "DataLoader, pin_memory": theirs,
    }.items():
        found[name] = _trained(torch, loader)
    return REPORT, found


def _trained(torch, loader):
    """Samples a second, and the share of time in which the network waits for samples."""
    layers = torch.nn
    network = layers.Sequential(
        layers.Conv2d(3, 64, 3, stride=2), layers.ReLU(), layers.Conv2d(64, 128, 3, stride=2), layers.ReLU(),
        layers.AdaptiveAvgPool2d(1), layers.Flatten(), layers.Linear(128, 10),
    ).cuda()  # fmt: skip
    optimizer, count, busy, begin = torch.optim.SGD(network.parameters(), 0.01), 0, [], 0.0
    for epoch in range(3):
        if epoch == 1:
            torch.cuda.synchronize()
            begin = time.perf_counter()
        for batch in loader:
            images, labels = (batch[name].cuda(non_blocking=True) for name in ("image", "label"))
            marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            marks[0].record()
            loss = layers.functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            marks[1].record()
            if epoch:
                count += len(labels)
                busy.append(marks)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - begin
    working = sum(first.elapsed_time(last) for first, last in busy) / 1e3
    return {"samples/s": count / seconds, "idle share": max(1 - working / seconds, 0.0)}


def check_sanitizer(check):
    """12: two batches under compute-sanitizer."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return REPORT, {"compute-sanitizer": "not installed"}
    command = [program, "--error-exitcode", "9", sys.executable, __file__, "--two-batches"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return PASS if done.returncode == 0 else FAIL, {"tail": done.stdout[-400:]}


def two_batches():
    with whole_chain(image_dataset(128)).loader(64, device="cuda") as loader:
        for batch in loader:
            print(float(batch["image"].sum()))


CHECKS = {  # and whether a CPU can run them
    0: (check_machine, False),
    1: (check_bandwidth, False),
    2: (check_philox, True),
    3: (check_parity, True),
    4: (check_batches, True),
    5: (check_dlpack, False),
    6: (check_races, True),
    7: (check_throughput, False),
    8: (check_overlap, False),
    9: (check_growth, False),
    10: (check_memory, True),
    11: (check_end_to_end, False),
    12: (check_sanitizer, False),
}


def run(check, chosen):
    """Run the checks; one that breaks does not keep the others from running."""
    results = {}
    for number in chosen:
        function, on_cpu = CHECKS[number]
        begin = time.perf_counter()
        if check.is_dry and not on_cpu:
            outcome, found = NONE, {}
        else:
            try:
                outcome, found = function(check)
            except Exception:
                outcome, found = FAIL, {"error": traceback.format_exc()}
        seconds = round(time.perf_counter() - begin, 1)
        title = function.__doc__.strip().partition("\n")[0]
        results[number] = {"check": title, "outcome": outcome, "seconds": seconds, "found": found}
        print(f"{outcome:>9}  {seconds:6.1f} s  {title}", flush=True)
    return results


def main():
    """Run all checks, or those that are chosen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dry", action="store_true", help="run what a CPU can show, on HostDevice")
    parser.add_argument("--short", action="store_true", help="the same as --dry")
    parser.add_argument("--only", type=int, nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--json", help="where to write the results too")
    parser.add_argument("--two-batches", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.two_batches:
        two_batches()
        return 0
    results = run(Check(options.dry or options.short), options.only)
    outcomes = [each["outcome"] for each in results.values()]
    code = 1 if FAIL in outcomes else 3 if NONE in outcomes else 0
    report = {"machine": platform.platform(), "numpy": np.__version__, "exit": code, "checks": results}
    text = json.dumps(report)
    if options.json:
        with open(options.json, "w") as file:
            file.write(text)
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
