"""The demo: train on real shards, kill the process, resume in another one, and compare.

It runs `examples/flights/train.py` of the source checkout three times and compares what the runs
wrote down: the ids of all samples in the order in which they came, and each batch's loss.
"""

from __future__ import annotations

import importlib.util
import json
import math
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from headrace.cli.output import make_console, make_table, write_json
from headrace.errors import MissingDependencyError, MissingSourceError, WorkerError

SCRIPT = Path(__file__).parents[3] / "examples" / "flights" / "train.py"

_PATIENCE_SECONDS = 2.0
_LOSSES = 20  # batches that a shown loss is the mean of
_CHECKS = {
    "same_samples": "before and after together: the samples of the whole run, in its order",
    "each_once": "each sample once in each epoch",
    "another_order": "the second epoch in another order than the first",
    "same_losses": "the loss of every batch, to the last bit",
}


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the training script wrote down.

    Attributes:
        ids: The samples seen, in order.
        losses: The loss of each batch.
        stats: The loader's counters.
        state: Where the loader stood at the end.
        quality: What the model is worth; None if the run was killed.
        note: How the samples were chosen.
    """

    ids: list[int]
    losses: list[float]
    stats: dict[str, Any]
    state: dict[str, Any]
    quality: dict[str, float] | None
    note: str

    @property
    def first_loss(self) -> float:
        """The mean over the first batches."""
        return sum(self.losses[:_LOSSES]) / len(self.losses[:_LOSSES])

    @property
    def last_loss(self) -> float:
        """The mean over the last batches."""
        return sum(self.losses[-_LOSSES:]) / len(self.losses[-_LOSSES:])

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers that the table shows."""
        return {
            "rows": self.stats["rows"],
            "rows_per_second": self.stats["rows_per_second"],
            "wait_share": self.stats["wait_share"],
            "first_loss": self.first_loss,
            "last_loss": self.last_loss,
        }


def run_demo(as_json: bool) -> int:
    """Run the demo; 0 if the resumed run saw exactly what was missing, else 1.

    Raises:
        MissingDependencyError: torch is not installed.
        MissingSourceError: headrace is not installed from its source checkout.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError.from_extra("torch", "torch", "`headrace demo`")
    if not SCRIPT.exists():
        raise MissingSourceError(
            f"{SCRIPT}: no such file; the demo and its data lie in headrace's source checkout; "
            "install from there (`pip install --editable .`), or run `make demo` in it"
        )
    console = Console(quiet=True) if as_json else make_console()
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
        console.print(Text("1  Train two epochs without interruption", "bold"))
        whole = _train(Path(folder), as_json)
        stop = len(whole.losses) * 3 // 4
        console.print(Text(f"\n2  The same, killed after {stop} batches, in the second epoch", "bold"))
        before = _train(Path(folder), as_json, stop_after=stop)
        console.print("   The process is gone. What it left for the loader, beside the model:")
        console.print(Padding(Text(json.dumps(before.state), "dim"), (0, 3)))
        console.print(Text("\n3  Resumed from there in a fresh process", "bold"))
        after = _train(Path(folder), as_json, resume=True)
    checks = compare(whole, before, after)
    runs = {"uninterrupted": whole, "before the kill": before, "after the resume": after}
    if as_json:
        numbers = {name.replace(" ", "_"): run.as_dict() for name, run in runs.items()}
        write_json({"checks": checks, "runs": numbers, "state": before.state, "quality": after.quality})
    else:
        _show(console, runs, checks)
    return 0 if all(holds for name, holds in checks.items() if name != "same_losses") else 1


def compare(whole: Run, before: Run, after: Run) -> dict[str, bool]:
    """Hold the interrupted training against the one that was left alone."""
    half = len(whole.ids) // 2
    epochs = whole.ids[:half], whole.ids[half:]
    return {
        "same_samples": before.ids + after.ids == whole.ids,
        "each_once": len(set(epochs[0])) == half and set(epochs[0]) == set(epochs[1]),
        "another_order": epochs[0] != epochs[1],
        "same_losses": before.losses + after.losses == whole.losses,
    }


def _train(folder: Path, is_quiet: bool, stop_after: int | None = None, resume: bool = False) -> Run:
    """Run the script in a process of its own, and read what it wrote down."""
    report, errors = folder / "report.json", folder / "errors.txt"
    command = [sys.executable, str(SCRIPT), "--report", str(report)]
    if stop_after is not None or resume:
        command += ["--state", str(folder / "state.pt")]
    if stop_after is not None:
        command += ["--stop-after", str(stop_after)]
    sys.stdout.flush()
    with errors.open("w") as stderr:
        output = subprocess.DEVNULL if is_quiet else None
        child = subprocess.Popen(command, stdout=output, stderr=stderr)
        try:
            code = child.wait()
        finally:
            _end(child)
    expected = 0 if stop_after is None else -signal.SIGKILL
    if code != expected:
        last = (errors.read_text().strip().splitlines() or ["it said nothing"])[-1]
        raise WorkerError(f"{SCRIPT} must end with exit code {expected}, got {code}: {last}")
    return Run(**json.loads(report.read_text()))


def _end(child: subprocess.Popen[bytes]) -> None:
    """Let no process outlive the demo; Ctrl-C in a terminal reaches the child by itself."""
    for stop in (child.send_signal, child.send_signal):
        try:
            child.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            stop(signal.SIGINT)
    if child.poll() is None:
        child.kill()
        child.wait()


def _show(console: Console, runs: dict[str, Run], checks: dict[str, bool]) -> None:
    console.print(Text("\nThe interrupted training beside the uninterrupted one", "bold"))
    for name, holds in checks.items():
        console.print(
            Text("   yes  " if holds else "   NO   ", "green" if holds else "red"), _CHECKS[name], sep=""
        )
    console.print()
    numbers = ("rows", "rows/s", "waiting for data", "first loss", "last loss")
    table = make_table(("", *numbers), right=numbers)
    for name, run in runs.items():
        facts = run.as_dict()
        rate, wait = f"{facts['rows_per_second']:,.0f}", f"{facts['wait_share']:.1%}"
        losses = (f"{facts[name]:.3f}" for name in ("first_loss", "last_loss"))
        table.add_row(name, f"{facts['rows']:,}", rate, wait, *losses)
    last = list(runs.values())[-1]
    console.print(table, Text(f"\n{last.note}\n"))
    quality = make_table(("on the flights to test on", "right"), right=("right",))
    for name, share in (last.quality or {}).items():
        if name != "AUC":
            quality.add_row(name, f"{share:.1%}")
    quality.add_row("area under its ROC curve", f"{(last.quality or {}).get('AUC', math.nan):.3f}")
    console.print(quality)
