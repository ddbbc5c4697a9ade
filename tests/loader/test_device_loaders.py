"""Loaders that deliver on a device: the batches of the CPU, whatever it does when, and errors by name."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

import headrace as hr
from headrace import augment
from headrace.execution.device.host import HostDevice
from headrace.execution.device.slabs import SlabMemory

N = 300
SCHEDULES = [(), ("copy",), ("augment",), ("copy", "augment")]


def columns():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (N, 10, 12, 3), dtype=np.uint8),
        "series": rng.standard_normal((N, 20, 2)).astype(np.float32),
        "tokens": rng.integers(5, 90, (N, 16)).astype(np.int32),
        "features": rng.standard_normal((N, 6)).astype(np.float32),
        "day": np.arange(N).astype("datetime64[D]"),
        "label": np.arange(N) % 10,
    }


IMAGES = (
    augment.RandomCrop("image", 8, padding=2),
    augment.HorizontalFlip("image"),
    augment.Normalize("image", 0.5, 0.25, to_layout="NCHW"),
)
CHAINS = {
    "nothing": (),
    "images": IMAGES,
    "tokens": (augment.MaskTokens("tokens", mask_id=3, vocab_size=90, pad_id=0),),
    "series": (augment.TimeWarp("series"), augment.Jitter("series"), augment.Reverse("series")),
    "several columns": (*IMAGES, augment.Jitter("series"), augment.FeatureDropout("features", rate=0.3)),
    "partners": (augment.HorizontalFlip("image"), augment.MixUp("image", label="label", num_classes=10)),
    "partners by id": (augment.SwapNoise("features", rate=0.5, partner="id"),),
    "a function": (
        augment.Brightness("image"),
        augment.Lambda("image", lambda columns, draws: {"image": columns["image"] // 2}, version="half"),
        augment.VerticalFlip("image"),
    ),
}


def dataset(chain="images"):
    ds = hr.from_arrays(columns())
    return ds.augment(*CHAINS[chain]) if CHAINS[chain] else ds


def loader(ds, device="cpu", output="numpy", **options):
    return ds.loader(32, shuffle=True, seed=3, device=device, output=output, with_ids=True, **options)


def copy_all(batches, found):
    """Copy what batches hold, and keep none of them."""
    for batch in batches:
        found.append({name: column.copy() for name, column in batch.items()})
        del batch


def without_dates(batch):
    """A device knows no dates: they come as whole numbers."""
    return {**batch, "day": batch["day"].view(np.int64)}


def check_equal(found, expected):
    assert list(found) == list(expected)
    for name, column in expected.items():
        assert found[name].dtype == column.dtype, name
        np.testing.assert_array_equal(found[name], column, err_msg=name)


@pytest.mark.parametrize("chain", CHAINS)
def test_batches_equal_those_of_the_cpu(chain):
    """The same names, dtypes and bits, in every schedule of copies and augmentations, with any slack."""
    for number, early in enumerate(SCHEDULES):
        expected = loader(dataset(chain))
        found = loader(dataset(chain), HostDevice(early), ahead=number, reuse=number % 2 == 1)

        for one, other in zip(found, expected, strict=True):
            check_equal(one, without_dates(other))
        check_equal(found.batch(2), without_dates(expected.batch(2)))
        assert found.stats()["rows"] == N


def test_batches_come_from_row_groups_too():
    """Where row groups are read ahead, batches are gathered into slabs as well, lists and text included."""
    rng = np.random.default_rng(1)
    lists = [rng.integers(0, 9, rng.integers(0, 7)).tolist() for _ in range(N)]
    table = {"x": rng.standard_normal((N, 700)).astype(np.float32), "words": [f"w{i}" for i in range(N)]}
    ds = hr.from_arrays({**table, "lists": lists}).map(lambda frame: frame)

    for found, expected in zip(loader(ds, HostDevice(("copy",))), loader(ds), strict=True):
        assert found["words"] == expected["words"]
        np.testing.assert_array_equal(found["x"], expected["x"])
        np.testing.assert_array_equal(found["lists"].values, expected["lists"].values)
        np.testing.assert_array_equal(found["lists"].offsets, expected["lists"].offsets)


def test_rows_are_gathered_right_into_slabs(monkeypatch):
    """What is sent lies where threads gathered it, with what was drawn behind it: nothing is copied twice."""
    monkeypatch.setattr(SlabMemory, "_copied", None)
    read = hr.from_arrays({"x": np.ones((N, 900), np.float32)}).map(lambda frame: frame)
    large = hr.from_arrays({"image": np.ones((N, 50, 50, 3), np.uint8), "label": np.zeros(N, np.int64)})
    flipped, mixed = large.augment(*IMAGES), large.augment(*CHAINS["partners"])

    for ds in (large, flipped, mixed, dataset("several columns"), read):
        assert sum(len(batch["sample_id"]) for batch in loader(ds, HostDevice())) == N


def test_tensors_equal_those_of_the_cpu():
    """`output="torch"` gives tensors of the same values."""
    for found, expected in zip(
        loader(dataset(), HostDevice(), "torch"), loader(dataset(), output="torch"), strict=True
    ):
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_kept_batches_are_never_written_again():
    """A consumer may keep every batch: by default each has memory of its own."""
    kept = list(loader(dataset(), HostDevice(("copy", "augment"))))

    for found, expected in zip(kept, loader(dataset()), strict=True):
        check_equal(found, without_dates(expected))


def test_reused_batches_are_written_again():
    """With `reuse=True` a batch that is kept too long does change."""
    kept = list(loader(dataset("nothing"), HostDevice(), reuse=True, ahead=0))
    fresh = list(loader(dataset("nothing"), HostDevice(), ahead=0))

    assert not all(
        np.array_equal(one["label"], other["label"]) for one, other in zip(kept, fresh, strict=True)
    )


def test_too_little_memory_names_the_batch_and_less_ahead_resumes():
    """What fits is delivered first; a loader that sends less ahead goes on with the same batch."""
    expected = list(loader(dataset()))
    size = sum(array.nbytes for array in expected[0].values())
    tight = HostDevice(limit=5 * size)
    found, kept = [], loader(dataset(), tight, ahead=8)

    with pytest.raises(hr.DeviceMemoryError, match=r"epoch 0, step \d+: .*; a smaller `ahead` \(now 8\)"):
        copy_all(kept, found)
    state = kept.state_dict()
    assert state["cursor"] == 32 * len(found)
    smaller = loader(dataset(), HostDevice(limit=5 * size), ahead=0)
    smaller.load_state_dict(state)
    copy_all(smaller, found)

    for one, other in zip(found, expected, strict=True):
        check_equal(one, without_dates(other))


def test_nothing_is_left_on_the_device():
    """After a pass, after `break` and after `close` the device's memory is free again."""
    device = HostDevice()
    kept = loader(dataset(), device)
    for batch in kept:
        del batch
    assert device.used == 0
    for batch in kept:
        del batch
        break
    kept.close()

    assert device.used == 0


