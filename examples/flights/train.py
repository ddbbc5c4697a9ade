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
from pathlib import Path

import polars as pl
import torch
from rich.progress import BarColumn, Progress, TimeElapsedColumn
from torch.nn.functional import binary_cross_entropy_with_logits

import headrace as hr

SHARDS = Path(__file__).parent / "data" / "*.parquet"
CARRIERS = ["UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN", "VX", "FL"]  # the small ones share zeros
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
    """The flights to train on, those to test on, and a word on how they were chosen."""
    ds = hr.open(SHARDS)
    known = ds.select(["day", "arr_delay"]).to_polars()  # two columns of nineteen; the others stay unread
    arrived, is_test = known["arr_delay"].is_not_null(), known["day"] >= 25
    # A cancelled or diverted flight has no arrival to learn from, and no label is made up for it.
    train, test = (arrived & ~is_test).arg_true(), (arrived & is_test).arg_true()
    note = (
        f"{len(ds):,} flights: {len(train):,} to train on, {len(test):,} to test on (from the 25th of each "
        f"month), and {(~arrived).sum():,} left out, which were cancelled or diverted and never arrived."
    )
    ds = ds.with_columns(late=(pl.col("arr_delay") > 15).cast(pl.Float32), **features())
    ds = ds.pack(x=list(features()), late="late")
    return ds.rows(train.to_numpy()), ds.rows(test.to_numpy()), note


def evaluate(model: torch.nn.Module, test: hr.Dataset) -> dict[str, float]:
    """The model's accuracy beside that of two simple rules, and its area under the ROC curve."""
    with torch.no_grad(), test.loader(batch_size=8192) as loader:
        batches = [(model(batch["x"])[:, 0], batch["x"], batch["late"]) for batch in loader]
    score, x, truth = (torch.cat(parts) for parts in zip(*batches, strict=True))
    left_late, late = x[:, list(features()).index("left_late")] > 0.5, truth == 1
    ranks = score.argsort().argsort().double() + 1
    area = (ranks[late].sum() - late.sum() * (late.sum() + 1) / 2) / (late.sum() * (~late).sum())
    right = {
        "always on time": ~late,
        "late if it left late": left_late == late,
        "the model": (score > 0) == late,
    }
    return {name: float(hits.double().mean()) for name, hits in right.items()} | {"AUC": float(area)}


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
    torch.set_num_threads(1)  # a model this small gains nothing from more, and leaves a core to the loader
    train, test, note = flights()
    width = len(features())
    model = torch.nn.Sequential(torch.nn.Linear(width, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = train.loader(batch_size=BATCH_SIZE, shuffle=True, seed=7, with_ids=True)
    if args.state and args.state.exists():
        saved = torch.load(args.state)
        for name, part in (("model", model), ("optimizer", optimizer), ("loader", loader)):
            part.load_state_dict(saved[name])

    losses, ids, recent = [], [], float("nan")

    def report(quality: dict[str, float] | None) -> None:
        if args.report:
            numbers = {"note": note, "stats": loader.stats(), "losses": losses, "quality": quality}
            args.report.write_text(json.dumps(numbers | {"ids": ids, "state": loader.state_dict()}))

    epoch, cursor = loader.position
    columns = ("   {task.description}", BarColumn(32), "{task.percentage:>3.0f} %", TimeElapsedColumn())
    with Progress(*columns) as progress:
        done, total = epoch * len(train) + cursor, EPOCHS * len(train)
        bar = progress.add_task(f"epoch {epoch + 1}", total=total, completed=done)
        for _ in range(epoch, EPOCHS):
            for batch in loader:
                loss = binary_cross_entropy_with_logits(model(batch["x"])[:, 0], batch["late"])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                ids += batch["sample_id"].tolist()
                recent = sum(losses[-20:]) / len(losses[-20:])
                words = f"epoch {loader.epoch + 1}, loss {recent:.3f}"
                progress.update(bar, advance=len(batch["late"]), description=words)
                if len(losses) == args.stop_after:
                    progress.stop()
                    parts = {"model": model, "optimizer": optimizer, "loader": loader}
                    torch.save({name: part.state_dict() for name, part in parts.items()}, args.state)
                    report(quality=None)
                    os.kill(os.getpid(), signal.SIGKILL)  # nothing is tidied up, as in a crash

    quality, stats = evaluate(model, test), loader.stats()
    report(quality)
    if not args.report:
        print(f"{note}\n{stats['rows']:,} rows, {stats['rows_per_second']:,.0f} rows per second,", end=" ")
        print(f"{stats['wait_share']:.1%} of the time waiting for data, loss {recent:.3f}")
        print(
            "Right on the test flights:", ", ".join(f"{name} {share:.3f}" for name, share in quality.items())
        )


if __name__ == "__main__":
    main()
