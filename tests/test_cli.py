"""The command line, run as a process the way a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.cli import main
from headrace.cli.demo import SCRIPT

COMMAND = [sys.executable, "-m", "headrace.cli"]


def run(*arguments: object, code: int = 0, **options: object) -> CompletedProcess[str]:
    """Run a command, and hold it to its exit code and to silence about its insides."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, **options
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    return done


def run_json(*arguments: object) -> dict:
    done = run(*arguments, "--json")
    assert done.stderr == ""
    return json.loads(done.stdout)


def error_of(*arguments: object) -> str:
    """Return the one line that a command which fails leaves, and that it leaves nothing else."""
    done = run(*arguments, code=2)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("headrace: ")
    return lines[0].removeprefix("headrace: ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven shards of two row groups with many kinds of columns."""
    path = tmp_path_factory.mktemp("shards")
    for number in range(7):
        ids = np.arange(number * 10, number * 10 + 10)
        table = pa.table(
            {
                "id": ids,
                "share": pa.array([None if i % 3 == 0 else i / 7 for i in ids.tolist()]),
                "broken": np.where(ids % 2 == 0, np.nan, ids),
                "name": [f"sample [{i}] of many, with a long description" for i in ids.tolist()],
                "blob": [bytes([i]) for i in ids.tolist()],
                "when": pa.array(ids, pa.timestamp("s", "UTC")),
                "image": pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((10, 2, 3), np.uint8)),
            }
        )
        pq.write_table(table, path / f"part-{number}.parquet", row_group_size=5)
    return path


def test_info_tells_what_a_data_set_is_made_of(folder: Path) -> None:
    """`info` shows counts, sizes, columns with types, the fingerprint and the first shards."""
    output = run("info", folder).stdout

    for words in (
        "samples 70",
        "shards 7",
        "row groups 14",
        "image uint8[2, 3]",
        "when timestamp[ms, tz=UTC]",
    ):
        assert words in " ".join(output.split())
    assert "part-4.parquet" in output
    assert "part-5.parquet" not in output
    assert "and 2 more" in output


