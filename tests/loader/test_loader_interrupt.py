"""Ctrl-C and kill: the process ends soon, nothing stays behind, and a saved state resumes exactly."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from loader_data import parquet
from loader_programs import interrupt, left_members, run, start

import headrace as hr
from headrace.testing.contents import contents

EPOCHS = """
import numpy as np, sys, headrace as hr
ds = hr.from_arrays({"x": np.zeros((20000, 512), np.float32)})
loader = ds.loader(16, shuffle=True, threads=int(sys.argv[1]), output="numpy")
for number in range(10**6):
    for step, batch in enumerate(loader):
        if number == 0 and step == 3:
            print("ready", flush=True)
"""

# An alarm raises what Ctrl-C does, at many places of the loop.
ALARMS = """
import numpy as np, random, signal, headrace as hr
def ring(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, ring)
ds = hr.from_arrays({"x": np.zeros((2000, 2000), np.float32)})
loader = ds.loader(16, shuffle=True, threads=0, output="numpy")
for batch in loader:  # an interrupted import is another matter
    pass
heard = 0
for number in range(200):
    signal.setitimer(signal.ITIMER_REAL, 0.005 + 0.01 * random.random())
    try:
        for epoch in range(100):
            for batch in loader:
                pass
    except KeyboardInterrupt:
        heard += 1
print(heard)
"""

SLEEPING = """
import sys, time, headrace as hr
def sleep(frame):
    print("ready", flush=True)
    time.sleep(60)
    return frame
ds = hr.from_arrays({"x": [1, 2, 3]}).map(sleep, version="1")
next(iter(ds.loader(1, threads=int(sys.argv[1]), output="numpy")))
"""

PROCESSES = """
import time, headrace as hr
def main():
    results = hr.Processes(2).map(time.sleep, [0.0, 60.0, 60.0, 60.0], ahead=2)
    next(results)
    print("ready", flush=True)
    next(results)
main()
"""

# Writes the state after each batch, and is killed in the middle.
SAVING = """
import json, os, pathlib, signal, sys
import headrace as hr
ds = hr.open(sys.argv[1])
loader = ds.loader(5, shuffle=True, seed=11, threads=2, output="numpy", with_ids=True)
for step, batch in enumerate(loader):
    pathlib.Path(sys.argv[2]).write_text(json.dumps(loader.state_dict()))
    if step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
"""

RESUMING = """
import json, pathlib, sys
import headrace as hr
loader = hr.open(sys.argv[1]).loader(5, shuffle=True, seed=11, threads=1, output="numpy", with_ids=True)
loader.load_state_dict(json.loads(pathlib.Path(sys.argv[2]).read_text()))
batches = [[batch["sample_id"].tolist(), batch["x"].tolist()] for batch in loader]
print(json.dumps([batches, loader.epoch]))
"""


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_an_epoch(threads: int, times: int) -> None:
    """Ctrl-C in mid-epoch, once or twice, ends the process within 5 seconds; nothing is left."""
    process = start(EPOCHS, threads)
    seconds = interrupt(process, times)
    _, errors = process.communicate(timeout=10)

    assert seconds < 5
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    assert "Fatal" not in errors
    assert left_members(process.pid) == []


def test_no_ctrl_c_is_lost() -> None:
    """Also while batches' memory returns to the loader, an interrupt reaches the consumer."""
    assert run(ALARMS) == "200\n"


@pytest.mark.parametrize("threads", [0, 1])
def test_ctrl_c_does_not_wait_for_a_sleeping_function(threads: int) -> None:
    """A function that sleeps for a minute holds nobody up for more than 5 seconds."""
    process = start(SLEEPING, threads)
    seconds = interrupt(process)
    _, errors = process.communicate(timeout=10)

    assert seconds < 5
    assert process.returncode == -signal.SIGINT
    assert "Fatal" not in errors
    assert left_members(process.pid) == []


def test_ctrl_c_ends_processes_too() -> None:
    """The executor's processes, asleep for a minute, end with the one that started them."""
    process = start(PROCESSES)
    seconds = interrupt(process)
    process.communicate(timeout=10)

    assert seconds < 5
    assert left_members(process.pid) == []


@pytest.mark.parametrize("step", [0, 3, 6])
def test_a_killed_process_resumes_exactly(tmp_path: Path, step: int) -> None:
    """Killed right after saving, a fresh process delivers what the uninterrupted one would have."""
    (tmp_path / "data").mkdir()
    dataset = parquet(tmp_path / "data").select(["x", "y"])
    process = start(SAVING, tmp_path / "data", tmp_path / "state", step)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    loader = dataset.loader(5, shuffle=True, seed=11, threads=0, output="numpy", with_ids=True)
    # The saving program reads all columns; the state belongs to that recipe.
    whole = hr.open(tmp_path / "data").loader(
        5, shuffle=True, seed=11, threads=0, output="numpy", with_ids=True
    )
    batches, epoch = json.loads(run(RESUMING, tmp_path / "data", tmp_path / "state"))

    expected = contents(whole)[step + 1 :] or contents(whole)
    assert [ids for ids, _ in batches] == [batch["sample_id"] for batch in expected]
    assert epoch == (1 if step + 1 < len(loader) else 2)
