"""`headrace run`: what it writes, what it says, and the exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster

import headrace as hr
from headrace.cli import main

SHARDS, SAMPLES = 4, 100

JOB = """
[source]
path = "data"

[write]
path = "out"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four shards of a hundred samples, in row groups of 25, and a job that copies them."""
    (tmp_path / "data").mkdir()
    for number in range(SHARDS):
        write_shard(tmp_path, number)
    (tmp_path / "job.toml").write_text(JOB)
    return tmp_path


def write_shard(folder: Path, number: int, factor: int = 1) -> None:
    frame = pl.DataFrame({"x": range(number * SAMPLES, (number + 1) * SAMPLES)})
    frame = frame.with_columns(y=pl.col("x") * 0.5 * factor, text=pl.format("sample {}", "x"))
    pq.write_table(
        frame.to_arrow(),
        folder / "data" / f"{number}.parquet",
        row_group_size=25,
        write_page_checksum=True,
        compression="none",
    )


def damage(folder: Path, number: int) -> None:
    """Flip a byte of the second column's first page."""
    path = folder / "data" / f"{number}.parquet"
    broken = bytearray(path.read_bytes())
    place = pq.read_metadata(path).row_group(0).column(1)
    broken[place.data_page_offset + place.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(broken)


def fatten(folder: Path, number: int) -> None:
    """Let a shard be one row group of a megabyte, which `memory_limit` can refuse."""
    path = folder / "data" / f"{number}.parquet"
    frame = pl.read_parquet(path).with_columns(
        text=pl.concat_str([pl.lit("a long text, " * 800), pl.col("x").cast(pl.String)])
    )
    pq.write_table(frame.to_arrow(), path, use_dictionary=False)


def command(folder: Path, *arguments: str) -> int:
    return main(["run", str(folder / "job.toml"), *arguments])


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a job, hold it to its exit code, and return its JSON."""

    def run(folder: Path, *arguments: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert command(folder, "--json", *arguments) == code
        return json.loads(capsys.readouterr().out)

    return run


def test_a_job_is_done(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """The output is there, and a table tells what was done; without a terminal it has no colours."""
    monkeypatch.setattr("headrace.execution.reporting.PATIENCE_SECONDS", 1000.0)
    assert command(folder, "--set", 'select.where="x < 350"') == 0
    shown = capsys.readouterr()

    assert shown.err == ""
    assert "400 samples, 50 dropped, 0 duplicates" in shown.out
    assert "\x1b" not in shown.out
    assert hr.open(folder / "out").to_polars()["x"].to_list() == list(range(350))


def test_the_summary_as_json(folder: Path, answer: Callable[..., Any]) -> None:
    """Counts, stages with their times and bytes, and each output."""
    duplicated = pl.read_parquet(folder / "data" / "0.parquet")
    duplicated.write_parquet(folder / "data" / "4.parquet")
    with (folder / "job.toml").open("a") as job:
        job.write('[select]\nwhere = "x >= 10"\n[dedup]\n')
        job.write("warn_above = false\nstop_above = false\n[split]\nshares = {train = 0.7, test = 0.3}\n")
    found = answer(folder)
    outputs = {output["name"]: output for output in found["outputs"]}

    assert found["status"] == "complete"
    assert found["errors"] == []
    assert found["samples"] == {"source": 500, "dropped": 20, "duplicates": 90}
    assert outputs.keys() == {"train", "test"}
    for name, output in outputs.items():
        files = list((folder / "out" / name).glob("*.parquet"))
        assert output["samples"] == len(hr.open(folder / "out" / name))
        assert (output["shards"], output["written"], output["kept"]) == (len(files), len(files), 0)
        assert output["bytes"] == sum(file.stat().st_size for file in files)
        assert output["is_complete"]
    stages = {stage["name"]: stage for stage in found["stages"]}
    assert {"select", "dedup", "split", "write train", "write test"} <= stages.keys()
    assert stages["write train"]["samples"] == outputs["train"]["samples"]
    assert stages["write train"]["bytes"] == outputs["train"]["bytes"]
    assert 0 < sum(stage["seconds"] for stage in stages.values()) <= found["seconds"]


def test_quiet_says_nothing(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Neither progress nor a summary; what goes wrong is still said."""
    monkeypatch.setattr("headrace.execution.reporting.PATIENCE_SECONDS", 0.0)

    assert command(folder, "--quiet") == 0
    assert capfd.readouterr() == ("", "")
    assert command(folder, "--quiet", "--set", "write.seed=1.5") == 2
    assert "write.seed" in capfd.readouterr().err


def test_progress_is_told(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Each stage has its lines on standard error, where JSON does not mind them."""
    monkeypatch.setattr("headrace.execution.reporting.PATIENCE_SECONDS", 0.0)
    assert command(folder, "--json", "--set", "write.shards=50") == 0
    shown = capfd.readouterr()
    lines = [line for line in shown.err.splitlines() if line.startswith("write: ")]

    assert json.loads(shown.out)["status"] == "complete"
    assert 1 < len(lines) <= 10
    assert lines[-1].startswith("write: 50 of 50 shards, 400 rows, ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "write.shards=0"], "--set write.shards=0"),
        (["--set", 'select.where="z > 1"'], "no column `z`"),
        (["--set", "source.path=nowhere"], "nowhere"),
        (["--set", "rite.path=out"], "did you mean `write`"),
        (["--dry-run", "--set", 'select.where="z > 1"'], "no column `z`"),
        (["--dry-run", "--set", 'write.format="hdf"'], "write.format"),
    ],
)
def test_bad_input_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], words: str
) -> None:
    """The exit code is 2, the sentence says where, and nothing is written."""
    assert command(folder, *arguments) == 2
    shown = capsys.readouterr()

    assert shown.out == ""
    assert shown.err.startswith("headrace: ")
    assert shown.err.count("\n") == 1
    assert words in shown.err
    assert not (folder / "out").exists()


def test_a_folder_of_others_is_bad_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written, so that it is no partial job; and nothing is touched."""
    (folder / "out").mkdir()
    (folder / "out" / "thesis.tex").write_text("mine")

    assert command(folder) == 2
    assert str(folder / "out") in capsys.readouterr().err
    assert [path.name for path in (folder / "out").iterdir()] == ["thesis.tex"]


LITTLE = ("--set", 'source.memory_limit="100kB"')


def test_a_partial_job_continues(
    folder: Path, capsys: pytest.CaptureFixture[str], answer: Callable[..., Any]
) -> None:
    """A shard that cannot be read makes the exit code 3; the others are kept, and the next run goes on."""
    fatten(folder, 2)
    found = answer(folder, *LITTLE, code=3)
    (output,) = found["outputs"]

    assert found["status"] == "partial"
    assert "2.parquet, row group 0" in found["errors"][0]
    assert (output["shards"], output["written"], output["is_complete"]) == (4, 3, False)
    assert command(folder, *LITTLE) == 3
    shown = capsys.readouterr()
    assert "3 of 4" in shown.out
    assert shown.err.startswith("headrace: 3 of 4 shards are written and kept")
    assert shown.err.count("\n") == 1
    with pytest.raises(hr.UnfinishedError):
        hr.open(folder / "out")

    (output,) = answer(folder)["outputs"]
    assert (output["written"], output["kept"]) == (1, 3)
    assert hr.open(folder / "out").to_polars()["x"].to_list() == list(range(400))


def test_no_resume_begins_anew(folder: Path, answer: Callable[..., Any]) -> None:
    """What an interrupted run has left is not used."""
    fatten(folder, 2)
    answer(folder, *LITTLE, code=3)
    (output,) = answer(folder, "--no-resume")["outputs"]

    assert (output["written"], output["kept"]) == (4, 0)


def test_an_output_that_fails_does_not_stop_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str], answer: Callable[..., Any]
) -> None:
    """One of two parts cannot be written: the other is complete, and the sentence names the first."""
    with (folder / "job.toml").open("a") as job:
        job.write('[split]\nshares = {old = 0.5, new = 0.5}\ntime = "x"\n')
    damage(folder, 3)
    old, new = answer(folder, code=3)["outputs"]
    assert command(folder, "--quiet") == 3

    assert (old["is_complete"], new["is_complete"]) == (True, False)
    assert len(hr.open(folder / "out" / "old")) == 200
    shown = capsys.readouterr().err
    assert shown.startswith("headrace: 1 of 2 outputs are not complete (`new`): 1 of 2 shards are")


