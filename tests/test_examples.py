"""The examples run as they are, and the demo's claim holds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

import headrace as hr

ROOT = Path(__file__).parents[1]
FLIGHTS = ROOT / "examples" / "flights"

pytest.importorskip("torch")


def run(*command: object) -> CompletedProcess[str]:
    """Run a Python program with warnings as errors, and hold it to silence on standard error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, command)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stderr == ""
    return done


def test_arrays() -> None:
    """A model learns from images in memory, and an id of a batch finds its sample."""
    output = run(ROOT / "examples" / "arrays.py")

    assert output.returncode == 0
    right = float(output.stdout.split("epoch 3")[1].split("\n")[1].split("%")[0])
    assert right > 90


def test_cache() -> None:
    """Batches are the same from a warm folder, from a damaged one, and from memory."""
    output = run(ROOT / "examples" / "cache.py").stdout

    assert "48 prepared and kept" in output
    assert "1 prepared so far, 1 damaged" in output
    assert "the same batches, byte for byte" in output


def test_write() -> None:
    """A job that was interrupted writes the same bytes, and an update writes the new shard alone."""
    output = run(ROOT / "examples" / "write.py").stdout

    assert "nobody takes the unfinished output for data" in output
    assert "continued: 2 shards were there, 4 are new" in output
    assert "the same bytes as without an interruption: True" in output
    assert "6 shards are kept, 1 is new, 188,971 samples" in output


def test_train_fashion() -> None:
    """A network learns from images changed at random; an interruption leaves no trace in its weights."""
    output = run(ROOT / "examples" / "train_fashion.py")

    assert output.returncode == 0
    assert "the same weights: True" in output.stdout
    assert float(output.stdout.split("% right")[0].split()[-1]) > 50
    assert "RandomCrop#0: top=" in output.stdout


def test_ranks() -> None:
    """Two ranks and then three deliver each of 336,776 samples once."""
    output = run(ROOT / "examples" / "ranks.py").stdout

    assert "the same state on both: True" in output
    assert "3 ranks: 336,776 samples in all, 336,776 different ones" in output
    assert "equal is True" in output


def test_serve() -> None:
    """Records are cleaned to their documented counts; one alone gives the logit of the batch."""
    output = run(ROOT / "examples" / "serve.py")

    assert output.returncode == 0
    for column, count in {"native_country": 857, "occupation": 2809, "workclass": 2799}.items():
        assert any(
            column in line and "changed" in line and str(count) in line for line in output.stdout.splitlines()
        )
    assert float(output.stdout.split("\nloss ")[1].split("%")[0].split()[-1]) > 84
    assert "the same logits, one record at a time: True" in output.stdout


def test_range_of_time() -> None:
    """An index finds the flights of an evening, in one row group, as a scan does."""
    output = run(ROOT / "examples" / "range_of_time.py")

    assert output.returncode == 0
    assert "364 of 336,776 flights" in output.stdout
    assert "in 1 of 48 row groups" in output.stdout
    assert "the same as a scan finds: True" in output.stdout
    assert "as batches: [128, 128, 108]" in output.stdout


def test_torch_dataloader() -> None:
    """Workers keep the order, and torch's samplers divide the samples."""
    # Not under `-W error`: torch warns of more workers than cores on small machines.
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "torch_dataloader.py"],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )

    assert "the same order: True" in done.stdout
    assert "rank 1: 2,000 samples in 4 batches" in done.stdout


def test_splits(tmp_path: Path) -> None:
    """Classes are shared out, groups and contents stay together, and the figure is the one on the page."""
    output = run(ROOT / "examples" / "splits.py", "--figure", tmp_path / "figure.svg").stdout

    assert output.count("76.4 %") == 3
    assert "in several parts: 380" in output
    assert "Split by content: 0" in output
    assert "groups by `carrier` in more than one part: none" in output
    assert "train until 12 October, test from 19 October on" in output
    assert (tmp_path / "figure.svg").read_text() == (ROOT / "docs" / "class-shares.svg").read_text()


def test_dedup() -> None:
    """The documented duplicates are found, near ones at two thresholds, and none on two sides of a split."""
    output = run(ROOT / "examples" / "dedup.py")

    assert output.returncode == 0
    assert "adult-train.parquet: 24 of 32,561\n" in output.stdout
    assert "adult-test.parquet: 5 of 16,281\n" in output.stdout
    assert "in little memory, the same: True" in output.stdout
    assert "2,144 of 3,081 stay" in output.stdout
    assert "split by duplicates: 0 % of the test texts" in output.stdout


@pytest.fixture(scope="module")
def demo() -> dict:
    done = run("-m", "headrace.cli", "demo", "--json")
    assert done.returncode == 0
    return json.loads(done.stdout)


def test_the_demo_resumes_exactly(demo: dict) -> None:
    """The killed and the resumed run together saw what the uninterrupted one did, in its order."""
    assert demo["checks"] == dict.fromkeys(
        ["same_samples", "each_once", "another_order", "same_losses"], True
    )
    rows = [demo["runs"][name]["rows"] for name in ("uninterrupted", "before_the_kill", "after_the_resume")]
    assert rows[0] == rows[1] + rows[2] == 2 * 258_579
    assert 0.5 < rows[1] / rows[0] < 1, "it was killed in the second epoch"


def test_the_demo_learns(demo: dict) -> None:
    """The loss falls, and the model beats both rules of thumb on flights that it never saw."""
    whole, quality = demo["runs"]["uninterrupted"], demo["quality"]

    assert whole["last_loss"] < 0.5 * whole["first_loss"]
    assert quality["the model"] > quality["late if it left late"] > quality["always on time"]
    assert quality["AUC"] > 0.9


def test_the_demo_state_is_small_and_plain(demo: dict) -> None:
    """What a resume needs is some names and whole numbers, well under 1 KB."""
    assert len(json.dumps(demo["state"])) < 1000
    assert (demo["state"]["epoch"], demo["state"]["seed"]) == (1, 7)
    assert all(isinstance(value, (int, str)) for value in demo["state"].values())


def test_the_training_script_by_itself(tmp_path: Path) -> None:
    """The script stops where it is told, resumes, and saw the samples that the plan names."""
    state, first, second = (tmp_path / name for name in ("state.pt", "first.json", "second.json"))
    killed = run(FLIGHTS / "train.py", "--state", state, "--stop-after", 300, "--report", first)
    resumed = run(FLIGHTS / "train.py", "--state", state, "--report", second)
    before, after = (json.loads(path.read_text()) for path in (first, second))

    assert (killed.returncode, resumed.returncode) == (-signal.SIGKILL, 0)
    assert len(before["losses"]) == 300
    arrived = hr.open(FLIGHTS / "data" / "*.parquet", columns=["day", "arr_delay"])
    frame = arrived.to_polars()
    chosen = (frame["arr_delay"].is_not_null() & (frame["day"] < 25)).arg_true().to_numpy()
    loader = arrived.rows(chosen).loader(1024, shuffle=True, seed=7, output="arrow", with_ids=True)
    planned: list[int] = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        planned += [number for batch in loader for number in batch["sample_id"].to_pylist()]
    assert before["ids"] + after["ids"] == planned
    assert np.array_equal(np.sort(planned[: len(chosen)]), chosen)


def test_the_training_script_alone_prints_its_numbers(tmp_path: Path) -> None:
    """Without a report the numbers are printed, and a state that is not there yet is no error."""
    output = run(FLIGHTS / "train.py", "--state", tmp_path / "none.pt").stdout

    assert "9,430 left out" in output
    assert "517,158 rows" in output
    assert "waiting for data" in output
