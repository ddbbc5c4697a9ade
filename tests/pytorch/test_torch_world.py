"""Ranks are found by themselves: in torch's process group, or in torchrun's variables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch.distributed as dist
import torch.multiprocessing
from torch_data import epochs, ids, loader, workers

import headrace as hr
from headrace.errors import OptionError


def train(rank: int, size: int, folder: str) -> None:
    """One rank of a gloo group: its batches by threads, by forked and by spawned workers."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    world = hr.World.detect()
    found = {
        "world": [world.rank, world.size],
        "itself": ids(loader(global_batch_size=20)),
        "fork": ids(workers(loader(global_batch_size=20), 1, "fork")),
        "spawn": ids(workers(loader(global_batch_size=20), 1, "spawn")),
        "steps": len(loader(global_batch_size=20)),
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def test_ranks_of_a_process_group(tmp_path: Path) -> None:
    """Two gloo processes find their ranks, and their workers do, however they are started."""
    torch.multiprocessing.start_processes(train, (2, str(tmp_path)), nprocs=2, start_method="spawn")
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    expected = epochs(1, global_batch_size=20)[0]

    assert [rank["world"] for rank in ranks] == [[0, 2], [1, 2]]
    assert [rank["steps"] for rank in ranks] == [5, 5]
    for way in ("itself", "fork", "spawn"):
        steps = zip(*(rank[way] for rank in ranks), strict=True)
        assert [[id for batch in step for id in batch] for step in steps] == expected


def test_variables_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process group, RANK and WORLD_SIZE say which rank this is, when first needed."""
    source = loader(batch_size=10)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    got = ids(source)

    assert hr.World.detect() == hr.World(1, 4)
    assert len(source) == 3
    assert got == ids(loader(batch_size=10, world=hr.World(1, 4)))


@pytest.mark.parametrize(("rank", "size"), [("4", "4"), ("-1", "2"), ("x", "2"), ("0", "0")])
def test_variables_that_cannot_be_right(monkeypatch: pytest.MonkeyPatch, rank: str, size: str) -> None:
    """Nonsense in the variables is an error that shows it, not a silent single rank."""
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(OptionError):
        len(loader())


def test_names_of_torch() -> None:
    """`num_replicas` and `rank` are another way to say the world."""
    assert ids(loader(num_replicas=3, rank=2)) == ids(loader(world=hr.World(2, 3)))