def test_info_as_json(folder: Path) -> None:
    """`info --json` holds the same facts, and all shards."""
    facts = run_json("info", folder)

    assert (facts["samples"], facts["shards"], facts["row_groups"]) == (70, 7, 14)
    assert facts["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert facts["columns"][0] == {"name": "id", "type": "int64"}
    assert [shard["samples"] for shard in facts["files"]] == [10] * 7
    assert len(facts["fingerprint"]) == 32


def test_paths_that_the_shell_expanded_are_one_data_set(folder: Path) -> None:
    """Several paths, a quoted glob and a folder name the same data set."""
    files = [str(path) for path in sorted(folder.iterdir())]
    wholes = [run_json("info", *paths) for paths in ([folder], [f"{folder}/*.parquet"], files)]

    assert wholes[0] == wholes[1] == wholes[2]


def test_head_shows_the_first_samples(folder: Path) -> None:
    """`head` lays a wide table on its side, so that no column is left out."""
    output = run("head", folder, "-n", 3).stdout

    for column in ("id", "share", "broken", "name", "blob", "when", "image"):
        assert f"\n{column} " in output
    assert "id 2" in output
    assert "sample [0] of many" in output, "square brackets are no markup"


def test_head_of_few_columns_stands_upright(tmp_path: Path) -> None:
    """A narrow table has a line for each sample."""
    pq.write_table(pa.table({"x": [1.5, 2.5], "y": ["a", None]}), tmp_path / "a.parquet")
    lines = run("head", tmp_path).stdout.splitlines()

    assert lines[0].split() == ["id", "x", "y"]
    assert [line.split() for line in lines[2:]] == [["0", "1.5", "a"], ["1", "2.5", "null"]]


def test_head_says_what_does_not_fit(folder: Path) -> None:
    """Samples that find no room are counted, not dropped in silence."""
    assert "of 40 samples fit here" in run("head", folder, "-n", 40).stdout


def test_head_as_json(folder: Path) -> None:
    """`head --json` is strict JSON whatever the columns hold: NaN, bytes, time stamps, arrays."""
    answer = run_json("head", folder, "-n", 2)

    assert answer["ids"] == [0, 1]
    assert answer["columns"]["image"] == "uint8[2, 3]"
    first = answer["samples"][0]
    assert first["share"] is None
    assert first["broken"] is None
    assert first["blob"] == "00"
    assert first["image"] == [[0, 0, 0], [0, 0, 0]]
    assert first["when"].startswith("1970-01-01 00:00:00")


def test_explain_foretells_an_epoch(folder: Path) -> None:
    """`explain` follows batch size, world size, shuffle and seed."""
    shuffled = run_json("explain", folder, "--batch-size", 8, "--world-size", 2, "--seed", 3)
    plain = run_json("explain", folder, "--batch-size", 8, "--no-shuffle")

    assert (shuffled["steps"], shuffled["world_size"], shuffled["seed"]) == (5, 2, 3)
    assert shuffled["shuffle"].startswith("block")
    assert (plain["steps"], plain["shuffle"], plain["mixing"]) == (9, "source", 0.0)
    assert plain["peak_memory"] > 0
    assert "read amplification" in run("explain", folder).stdout


def test_without_a_terminal_there_is_no_colour(folder: Path) -> None:
    """What goes into a pipe holds no escape sequences and stays within 100 columns."""
    for command in ("info", "head", "explain"):
        output = run(command, folder).stdout
        assert "\x1b" not in output
        assert max(map(len, output.splitlines())) <= 100


def test_nothing_needs_torch(folder: Path) -> None:
    """Looking at data works without torch, and the demo says what is missing."""
    code = (
        "import sys; sys.modules['torch'] = None; from headrace.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    for arguments in (["info", str(folder)], ["head", str(folder)], ["explain", str(folder)]):
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, timeout=60)
    done = subprocess.run(
        [sys.executable, "-c", code, "demo"], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2
    assert done.stderr.strip().endswith("run `pip install headrace[torch]`")


def test_help_is_quick() -> None:
    """`--help` and `--version` load no library of frames, formats or tensors."""
    code = "import sys; from headrace.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stderr.split())

    assert "info" in done.stdout
    assert loaded.isdisjoint({"torch", "polars", "pyarrow", "numba", "numpy", "rich"})
    assert run("--version").stdout.startswith("headrace ")
    for command in ("info", "head", "explain", "demo"):
        assert "--json" in run(command, "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["inof", "x"], "invalid choice"),
        (["info"], "path"),
        (["info", "x", "--jsn"], "--jsn"),
        (["head", "x", "-n", "many"], "'many'"),
        (["explain", "x", "--batch-size"], "--batch-size"),
    ],
)
def test_a_wrong_command_is_one_sentence(arguments: list[str], words: str) -> None:
    """What argparse complains of is one sentence too, and says where help is."""
    error = error_of(*arguments)

    assert words in error
    assert "--help`" in error


def test_errors_are_one_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every error names what is wrong and ends with code 2, also for output as JSON."""
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "text.parquet").write_text("no shard")
    (tmp_path / "cut.parquet").write_bytes((folder / "part-0.parquet").read_bytes()[:-9])
    (tmp_path / "two\nlines.parquet").write_bytes(b"x")

    def error_of(*arguments: object) -> str:
        """As the function of this name, without a process of its own for each of many."""
        assert main([str(argument) for argument in arguments]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("headrace: ")
        assert output.err.count("\n") == 1
        return output.err

    assert "no such file" in error_of("info", tmp_path / "nowhere.parquet")
    assert "matches no file" in error_of("info", f"{tmp_path}/*.nothing")
    assert "empty" in error_of("info", tmp_path / "empty.parquet", "--json")
    assert "PAR1" in error_of("head", tmp_path / "text.parquet")
    assert "cut.parquet" in error_of("explain", tmp_path / "cut.parquet", "--json")
    assert "two lines" in error_of("info", tmp_path / "two\nlines.parquet")
    assert "named twice" in error_of("info", folder / "part-0.parquet", folder / "part-0.parquet")
    assert "-n" in error_of("head", folder, "-n", 0)
    assert "batch_size" in error_of("explain", folder, "--batch-size", 0)
    assert "--world-size" in error_of("explain", folder, "--world-size", 0)
    assert "ranks" in error_of("explain", folder, "--world-size", 1000)


def test_damage_found_while_reading_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    """A shard whose footer is whole but whose pages are not."""
    damaged = bytearray((folder / "part-0.parquet").read_bytes())
    damaged[4:200] = b"\xff" * 196
    (tmp_path / "damaged.parquet").write_bytes(damaged)

    assert "damaged.parquet, row group 0" in error_of("head", tmp_path / "damaged.parquet")


def test_traceback_on_request(tmp_path: Path) -> None:
    """`--traceback` shows where an error came from, before the sentence."""
    done = subprocess.run(
        [*COMMAND, "info", str(tmp_path / "nowhere"), "--traceback"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith("headrace: ")


def test_an_unexpected_error_is_one_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    """What nobody foresaw is named by its type, and still ends with code 2."""

    def fail(*_: object) -> int:
        raise ZeroDivisionError("what\nnobody foresaw")

    monkeypatch.setattr("headrace.cli.show.show_info", fail)

    assert main(["info", str(folder)]) == 2
    assert capsys.readouterr().err == "headrace: unexpected ZeroDivisionError: what nobody foresaw\n"


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    """`headrace info ... | head -1` leaves no complaint, also where the output outgrows a pipe."""
    command = " ".join([*COMMAND, "head", str(folder), "-n", "70", "--json"])
    for reader, codes in (("true", ["141"]), ("head -c 10", ["141", "0"])):
        done = subprocess.run(
            ["bash", "-c", f"{command} | {reader} >/dev/null; echo ${{PIPESTATUS[0]}}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr == ""
        assert done.stdout.strip() in codes


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_an_error(folder: Path) -> None:
    """A full disk is told, not taken for success."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "info", str(folder)], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_needs_the_checkout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Installed without its examples, headrace says where the demo lies."""
    monkeypatch.setattr("headrace.cli.demo.SCRIPT", tmp_path / "train.py")

    assert main(["demo"]) == 2
    assert "source checkout" in capsys.readouterr().err
    assert SCRIPT.exists()


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    """The demo as a process group of its own, on its way."""
    pytest.importorskip("torch")
    process = subprocess.Popen(
        [*COMMAND, "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("1  ")
    time.sleep(2.0)  # let the training process begin
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)


@pytest.mark.parametrize("whole_group", [True, False], ids=["from a terminal", "to the command alone"])
def test_ctrl_c_ends_the_demo_and_its_child(demo: subprocess.Popen[str], whole_group: bool) -> None:
    """Ctrl-C ends with code 130, one line, and no process left behind."""
    send = os.killpg if whole_group else os.kill
    begin = time.monotonic()
    send(demo.pid, signal.SIGINT)
    _, errors = demo.communicate(timeout=20)

    assert demo.returncode == 130
    assert errors == "headrace: interrupted\n"
    assert time.monotonic() - begin < 6
    with pytest.raises(ProcessLookupError):
        os.killpg(demo.pid, 0)
