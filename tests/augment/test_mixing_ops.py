"""Mixes with a partner: as loops over pixels do them, with labels that say what is in the image."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import pytest
from chain_runs import plan, run
from scipy import stats

import headrace as hr
from headrace.augment import CutMix, HorizontalFlip, MixUp
from headrace.errors import OptionError, SchemaError

Array = np.ndarray[Any, Any]
LIBRARIES = pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numpy", "strict"])
N, CLASSES = 6, 4
SHAPES = {"NHWC": (7, 5, 3), "NCHW": (3, 7, 5), "grey": (7, 5)}


def batch(dtype: str, shape: tuple[int, ...], seed: int, label: Any = None, n: int = N) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (n, *shape)).astype(dtype)
    if dtype != "uint8":
        images = (images / 255).astype(dtype)
    labels = random.integers(0, CLASSES, n) if label is None else label
    return {"image": images, "label": np.asarray(labels)}


def records(op: Any, columns: Any) -> Any:
    return plan(op, columns).records[f"{type(op).__name__}#0"]


def soft(labels: Array, others: Array, shares: Array) -> Array:
    """Soft labels, entry by entry."""
    found = np.zeros((len(labels), CLASSES), np.float32)
    for sample, share in enumerate(shares):
        for kind in range(CLASSES):
            own, other = np.float32(labels[sample] == kind), np.float32(others[sample] == kind)
            found[sample, kind] = own * share + other * (np.float32(1) - share)
    return found


@LIBRARIES
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(7, 5, 3), (11,), ()])
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_mixup_is_as_a_loop_does_it(xp: Any, dtype: str, shape: tuple[int, ...], p: float) -> None:
    """Whole-number weights for uint8, two products and a sum for floats; labels by the same share."""
    op = MixUp("image", label="label", num_classes=CLASSES, alpha=0.4, p=p)
    own, other = batch(dtype, shape, 0), batch(dtype, shape, 1)
    record = records(op, own)
    expected = own["image"].reshape(N, -1).copy()
    for sample, place in np.ndindex(expected.shape):
        x, y, share = (
            expected[sample, place],
            other["image"].reshape(N, -1)[sample, place],
            record["lam"][sample],
        )
        weight = int(share * 65536)
        if dtype == "uint8":
            expected[sample, place] = int(x) * weight + int(y) * (65536 - weight) + 32768 >> 16
        elif record["applied"][sample]:
            kind = np.dtype(dtype).type
            expected[sample, place] = x * kind(share) + y * (kind(1) - kind(share))

    found = run(op, own, xp=xp, partners=(other, range(N, 2 * N)))

    assert found["image"].dtype == dtype
    assert found["image"].tobytes() == expected.tobytes()
    np.testing.assert_array_equal(found["label"], soft(own["label"], other["label"], record["lam"]))
    assert (record["lam"] * 65536 % 1 == 0).all()
    left_alone = record["applied"] == 0
    assert left_alone.any() == (p < 1)
    np.testing.assert_array_equal(found["image"][left_alone], own["image"][left_alone])


@LIBRARIES
@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_cutmix_is_as_a_loop_does_it(xp: Any, layout: str, dtype: str) -> None:
    """Pixels of the box are the partner's, all others the own, and the share is that of the own ones."""
    op = CutMix(
        "image",
        label="label",
        num_classes=CLASSES,
        layout="NCHW" if layout == "NCHW" else "NHWC",
        p=0.7,
    )
    own, other = batch(dtype, SHAPES[layout], 0, n=40), batch(dtype, SHAPES[layout], 1, n=40)
    record = records(op, own)
    expected, pasted = own["image"].copy(), np.zeros(40)
    for sample in range(40):
        for row in range(record["top"][sample], record["bottom"][sample]):
            for place in range(record["left"][sample], record["right"][sample]):
                at = (sample, slice(None), row, place) if layout == "NCHW" else (sample, row, place)
                expected[at] = other["image"][at]
                pasted[sample] += 1

    found = run(op, own, xp=xp, partners=(other, range(40, 80)))

    np.testing.assert_array_equal(found["image"], expected)
    np.testing.assert_array_equal(record["lam"], (1 - pasted / 35).astype(np.float32))
    np.testing.assert_array_equal(found["label"], soft(own["label"], other["label"], record["lam"]))
    assert (record["lam"][record["applied"] == 0] == 1).all()
    assert 0 < (record["applied"] == 0).sum() < 40
    assert len(set(record["lam"].tolist())) > 5


