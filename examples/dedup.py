"""Find duplicates in real data, look at them, and leave them out.

python examples/dedup.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import headrace as hr

HERE = Path(__file__).parent
NOTICES = HERE / "notices"


def clean_census() -> None:
    """Records that come twice, and people who come several times with another weight."""
    ds = hr.open(HERE / "census" / "raw" / "*.parquet")
    report = hr.find_duplicates(ds)
    print("Equal census records\n")
    print(report)
    for name, samples, dropped, _ in report.removed().rows():
        print(f"{Path(name).name}: {dropped} of {samples:,}")

    person = [name for name in ds.schema.names if name != "fnlwgt"]
    print(f"without their weight: {len(ds) - len(ds.dedup(person)):,} of {len(ds):,}")
    answer = ds.dedup(method=hr.Bloom(error_rate=0.01)).sample_ids
    print("in little memory, the same:", (answer == report.selection.ids).all(), "\n")


def compare_notices() -> None:
    """Texts that differ in a name, a year or a sentence."""
    ds = hr.open(NOTICES / "*.parquet")
    report = hr.find_duplicates(ds, "text", hr.MinHash(threshold=0.8, ngram=5))
    print("Near licence notices\n")
    print(report)
    for _, size, _, score, rule in report.largest(3, ["rule"], members=2).rows():
        print(f"  {size} of" if score is None else f"    {score:.2f}", rule)

    with TemporaryDirectory() as folder:
        report.save(f"{folder}/notices.parquet")  # for another process, on another day
        kept = ds.dedup(report=f"{folder}/notices.parquet", threshold=0.9, warn_above=None)
    print(f"at 0.9 without reading again: {len(kept):,} of {len(ds):,} stay")

    parts = ds.split(train=0.8, test=0.2, seed=0, by=hr.Duplicates(report))
    for name, split in {"by chance": ds.split(train=0.8, test=0.2, seed=0), "by duplicates": parts}.items():
        shared = hr.overlap(split["train"], split["test"], hr.MinHash(threshold=0.8), "text")
        print(f"split {name}: {100 * shared.share:.0f} % of the test texts are alike to one in train")


if __name__ == "__main__":
    clean_census()
    compare_notices()