def test_update_writes_what_changed(
    folder: Path, capsys: pytest.CaptureFixture[str], answer: Callable[..., Any]
) -> None:
    """Without --update a changed source is refused; with it, the shards that are the same are kept."""
    answer(folder)
    write_shard(folder, 1, factor=2)
    assert command(folder) == 2
    assert "source" in capsys.readouterr().err
    (output,) = answer(folder, "--update")["outputs"]

    assert (output["written"], output["kept"]) == (1, 3)
    assert hr.open(folder / "out").to_polars()["y"][150] == 150.0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["write.shards=7"],
        ["write.rows_per_shard=30"],
        ["write.shuffle=true", "write.rows_per_shard=150"],
        ['augment={steps=[{op="FeatureDropout", columns="y"}], views=3}'],
    ],
    ids=str,
)
def test_a_dry_run_foretells(folder: Path, answer: Callable[..., Any], arguments: Sequence[str]) -> None:
    """Counts of samples and shards are those of the run, and nothing is written."""
    settings = [word for argument in arguments for word in ("--set", argument)]
    before = tree(folder)
    planned = answer(folder, "--dry-run", *settings)
    assert tree(folder) == before
    done = answer(folder, *settings)

    assert planned["is_exact"]
    assert planned["notes"] == []
    assert planned["rows"] == 400
    assert planned["source_bytes"] == sum(path.stat().st_size for path in (folder / "data").iterdir())
    for foretold, output in zip(planned["outputs"], done["outputs"], strict=True):
        assert (foretold["path"], foretold["rows"]) == (output["path"], output["samples"])
        assert foretold["shards"] == output["shards"]
    assert planned["seconds"] > 0
    assert planned["worker_memory"] > 0


