"""Two ranks share an epoch, are stopped, and three ranks finish it: nothing twice, nothing left out.

    python examples/ranks.py

The ranks are loops in one process here. Under torchrun each process finds its own rank by itself, and
`loader(...)` needs no `world=`.
"""

import json
from pathlib import Path

import numpy as np

import headrace as hr

SHARDS = Path(__file__).parent / "flights" / "data" / "*.parquet"


def make_loader(rank: int, size: int) -> hr.Loader:
    """The part of one rank; `global_batch_size` stays, however many ranks share it."""
    ds = hr.open(SHARDS, columns=["distance"])
    world = hr.World(rank, size)
    return ds.loader(
        global_batch_size=6_000, shuffle=True, seed=3, world=world, output="numpy", with_ids=True
    )


def main() -> None:
    """Deliver an epoch in two parts, and count."""
    delivered: list[np.ndarray] = []
    states: list[str] = []
    for rank in range(2):
        loader = make_loader(rank, size=2)
        for step, batch in enumerate(loader):
            delivered.append(batch["sample_id"])
            if step == 20:
                break
        states.append(json.dumps(loader.state_dict()))
        loader.close()
    print(f"2 ranks: {sum(map(len, delivered)):,} samples, then stopped")
    print(f"the same state on both: {states[0] == states[1]}, {len(states[0])} bytes")

    for rank in range(3):
        with make_loader(rank, size=3) as loader:
            loader.load_state_dict(json.loads(states[0]))
            delivered += [batch["sample_id"] for batch in loader]
    ids = np.concatenate(delivered)
    print(f"3 ranks: {len(ids):,} samples in all, {len(np.unique(ids)):,} different ones")

    one = make_loader(0, 1).batch(step=5)["sample_id"]
    four = [make_loader(rank, 4).batch(step=5)["sample_id"] for rank in range(4)]
    print(f"step 5 on 1 rank and on 4, laid end to end: equal is {np.array_equal(one, np.concatenate(four))}")


if __name__ == "__main__":
    main()
