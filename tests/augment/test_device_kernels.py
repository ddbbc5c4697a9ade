"""The kernels of devices, compiled by the host's compiler: the bits of the reference."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
from device_kernels import HostLauncher

import headrace as hr
from headrace import augment
from headrace.augment.base import Mixing, Spec
from headrace.augment.chain import Chain
from headrace.augment.cuda.source import kernel_source
from headrace.augment.cuda.stages import DevicePlanned, device_stages
from headrace.augment.stage import reference_stages, run_stages
from headrace.draws.draws import Draws, Samples
from headrace.errors import SchemaError
from headrace.execution.device.delivery import Backend
from headrace.execution.device.host import HostDevice, HostOutputs

SHAPES = [
    ("NHWC", (13, 17, 3)),
    ("NCHW", (3, 13, 17)),
    ("NHWC", (12, 12)),
    ("NHWC", (9, 9, 1)),
    ("NCHW", (5, 11, 8)),
]


def geometry(k):
    yield [augment.RandomCrop("x", (7, 9), padding=3, fill=9, **k), augment.HorizontalFlip("x", **k)]
    yield [augment.VerticalFlip("x", **k), augment.CenterCrop("x", (20, 6), fill=2, **k)]
    yield [augment.Resize("x", (8, 20), **k)]
    yield [augment.RandomResizedCrop("x", (6, 7), p=0.7, **k)]
    yield [augment.RandomResizedCrop("x", (31, 29), antialias=False, **k)]
    yield [augment.Resize("x", (5, 6), interpolation="nearest", **k)]
    yield [augment.Rotate("x", 40, fill=3, **k)]
    yield [augment.Rotate("x", 80, interpolation="bilinear", fill=1, p=0.7, **k)]
    yield [
        augment.HorizontalFlip("x", **k),
        augment.RandomResizedCrop("x", (8, 8), **k),
        augment.Rot90("x", **k),
        augment.VerticalFlip("x", **k),
    ]


def values(k):
    yield [
        augment.Brightness("x", 0.5, p=0.6, **k),
        augment.Gamma("x", (0.5, 2), **k),
        augment.Invert("x", **k),
        augment.Posterize("x", (2, 6), **k),
        augment.Solarize("x", (0.2, 0.8), **k),
    ]
    yield [
        augment.RandomErasing("x", p=0.8, **k),
        augment.Cutout("x", holes=(1, 4), size=(0.1, 0.6), fill=1, p=0.9, **k),
    ]
    yield [augment.GaussianNoise("x", mean=0.1, sigma=(0.05, 0.3), p=0.8, **k)]
    yield [
        augment.Gamma("x", p=0.5, **k),
        augment.GaussianNoise("x", clip=False, **k),
        augment.Gamma("x", **k),
    ]
    yield [augment.Normalize("x", 0.5, 0.25, to_layout="NHWC", **k)]
    yield [augment.Normalize("x", 0.5, 0.25, dtype="float16", to_layout="NCHW", **k)]
    yield [
        augment.HorizontalFlip("x", **k),
        augment.RandomResizedCrop("x", (8, 9), **k),
        augment.Brightness("x", **k),
        augment.GaussianNoise("x", **k),
        augment.Cutout("x", **k),
        augment.Normalize("x", 0.4, 0.3, to_layout="NCHW", **k),
    ]


def colours(k, channels):
    if channels in (1, 3):
        yield [
            augment.RandomCrop("x", 7, **k),
            augment.Contrast("x", 0.8, p=0.7, **k),
            augment.Gamma("x", **k),
            augment.Contrast("x", 0.8, **k),
            augment.Normalize("x", 0.5, 0.2, **k),
        ]
    if channels == 3:
        yield [
            augment.RandomCrop("x", 6, **k),
            augment.Saturation("x", 0.5, p=0.5, **k),
            augment.Contrast("x", 0.4, **k),
            augment.Grayscale("x", p=0.4, **k),
            augment.Invert("x", p=0.5, **k),
            augment.Normalize("x", (0.4, 0.5, 0.6), (0.2, 0.3, 0.1), to_layout="NHWC", **k),
        ]


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    return HostLauncher(tmp_path_factory.mktemp("kernels"))


def images(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.random((9, *shape)) * 1.2 - 0.1).astype(dtype)
    return rng.integers(0, 256, (9, *shape)).astype(dtype)


def poisoned(wanted):
    return {
        name: np.frombuffer(b"\xa5" * (int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype)
        .reshape(shape)
        .copy()
        for name, (shape, dtype) in wanted.items()
    }


def run(ops, x, launcher, seed):
    """Perform a chain by its reference and by kernels."""
    bound = Chain(tuple(ops)).bind({"x": Spec(x.shape[1:], x.dtype)})
    planned = bound.plan(Draws(seed, 2), Samples(np.arange(len(x)) * 7 + seed))
    stages = device_stages(bound, launcher)
    expected = run_stages(bound, reference_stages(bound), {"x": x}, planned, poisoned)["x"]
    there = DevicePlanned(bound.dtype, planned.packed, planned.identity, planned.element_keys)
    launcher.launched.clear()
    return expected, run_stages(bound, stages, {"x": x}, there, poisoned)["x"], stages


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(("layout", "shape"), SHAPES)
def test_images_equal_the_reference(layout, shape, dtype, launcher):
    """Each chain is one stage of kernels, and its bits are those of the reference, gates and fills too."""
    k = {"layout": layout}
    channels = 1 if len(shape) == 2 else shape[-1] if layout == "NHWC" else shape[0]
    chains = [*geometry(k), *values(k), *colours(k, channels)]
    if dtype == "float32":
        chains = [ops for ops in chains if getattr(ops[-1], "dtype", dtype) == dtype]

    for seed, ops in enumerate(chains):
        expected, found, stages = run(ops, images(shape, dtype, seed), launcher, seed)

        names = [type(op).__name__ for op in ops]
        assert len(stages) == 1, names
        assert found.dtype == expected.dtype, names
        assert found.tobytes() == expected.tobytes(), names
        assert len(launcher.launched) <= 3, names


@pytest.mark.parametrize("dtype", ["bool", "int16", "uint32", "float64", "float16"])
def test_numbers_of_all_kinds_are_moved(dtype, launcher):
    """Crops, flips and turns move elements of 1, 2, 4 and 8 bytes as they are."""
    x = images((9, 9, 2), dtype, 5)
    ops = [augment.RandomCrop("x", 8, padding=2), augment.HorizontalFlip("x"), augment.Rot90("x")]

    expected, found, stages = run(ops, x, launcher, 1)

    assert found.tobytes() == expected.tobytes()
    assert len(stages) == 1
    assert launcher.launched == [f"image_moves_u{8 * x.dtype.itemsize}"]


def series(k):
    yield [augment.Jitter("x", p=0.7, **k), augment.Scaling("x", **k), augment.Reverse("x", **k)]
    yield [augment.TimeWarp("x", p=0.8, **k), augment.Jitter("x", **k), augment.WindowSlice("x", **k)]
    yield [augment.WindowSlice("x", size=9, **k), augment.Permutation("x", p=0.8, **k)]
    yield [augment.Shift("x", **k), augment.TimeMask("x", mask_param=5, masks=2, value=2, **k)]
    yield [augment.Shift("x", rollover=False, fill=3, p=0.9, **k), augment.TimeWarp("x", **k)]
    yield [
        augment.FrequencyMask("x", mask_param=2, **k),
        augment.WindowSlice("x", **k),
        augment.TimeWarp("x", **k),
    ]
    yield [augment.TimeMask("x", mask_param=9, **k), *(augment.TimeWarp("x", **k) for _ in range(3))]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint8"])
@pytest.mark.parametrize(("layout", "shape"), [("NTC", (23, 3)), ("NCT", (3, 23)), ("NTC", (23,))])
def test_series_equal_the_reference(layout, shape, dtype, launcher):
    """Each chain is one launch, whatever is traced back through it, and has the bits of the reference."""
    for seed, ops in enumerate(series({"layout": layout})):
        x = (images(shape, "float64", seed) * 40).astype(dtype)
        try:
            expected, found, stages = run(ops, x, launcher, seed)
        except SchemaError:
            # Whole numbers are not computed with, and one channel has no frequencies.
            assert dtype in ("int16", "uint8") or len(shape) == 1
            continue

        names = [type(op).__name__ for op in ops]
        assert found.tobytes() == expected.tobytes(), names
        assert len(stages) == len(launcher.launched) == 1, names


TABULAR = [
    augment.FeatureDropout("x", rate=0.4, fill=1, p=0.8),
    augment.SwapNoise("x", rate=(0.0, 0.2, 0.4, 0.5, 0.7, 1.0), p=0.8),
    augment.GaussianJitter("x", sigma=0.5, p=0.7),
    augment.GaussianJitter("x", sigma=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6), multiplicative=True),
]
LABELS = [{}, {"label": "y"}, {"label": "y", "num_classes": 5}, {"label": "z"}]
MIXES = [augment.MixUp("x", p=0.8, **label) for label in LABELS]
MIXES += [augment.CutMix("x", p=0.8, **label) for label in LABELS]


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int16", "int64"])
@pytest.mark.parametrize(("shape", "ops"), [((6,), TABULAR), ((8, 9, 3), MIXES)])
def test_single_values_equal_the_reference(shape, ops, dtype, launcher):
    """Noise, other values and mixes with partners, labels too, have the bits of the reference."""
    performed = 0
    for seed, op in enumerate(ops):
        own, other = (samples(shape, dtype, seed + more) for more in (0, 100))
        try:
            bound = Chain((op,)).bind({name: Spec.of(column) for name, column in own.items()})
        except SchemaError:
            continue  # not of this dtype
        performed += 1
        planned = [bound.plan(Draws(seed, 1), Samples(np.arange(9) + first)) for first in (0, 50)]
        there = [
            DevicePlanned(bound.dtype, each.packed, each.identity, each.element_keys) for each in planned
        ]
        is_mixing = isinstance(op, Mixing)
        expected = run_stages(
            bound,
            reference_stages(bound),
            own,
            planned[0],
            poisoned,
            (other, planned[1]) if is_mixing else None,
        )
        launcher.launched.clear()
        stages = device_stages(bound, launcher)
        found = run_stages(bound, stages, own, there[0], poisoned, (other, there[1]) if is_mixing else None)

        assert list(found) == list(expected)
        for name, column in expected.items():
            assert found[name].dtype == column.dtype
            assert found[name].tobytes() == column.tobytes(), (op, name)
        assert 1 <= len(launcher.launched) <= 2
    assert performed


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("options", [{}, {"pad_id": 0}, {"lengths": "n"}])
def test_tokens_equal_the_reference(dtype, options, launcher):
    """Tokens that change where they are, padding, lengths and special ids in mind."""
    rng = np.random.default_rng(3)
    columns = {
        "ids": rng.integers(0, 30, (9, 21)).astype(dtype),
        "n": rng.integers(0, 22, 9).astype(np.int16),
    }
    for op in (
        augment.MaskTokens("ids", mask_id=3, vocab_size=30, special_ids=(1, 2), p=0.8, **options),
        augment.TokenReplace("ids", vocab_size=30, special_ids=(1,), rate=0.6, p=0.8, **options),
    ):
        bound = Chain((op,)).bind({name: Spec.of(column) for name, column in columns.items()})
        planned = bound.plan(Draws(1, 1), Samples(np.arange(9) * 3))
        there = DevicePlanned(bound.dtype, planned.packed, planned.identity, planned.element_keys)
        expected = run_stages(bound, reference_stages(bound), columns, planned, poisoned)
        stages = device_stages(bound, launcher)
        found = run_stages(bound, stages, columns, there, poisoned)

        assert [type(stage).__name__ for stage in stages] == ["DeviceTokenStage"]
        assert list(found) == list(expected)
        for name, column in expected.items():
            assert found[name].dtype == column.dtype
            assert found[name].tobytes() == column.tobytes(), (op, name)


def samples(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    x = (images(shape, "float64", seed) * 90).astype(dtype)
    return {"x": x, "y": rng.integers(0, 5, 9).astype(np.int32), "z": rng.random((9, 5))}


def test_what_no_kernel_performs_goes_by_its_reference(launcher):
    """float64 is resized by the reference, between kernels that go on."""
    ops = [augment.HorizontalFlip("x"), augment.Resize("x", 5), augment.VerticalFlip("x")]

    expected, found, stages = run(ops, images((8, 8, 3), "float64", 2), launcher, 2)

    assert found.tobytes() == expected.tobytes()
    assert [type(stage).__name__ for stage in stages] == [
        "DeviceImageStage",
        "ReferenceStage",
        "DeviceImageStage",
    ]


def test_loaders_deliver_what_kernels_make(launcher, monkeypatch):
    """From data set to batch by kernels, on a device that works late: the batches of the CPU."""
    device = HostDevice(("copy",))
    stages = partial(device_stages, launcher=launcher)
    backend = Backend(device, HostOutputs(device), stages, DevicePlanned, np.empty, lambda column: column)
    monkeypatch.setattr("headrace.devices._find_backend", lambda device, output: backend)
    rng = np.random.default_rng(0)
    ds = hr.from_arrays(
        {
            "image": rng.integers(0, 256, (70, 12, 12, 3), dtype=np.uint8),
            "ids": rng.integers(0, 50, (70, 9)),
            "label": np.arange(70) % 4,
        }
    ).augment(
        augment.RandomCrop("image", 8),
        augment.HorizontalFlip("image"),
        augment.Normalize("image", 0.5, 0.25, to_layout="NCHW"),
        augment.MaskTokens("ids", mask_id=3, vocab_size=50),
        augment.MixUp("image", label="label", num_classes=4),
    )
    options = {"batch_size": 16, "shuffle": True, "output": "numpy"}
    launcher.launched.clear()

    found = list(ds.loader(device=device, **options))

    assert len(launcher.launched) == 5 * 6  # images and tokens, those of partners, a mix and its labels
    for batch, expected in zip(found, ds.loader(**options), strict=True):
        assert list(batch) == list(expected)
        assert all(batch[name].tobytes() == column.tobytes() for name, column in expected.items())


def test_the_module_has_no_headers():
    """Nothing is included, so that one call of NVRTC compiles all kernels."""
    assert "#include" not in kernel_source()
    assert len(re.findall(r"^KERNEL ", kernel_source(), re.MULTILINE)) == 31