def test_errors_come_at_the_batch_they_are_about():
    """A row group that cannot be prepared is told of after all batches before it."""
    ds = hr.from_arrays({"x": np.arange(100)}).map(_fails_late)
    plain, there = (ds.loader(10, output="numpy", device=device, ahead=3) for device in ("cpu", HostDevice()))

    for each in (plain, there):
        with pytest.raises(hr.PrepareError, match="too late"):
            list(each)
    assert plain.state_dict() == there.state_dict()


def _fails_late(frame):
    raise ValueError("too late")


def test_copies_open_the_device_anew():
    """A pickled loader delivers the same batches elsewhere."""
    kept = loader(dataset("images"), HostDevice(("augment",)))
    next(iter(kept))

    check_equal(pickle.loads(pickle.dumps(kept)).batch(3), kept.batch(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, '`device` must be "cpu", "cuda" or "cuda:" and a number, got \'gpu\''),
        ({"device": "cuda:x"}, "`device` must be"),
        ({"device": "cpu", "output": "cupy"}, '`output="cupy"` needs `device="cuda"`'),
        ({"device": "cpu", "reuse": True}, '`reuse=True` needs `device="cuda"`'),
        ({"device": "cuda", "output": "arrow"}, '`output` must be "torch" or "cupy" on cuda'),
        ({"device": torch.device("cuda:1"), "output": "numpy"}, '"torch" or "cupy" on cuda:1'),
        ({"device": HostDevice(), "output": "arrow"}, '`output` must be "torch" or "numpy" on host'),
    ],
)
def test_wrong_devices_are_refused(options, message):
    """What cannot be delivered is told before anything is read."""
    with pytest.raises(hr.OptionError, match=message.replace("(", r"\(")):
        hr.from_arrays({"x": [1]}).loader(1, **{"output": "numpy", **options})


def test_cuda_needs_cupy_or_a_device():
    """Without CuPy the extra is named, and with it the lack of a device."""
    with pytest.raises(
        (hr.MissingDependencyError, hr.OptionError), match=r"headrace\[cuda\]|needs a CUDA device"
    ):
        hr.from_arrays({"x": [1]}).loader(1, device="cuda")


def test_workers_of_a_data_loader_have_no_device():
    """Processes of torch's DataLoader cannot share a device's streams."""
    with pytest.raises(hr.OptionError, match="delivers in this process"):
        loader(dataset(), HostDevice()).to_torch()