def test_the_box_is_that_of_torchvision() -> None:
    """Half the sides are int(0.5 * sqrt(1 - lam) * side), about a pixel that is drawn, inside the image."""
    op, shape = CutMix("image", alpha=2.0), (30, 41, 3)
    own = batch("uint8", shape, 0, n=300)
    record = records(op, own)
    from headrace.draws import Draws, Samples, numbers

    words = Draws(0).words("CutMix#0", Samples(np.arange(300)), 4)
    shares = np.rint(numbers.beta(words[:, 1], 2.0, 2.0).astype(np.float64) * 65536) / 65536

    for sample in range(300):
        reach = 0.5 * np.sqrt(1.0 - shares[sample])
        half_height, half_width = int(reach * 30), int(reach * 41)
        row, place = int(words[sample, 2]) * 30 >> 32, int(words[sample, 3]) * 41 >> 32
        box = (
            max(row - half_height, 0),
            min(row + half_height, 30),
            max(place - half_width, 0),
            min(place + half_width, 41),
        )
        assert tuple(record[name][sample] for name in ("top", "bottom", "left", "right")) == box


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    """Kolmogorov's test, as far as the grid of 2^-16 allows; another parameter fails it."""
    shares = records(MixUp("image", alpha=alpha), {"image": np.zeros((100_000, 1), np.float32)})["lam"]
    middle = shares[(shares > 0.001) & (shares < 0.999)].astype(np.float64)
    low, high = stats.beta.cdf([0.001, 0.999], alpha, alpha)

    def distance(parameter: float) -> float:
        low, high = stats.beta.cdf([0.001, 0.999], parameter, parameter)
        ours = (stats.beta.cdf(middle, parameter, parameter) - low) / (high - low)
        return float(stats.kstest(ours, "uniform").statistic * np.sqrt(len(middle)))

    assert distance(alpha) < 2.3 < distance(alpha * 1.3)
    assert abs((len(middle) / 100_000) - (high - low)) < 0.02


@LIBRARIES
@pytest.mark.parametrize(
    "op", [MixUp("image", label="label"), CutMix("image", label="label")], ids=["mixup", "cutmix"]
)
def test_without_classes_both_labels_and_the_share_are_given(xp: Any, op: Any) -> None:
    """The label stays; the partner's and the share are columns of their own."""
    own, other = batch("uint8", (8, 8, 1), 0), batch("uint8", (8, 8, 1), 1)

    found = run(op, own, xp=xp, partners=(other, range(N, 2 * N)))

    np.testing.assert_array_equal(found["label"], own["label"])
    np.testing.assert_array_equal(found["label_b"], other["label"])
    np.testing.assert_array_equal(found["label_lam"], records(op, own)["lam"])
    assert found["label_lam"].dtype == np.float32


@LIBRARIES
def test_mixes_follow_each_other(xp: Any) -> None:
    """MixUp and then CutMix mix with the same partner, whose labels are still whole; labels add up to 1."""
    own, other = batch("uint8", (8, 8, 1), 0), batch("uint8", (8, 8, 1), 1)
    ops = [
        MixUp("image", label="label", num_classes=CLASSES),
        HorizontalFlip("image"),
        CutMix("image", label="label", num_classes=CLASSES),
    ]

    found = run(ops, own, xp=xp, partners=(other, range(N, 2 * N)))
    first, second = (plan(ops, own).records[name]["lam"] for name in ("MixUp#0", "CutMix#0"))

    np.testing.assert_allclose(found["label"].sum(axis=1), 1, atol=1e-6)
    is_own = (own["label"][:, None] == np.arange(CLASSES)) & (own["label"] != other["label"])[:, None]
    np.testing.assert_allclose(found["label"][is_own], (first * second)[is_own.any(axis=1)], atol=1e-6)


def test_soft_labels_are_mixed_as_they_are() -> None:
    """Labels that are shares already need no number of classes, and become float32."""
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 2 * N)
    own, other = batch("uint8", (4,), 0, shares[:N]), batch("uint8", (4,), 1, shares[N:])
    op = MixUp("image", label="label")

    found = run(op, own, partners=(other, range(N, 2 * N)))["label"]

    share = records(op, own)["lam"][:, None]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, own["label"] * share + other["label"] * (1 - share), atol=1e-6)


def test_a_label_that_is_no_class_is_refused_and_never_silent() -> None:
    """NumPy raises and names value and place; where that would wait for a device, the label becomes NaN."""
    own, other = batch("uint8", (4,), 0, [0, 1, 7, 0, 1, 2]), batch("uint8", (4,), 1)
    op = MixUp("image", label="label", num_classes=CLASSES)

    with pytest.raises(SchemaError, match="classes from 0 to 3, as `num_classes` is 4; got 7 in sample 2"):
        run(op, own, partners=(other, range(N, 2 * N)))
    found = run(op, own, xp=array_api_strict, partners=(other, range(N, 2 * N)))["label"]
    assert np.isnan(found[2]).all()
    assert not np.isnan(np.delete(found, 2, axis=0)).any()


