"""Predict late arrivals of flights out of New York; stop anywhere, resume exactly.

    python examples/flights/train.py
    python examples/flights/train.py --stop-after 380 --state state.pt   # dies in its second epoch
    python examples/flights/train.py --state state.pt                    # goes on where that one was

A flight is late if it arrives more than 15 minutes after its time. All that the model sees is known
when the aircraft leaves: schedule, route, carrier, and how late it left.
"""

import argparse
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch.nn.functional import binary_cross_entropy_with_logits

import headrace as hr

SHARDS = Path(__file__).parent / "data" / "*.parquet"
CARRIERS = ["UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN", "VX", "FL"]  # five small ones share zeros
EPOCHS, BATCH_SIZE = 2, 1024


def features() -> dict[str, pl.Expr]:
    """Name to expression: what the model sees of a flight, each about the size of one."""
    hour = (pl.col("sched_dep_time") // 100 + pl.col("sched_dep_time") % 100 / 60) * (torch.pi / 12)
    weekday = pl.date("year", "month", "day").dt.weekday() * (2 * torch.pi / 7)
    cycles = {"hour": hour, "weekday": weekday, "month": pl.col("month") * (torch.pi / 6)}
    values = {f"{name}_sin": angle.sin() for name, angle in cycles.items()}
    values |= {f"{name}_cos": angle.cos() for name, angle in cycles.items()}
    values |= {"left_late": (pl.col("dep_delay") / 30).clip(-1, 6), "miles": pl.col("distance") / 1000}
    values |= {f"from_{origin}": pl.col("origin") == origin for origin in ("EWR", "JFK")}
    values |= {f"by_{carrier}": pl.col("carrier") == carrier for carrier in CARRIERS}
    return {name: value.cast(pl.Float32) for name, value in values.items()}


def flights() -> tuple[hr.Dataset, hr.Dataset, str]:
    """The flights to train on, those to test on, and a sentence that tells how they were chosen."""
    ds = hr.open(SHARDS)
    known = ds.select(["day", "arr_delay"]).to_polars()  # two columns of nineteen; the others stay unread
    arrived, is_late_month = known["arr_delay"].is_not_null(), known["day"] >= 25
    # Flights that were cancelled or diverted have no arrival to learn from, and no label is made up for them.
    train, test = (arrived & ~is_late_month).arg_true(), (arrived & is_late_month).arg_true()
    note = (
        f"{len(ds):,} flights. {(~arrived).sum():,} never arrived as planned and are left out. "
        f"{len(train):,} train the model, {len(test):,} from the 25th of each month on test it."
    )
    late = (pl.col("arr_delay") > 15).cast(pl.Float32)
    ds = ds.with_columns(late=late, **features()).pack(x=list(features()), late="late")
    return ds.rows(train.to_numpy()), ds.rows(test.to_numpy()), note


def evaluate(model: torch.nn.Module, test: hr.Dataset) -> dict[str, float]:
    """The model's accuracy beside that of two simple rules, and its area under the ROC curve."""
    with torch.no_grad(), test.loader(batch_size=8192) as loader:
        batches = [(model(batch["x"])[:, 0], batch["x"], batch["late"]) for batch in loader]
    score, x, truth = (torch.cat(parts) for parts in zip(*batches, strict=True))
    left_late, late = x[:, list(features()).index("left_late")] > 0.5, truth == 1
    ranks = score.argsort().argsort().double() + 1
    pairs = late.sum() * (~late).sum()
    return {
        "always on time": float((~late).double().mean()),
        "late if it left late": float((left_late == late).double().mean()),
        "the model": float(((score > 0) == late).double().mean()),
        "AUC": float((ranks[late].sum() - late.sum() * (late.sum() + 1) / 2) / pairs),
    }


def batches_left(loader: hr.Loader) -> Iterator[dict[str, Any]]:
    """The batches from where the loader stands to the end of the last epoch."""
    for _ in range(loader.epoch, EPOCHS):
        yield from loader


def main() -> None:
    """Train, and stop or resume as asked."""
    parser = argparse.ArgumentParser(description="Train on flights; stop anywhere, resume exactly.")
    parser.add_argument("--state", type=Path, help="resume from this file, if it is there")
    parser.add_argument("--stop-after", type=int, metavar="N", help="after N batches save the state, and die")
    parser.add_argument("--report", type=Path, help="write numbers, and the ids of all samples, as JSON")
    args = parser.parse_args()
    if args.stop_after and not args.state:
        parser.error("--stop-after needs a file for --state")

    torch.manual_seed(0)
    train, test, note = flights()
    model = torch.nn.Sequential(
        torch.nn.Linear(len(features()), 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = train.loader(batch_size=BATCH_SIZE, shuffle=True, seed=7, with_ids=True)
    if args.state and args.state.exists():
        saved = torch.load(args.state)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])

    losses, ids = [], []
    columns = ("   {task.description}", "{task.percentage:>3.0f} %", "loss {task.fields[loss]:.3f}")
    texts = [TextColumn(text) for text in columns]
    with Progress(texts[0], BarColumn(32), *texts[1:], TimeElapsedColumn(), console=Console()) as progress:
        epoch, cursor = loader.position
        done, total = epoch * len(train) + cursor, EPOCHS * len(train)
        bar = progress.add_task("epoch", total=total, completed=done, loss=float("nan"))
        for batch in batches_left(loader):
            loss = binary_cross_entropy_with_logits(model(batch["x"])[:, 0], batch["late"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            ids.append(batch["sample_id"])
            recent = sum(losses[-20:]) / len(losses[-20:])
            label = f"epoch {loader.epoch + 1} of {EPOCHS}"
            progress.update(bar, advance=len(ids[-1]), description=label, loss=recent)
            if len(losses) == args.stop_after:
                break

    is_stopped = len(losses) == args.stop_after
    stats, state = loader.stats(), loader.state_dict()
    report = {"note": note, "train": len(train), "stats": stats, "state": state, "losses": losses}
    report |= {"ids": torch.cat(ids).tolist(), "quality": None if is_stopped else evaluate(model, test)}
    if args.report:
        args.report.write_text(json.dumps(report))
    if is_stopped:
        saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "loader": state}
        torch.save(saved, args.state)
        os.kill(os.getpid(), signal.SIGKILL)  # nothing is tidied up, as in a crash
    ...
