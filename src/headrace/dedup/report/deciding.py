"""From links between duplicates to which samples go, and for which others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headrace.dedup.method import Edges
from headrace.dedup.preference import Keep, Preference

if TYPE_CHECKING:
    import polars as pl

Ids = NDArray[np.int64]

EXACT = "exact"


def edge_table(edges: Edges, preference: Preference, method: str) -> pl.DataFrame:
    """Lay out links by sample ids, in the order in which they are decided."""
    import polars as pl

    columns = {name: getattr(edges, name) for name in ("losers", "winners", "scores", "is_same", "is_exact")}
    table = pl.DataFrame(columns).sort("losers", "winners", maintain_order=True)
    return table.select(
        pl.Series("id", preference.sample_ids(table["losers"].to_numpy())),
        pl.Series("preferred_id", preference.sample_ids(table["winners"].to_numpy())),
        pl.when("is_exact").then(pl.lit(EXACT)).otherwise(pl.lit(method)).alias("method"),
        pl.col("scores").alias("score"),
        "is_same",
    )


def decide_pairs(edges: pl.DataFrame, keep: Keep) -> pl.DataFrame:
    """Tell which samples go: `dropped_id`, `kept_id`, `score`, `method`, in the order of ids.

    Args:
        edges: As `edge_table` lays them out.
        keep: With "none", whatever has a duplicate goes, and nothing is kept for it (`kept_id` is null).
    """
    import polars as pl

    from headrace.dedup.report.edge_kernels import decide

    if keep == "none":
        either = pl.concat(
            [
                edges.select("id", "score", "method"),
                edges.select(pl.col("preferred_id").alias("id"), "score", "method"),
            ]
        )
        return (
            either.sort("id", -pl.col("score"), maintain_order=True)
            .unique("id", keep="first", maintain_order=True)
            .select(
                pl.col("id").alias("dropped_id"), pl.lit(None, pl.Int64).alias("kept_id"), "score", "method"
            )
        )
    if _are_stars(edges):
        columns = {"dropped_id": "id", "kept_id": "preferred_id", "score": "score", "method": "method"}
        return edges.select(pl.col(old).alias(new) for new, old in columns.items()).sort("dropped_id")
    nodes, losers, winners = number_samples(edges)
    scores, is_same = edges["score"].to_numpy(), edges["is_same"].to_numpy()
    deciding = decide(losers, winners, scores, is_same, len(nodes))
    dropped = np.flatnonzero(deciding >= 0)
    chosen = deciding[dropped]
    # A sample that is the same as one that goes itself goes for what that one goes for.
    onwards = deciding[winners[chosen]]
    chosen = np.where(onwards >= 0, onwards, chosen)
    return pl.DataFrame(
        {
            "dropped_id": nodes[dropped],
            "kept_id": nodes[winners[chosen]],
            "score": scores[chosen],
            "method": edges["method"].gather(chosen),
        }
    ).sort("dropped_id")


def _are_stars(edges: pl.DataFrame) -> bool:
    """Tell whether each sample is linked once, to one that stays: then there is nothing to decide."""
    losers = edges["id"]
    return losers.n_unique() == len(losers) and not edges["preferred_id"].is_in(losers.implode()).any()


def number_samples(edges: pl.DataFrame) -> tuple[Ids, Ids, Ids]:
    """Number the samples with links so that losers come in the order of their links.

    Returns:
        The ids by number, and the numbers of the two samples of each link: loser and winner.
    """
    import polars as pl

    losers, winners = edges["id"].to_numpy(), edges["preferred_id"].to_numpy()
    # Winners that never lose come first; the others in the order in which their links are decided.
    firsts = pl.Series(losers).unique(maintain_order=True).to_numpy()
    free = np.setdiff1d(winners, firsts)
    nodes = np.concatenate([free, firsts])
    order = np.argsort(nodes)
    places = order[np.searchsorted(nodes, np.concatenate([losers, winners]), sorter=order)]
    return nodes, places[: len(losers)], places[len(losers) :]