def test_a_dry_run_names_its_scans(
    folder: Path, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each stage that reads is there with its passes; caches and outputs stay as they were."""
    with (folder / "job.toml").open("a") as job:
        job.write('[select]\nwhere = "x * 2 >= 10"\ncache = "kept"\n[dedup]\ncache = "kept"\n[split]\n')
        job.write('[[prepare]]\nstep = "StandardScaler"\ncolumns = "y"\n[executor]\ncount = 3\n')
    before = tree(folder)
    planned = answer(folder, "--dry-run")
    scans = {scan["name"]: scan for scan in planned["scans"]}

    assert {"select", "dedup", "fit", "write train", "write test"} <= scans.keys()
    assert all(scan["passes"] >= 1 for scan in scans.values())
    assert scans["select"]["rows"] == 400
    assert scans["fit"]["nbytes"] == scans["fit"]["passes"] * planned["source_bytes"]
    assert planned["workers"] == 3
    assert not planned["is_exact"]
    assert command(folder, "--dry-run") == 0
    assert "write train" in capsys.readouterr().out
    assert tree(folder) == before


def test_a_dry_run_of_too_few_samples_says_so(folder: Path, answer: Callable[..., Any]) -> None:
    """What its few row groups cannot tell is left open, as the job itself may do well."""
    with (folder / "job.toml").open("a") as job:
        job.write('[select]\nwhere = "x > 300"\n[[prepare]]\nstep = "FillMissing"\ncolumns = "y"\n')
    planned = answer(folder, "--dry-run")

    assert planned["seconds"] is None
    assert planned["scans"] == planned["outputs"] == []
    assert "too few" in planned["notes"][0]
    assert answer(folder)["outputs"][0]["samples"] == 99


def test_warnings_are_sentences(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A warning is said when it comes, without the line of code that gave it."""
    with (folder / "job.toml").open("a") as job:
        job.write('[dedup]\non = "k"\nstop_above = false\n[[columns]]\nk = "x * 0"\n')
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert command(folder) == 0
    errors = capsys.readouterr().err

    assert errors.startswith("headrace: warning: more than 20.0 % of a source is left out as duplicates")
    assert errors.count("\n") == 1


def test_the_dashboard_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Work on a Dask cluster can be watched from its beginning."""
    with LocalCluster(n_workers=1, processes=False, protocol="tcp", dashboard_address=":0") as cluster:
        dask = ("--set", "executor.kind=dask", "--set", f"executor.address={cluster.scheduler_address}")
        assert command(folder, *dask) == 0
        shown = capsys.readouterr()
        assert command(folder, "--quiet", *dask) == 0

    assert shown.err.splitlines()[0] == f"headrace: dashboard: {cluster.dashboard_link}"
    assert capsys.readouterr().err == ""


def test_ctrl_c_keeps_what_is_written(folder: Path, answer: Callable[..., Any]) -> None:
    """Ctrl-C ends with 130 and one sentence, and the next run continues."""
    settings = ("--set", "write.rows_per_shard=5")
    command = [sys.executable, "-m", "headrace.cli", "run", str(folder / "job.toml"), *settings]
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    staged, end = folder / "out" / "_unfinished", time.monotonic() + 120
    while len(list(staged.rglob("*.parquet"))) < 3:
        assert done.poll() is None
        assert time.monotonic() < end
    done.send_signal(signal.SIGINT)
    output, errors = done.communicate(timeout=60)

    assert done.returncode == 130
    assert output == ""
    assert errors.splitlines()[-1] == (
        f"headrace: interrupted; what is written is kept, and `headrace run {folder}/job.toml` continues"
    )
    (done,) = answer(folder, *settings)["outputs"]
    assert done["kept"] > 0
    assert done["written"] > 0
    assert hr.open(folder / "out").to_polars()["x"].to_list() == list(range(400))


def tree(folder: Path) -> dict[str, float]:
    """All files and folders, and when they were last changed."""
    return {str(path): os.stat(path).st_mtime_ns for path in folder.rglob("*")}
