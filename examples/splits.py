"""Split real data so that nothing leaks, see that classes are shared out, and draw it.

python examples/splits.py
python examples/splits.py --figure class-shares.svg
"""

import argparse
from pathlib import Path

import polars as pl

import headrace as hr

HERE = Path(__file__).parent
COLOURS = ["#4477aa", "#ee6677", "#ccbb44", "#228833"]


def split_census() -> hr.SplitReport:
    """70/15/15 of the incomes, with the same share of high ones in each part."""
    ds = hr.open(HERE / "census" / "data" / "*.parquet")
    parts = ds.split(train=0.7, val=0.15, test=0.15, seed=0, stratify="income")
    print("Incomes, stratified\n")
    print(parts.report(), "\n")

    # Some people are the same in all but the weight that the census gives them.
    person = hr.Content([name for name in ds.schema.names if name != "fnlwgt"])
    print(
        "Split by id, the same people are in several parts:", ds.split(seed=0).report(by=person).shared_groups
    )
    print("Split by content:", ds.split(seed=0, by=person).report().shared_groups, "\n")
    return parts.report()


def fold_flights() -> hr.SplitReport:
    """Five folds of all flights, no carrier in two of them, with late ones as even as carriers allow."""
    ds = hr.open(HERE / "flights" / "data" / "*.parquet")
    ds = ds.with_columns(late=pl.col("arr_delay") > 15)
    folds = ds.kfold(5, seed=0, by="carrier", stratify="late")
    print("Flights, by carrier\n")
    print(folds.report(), "\n")

    parts = ds.split(train=0.8, test=0.2, time="time_hour", gap="7d")
    times = [part.select(["time_hour"]).to_polars()["time_hour"] for part in parts.values()]
    print(f"By time: train until {times[0].max():%d %B}, test from {times[1].min():%d %B} on")
    return folds.report()


def draw(reports: dict[str, hr.SplitReport]) -> str:
    """The class shares of each part as bars, an SVG picture."""
    marks: list[str] = []

    def write(x: float, y: float, text: object) -> None:
        escaped = str(text).replace("&", "&amp;").replace("<", "&lt;")
        marks.append(f'<text x="{x}" y="{y + 14}">{escaped}</text>')

    def fill(x: float, y: float, width: float, colour: str) -> None:
        marks.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="18" fill="{colour}"/>')

    top = 10
    for title, report in reports.items():
        write(10, top, title)
        for number, name in enumerate(report.classes["class"].unique(maintain_order=True)):
            fill(150 + 100 * number, top, 18, COLOURS[number])
            write(175 + 100 * number, top, "null" if name is None else name)
        for part, samples in zip(report.frame["part"], report.frame["samples"], strict=True):
            top, left = top + 24, 100.0
            write(10, top, part)
            for share, colour in zip(report.classes.filter(part=part)["share"], COLOURS, strict=False):
                fill(left, top, 400 * share, colour)
                left += 400 * share
            write(510, top, f"{samples:,}")
        top += 48
    size = f'width="580" height="{top - 10}" font-family="sans-serif" font-size="13"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *marks, "</svg>", ""])


def main() -> None:
    """Split, print, and draw where asked to."""
    parser = argparse.ArgumentParser(description="Split real data so that nothing leaks.")
    parser.add_argument("--figure", type=Path, help="write the class shares to this file, as SVG")
    figure = parser.parse_args().figure
    reports = {"income": split_census(), "late, by carrier": fold_flights()}
    if figure:
        figure.write_text(draw(reports), encoding="utf-8")


if __name__ == "__main__":
    main()
