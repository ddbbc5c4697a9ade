"""Samples that are dropped for the same one: who they are, and what they look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.dedup.preference import Keep
from headrace.dedup.report.deciding import number_samples
from headrace.planning.selection import Selection
from headrace.prepare.base import to_frame
from headrace.selecting.base import Selectable
from headrace.selecting.reading import scan

if TYPE_CHECKING:
    import polars as pl

_OWN = ("kept_id", "size", "sample_id", "score")


def find_members(edges: pl.DataFrame, decided: pl.DataFrame, keep: Keep) -> pl.DataFrame:
    """Tell which cluster each sample belongs to: `kept_id`, `sample_id`, `score`, kept ones left out.

    Args:
        edges: As `edge_table` lays them out.
        decided: As `decide_pairs` does.
        keep: With "none", a cluster is what links connect, and its first sample stands for it.
    """
    import polars as pl

    members = decided.select("kept_id", pl.col("dropped_id").alias("sample_id"), "score")
    if keep != "none":
        return members
    from headrace.dedup.report.edge_kernels import join

    nodes, losers, winners = number_samples(edges)
    first = nodes[join(losers, winners, len(nodes))]
    owners = pl.DataFrame({"sample_id": nodes, "kept_id": first})
    joined = members.drop("kept_id").join(owners, on="sample_id", maintain_order="left")
    return joined.filter(pl.col("kept_id") != pl.col("sample_id")).select("kept_id", "sample_id", "score")


def read_largest(
    dataset: Selectable, clusters: pl.DataFrame, members: pl.DataFrame, columns: tuple[str, ...], most: int
) -> pl.DataFrame:
    """Read the samples of some clusters; see `DuplicateReport.largest`."""
    import polars as pl

    kept = clusters.select("kept_id", "size", pl.col("kept_id").alias("sample_id"))
    others = clusters.join(members, on="kept_id", maintain_order="left")
    others = others.sort("score", "sample_id", descending=[True, False])
    ranked = (
        pl.concat([kept.with_columns(pl.lit(None, pl.Float64).alias("score")), others.select(_OWN)])
        .group_by("kept_id", maintain_order=True)
        .head(most)
        .sort("size", "kept_id", descending=[True, False], maintain_order=True)
        .select(_OWN)
    )
    if ranked.is_empty() or not columns:
        return ranked
    chosen = Selection.of(ranked["sample_id"].sort().to_numpy(), dataset.manifest.total)
    names = {name: f"{name}_value" for name in columns if name in _OWN}
    parts = [
        frame.rename(names, strict=False).with_columns(pl.Series("sample_id", ids))
        for ids, frame in scan(dataset.with_selection(chosen), columns, to_frame, None)
    ]
    return ranked.join(pl.concat(parts), on="sample_id", maintain_order="left")