def test_the_loader_mixes_with_samples_of_the_data_set() -> None:
    """Every mixed image is made of two samples with the share that its label tells."""
    ds = hr.from_arrays({"x": np.arange(32, dtype=np.float64).reshape(32, 1) * 1000, "label": np.arange(32)})

    for partner in ("order", "id"):
        loader = ds.augment(MixUp("x", label="label", num_classes=32, partner=partner)).loader(
            8, output="numpy", with_ids=True
        )
        for batch in loader:
            parts = batch["label"].astype(np.float64) @ np.arange(32) * 1000
            np.testing.assert_allclose(batch["x"][:, 0], parts, rtol=1e-5)
            assert (batch["label"] > 0).sum(axis=1).max() == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixUp("x", alpha=0), "`alpha` must be from 0.01 to 100"),
        (lambda: CutMix("x", alpha=float("nan")), "`alpha` must be from 0.01 to 100"),
        (lambda: MixUp("x", num_classes=3), "give `label` as well"),
        (lambda: MixUp("x", label="y", num_classes=0), "`num_classes`"),
        (lambda: MixUp("x", label="x"), "both a column to mix and the label"),
        (lambda: CutMix("x", layout="HWC"), "`layout` must be"),
    ],
)
def test_options_that_cannot_be_right_are_refused(make: Any, message: str) -> None:
    """An error names the augmentation and the option."""
    with pytest.raises(OptionError, match=message):
        make()


X, Y = np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int64)


@pytest.mark.parametrize(
    ("op", "columns", "message"),
    [
        (MixUp("x"), {"x": X.astype(np.int64)}, "column `x` must hold uint8, float32 or float64"),
        (CutMix("x"), {"x": X[:, 0, 0]}, "column `x` must hold images"),
        (CutMix(["x", "m"]), {"x": X, "m": X[:, :2]}, "column `m` must hold images of 4 x 4"),
        (MixUp("x", label="y"), {"x": X, "y": Y.astype(np.float32)}, "column `y` must hold whole numbers"),
        (MixUp("x", label="y", num_classes=3), {"x": X, "y": np.zeros((2, 4))}, "shares of 3 classes"),
        (MixUp("x", label="y"), {"x": X, "y": Y, "y_b": Y}, "adds the column `y_b`, which is there already"),
    ],
)
def test_columns_that_do_not_fit_are_refused(op: Any, columns: Any, message: str) -> None:
    """An error names the augmentation, the column, what it must hold and what it holds."""
    with pytest.raises(SchemaError, match=message):
        run(op, columns)


def _halved(columns: dict[str, Any], draws: hr.augment.LambdaDraws) -> dict[str, Any]:
    return {name: column * np.asarray(0.5, column.dtype) for name, column in columns.items()}


@pytest.mark.parametrize("threads", [0, 2])
def test_labels_may_be_changed_between_two_mixes(threads: int) -> None:
    """The partners' labels take the form of mixed ones, so that what lies between finds them so."""
    x, label = np.arange(8, dtype=np.float32).reshape(8, 1), np.arange(8) % 3
    dataset = hr.from_arrays({"x": x, "y": x.copy(), "label": label})
    once = hr.augment.MixUp("x", label="label", num_classes=3, name="first")
    chain = [
        once,
        hr.augment.Lambda("label", _halved),
        hr.augment.MixUp("y", label="label", num_classes=3, name="second"),
    ]
    only = dataset.augment(once).loader(8, output="numpy", threads=threads).batch(0)
    loader = dataset.augment(*chain).loader(8, output="numpy", threads=threads)
    both = next(iter(loader))

    np.testing.assert_array_equal(only["x"], both["x"])
    share = np.array([loader.peek(row).params["second"]["lam"] for row in range(8)])[:, None]
    partner = np.eye(3)[np.roll(label, -1)]
    np.testing.assert_allclose(
        both["label"], 0.5 * (only["label"] * share + partner * (1 - share)), rtol=1e-5
    )


def test_columns_that_a_mix_adds_may_be_mixed() -> None:
    """The label of a partner that is alone is its own on both sides."""
    dataset = hr.from_arrays({"x": np.zeros((8, 1), np.float32), "label": np.arange(8)})
    chain = [hr.augment.MixUp("x", label="label"), hr.augment.SwapNoise("label_b", rate=1.0)]
    batch = dataset.augment(*chain).loader(8, output="numpy", threads=0).batch(0)

    assert batch["label_b"].tolist() == [1, 2, 3, 4, 5, 6, 7, 0]
