"""Programs whose jobs are stopped on purpose.

python journal_programs.py hold OUT: begin a job, print who holds its lock, this process and a child that
    outlives it, and let go of the lock and take it again, by turns, for each line that comes.
python journal_programs.py serve: do what each line says, and print what came of it:
    steps FOLDER SCENARIO: end a job at its first operation on files, at its second and so on, each in its own
        folder, and run it again; how many were ended, and how many were not.
    refused FOLDER SCENARIO STRIDE: the same with a disk that is full from that operation on, at each
        STRIDE-th of them.
    again FOLDER SEED ROUNDS: end jobs at random operations until they are through; how many ended.
    killed FOLDER SEED ROUNDS: kill jobs of three processes at random moments, or only their leader, and
        run them again until they are through; how many were killed.
    limited OUT: write a shard that is larger than files may be; the error.

These do not wait for the disk: what a process has written outlives it, however it ends.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from journal_jobs import FIRST, SECOND, Job, content_of, publish, run, stage, tree, write_shard

from headrace.errors import OutputError, UnfinishedError
from headrace.sources.written.manifest import NAME, UNFINISHED, check_finished, read_manifest
from headrace.writing.disk import as_output_error
from headrace.writing.journal import Journal

OPERATIONS = ("replace", "unlink", "fsync", "mkdir", "rmdir", "open")
ENDED, KILLED = 9, -signal.SIGKILL


def _scenarios() -> dict[str, tuple[Callable[[Path], object], Callable[[Path], object], Job]]:
    """What lies in a folder before, what is run, and whose output must come of it, by a name."""
    return {
        "write": (lambda out: None, lambda out: run(out, FIRST), FIRST),
        "continue": (lambda out: stage(out, FIRST, FIRST.names[:3]), lambda out: run(out, FIRST), FIRST),
        "update": (lambda out: run(out, FIRST), lambda out: run(out, SECOND, update=True), SECOND),
        "anew": (
            lambda out: run(out, FIRST),
            lambda out: run(out, FIRST, resume=(out / UNFINISHED).exists()),
            FIRST,
        ),
    }


def hold(out: str) -> None:
    journal = Journal.open(Path(out), FIRST.identity, resume=True, update=False)
    child = fork(lambda: time.sleep(600))
    print("held", os.getpid(), child, flush=True)
    while sys.stdin.readline():
        journal.close()
        print("released", flush=True)
        sys.stdin.readline()
        journal = Journal.open(Path(out), FIRST.identity, resume=False, update=False)
        print("held", flush=True)


def fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return child


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def stop_at(number: int, stop: Callable[[], object]) -> None:
    """From now on count this process's operations on files, and stop it before the one of that number."""
    count = 0

    def stopping(operation: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count >= number:
                stop()
            return operation(*args, **options)

        return counted

    for name in OPERATIONS:
        setattr(os, name, stopping(getattr(os, name)))


def check_visible(out: Path, clean: dict[str, Path]) -> None:
    """Whatever has a manifest is one whole output, the old one or the new one."""
    if not (out / NAME).exists():
        if (out / UNFINISHED).exists():
            with suppress(UnfinishedError):
                check_finished(os.fspath(out))
                raise AssertionError(f"{out} must not be opened")
        else:
            assert list(out.glob("*")) == []
        return
    manifest = read_manifest(os.fspath(out))
    job = next(job for job in (FIRST, SECOND) if job.identity == manifest.identity)
    for name, key in job.keys.items():
        assert (out / name).read_bytes() == content_of(key), name
    if job is SECOND:
        found = {name: content for name, content in tree(out).items() if not name.startswith("_unfinished")}
        assert found == tree(clean["second"])


def clean_outputs(folder: Path) -> dict[str, Path]:
    clean = {"first": folder / "clean" / "first", "second": folder / "clean" / "second"}
    run(clean["first"], FIRST)
    run(clean["second"], SECOND)
    return clean


def output_of(job: Job, clean: dict[str, Path]) -> dict[str, bytes | None]:
    return tree(clean["first" if job is FIRST else "second"])


def steps(folder: str, scenario: str) -> str:
    return _try_steps(Path(folder), scenario, lambda out: os._exit(ENDED), 1)


def refused(folder: str, scenario: str, stride: str) -> str:
    return _try_steps(Path(folder), scenario, _fill, int(stride))


def _fill(out: Path) -> None:
    del out
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _try_steps(folder: Path, scenario: str, stop: Callable[[Path], None], stride: int) -> str:
    """Stop jobs at their operations, and say how many were stopped and how many not."""
    clean = clean_outputs(folder)
    before, work, job = _scenarios()[scenario]
    number, codes = 1, [ENDED]
    while codes[-1] == ENDED:
        out = folder / str(number)
        before(out)
        codes.append(wait(fork(lambda out=out, number=number: _end(out, work, number, stop))))
        assert codes[-1] in (0, ENDED)
        check_visible(out, clean)
        work(out)
        assert tree(out) == output_of(job, clean), number
        shutil.rmtree(out)
        number += stride
    return f"{codes.count(ENDED) - 1} {codes.count(0)}"


def _end(out: Path, work: Callable[[Path], object], number: int, stop: Callable[[Path], None]) -> None:
    stop_at(number, lambda: stop(out))
    try:
        work(out)
    except OSError as error:
        told = error if isinstance(error, OutputError) else as_output_error(error, out)
        assert told is not None
        assert str(told).startswith(f"{out}: the disk is full; free space and run again: "), told
        os._exit(ENDED)


def again(folder: str, seed: str, rounds: str) -> str:
    rng = random.Random(int(seed))
    clean = clean_outputs(Path(folder))
    ends = 0
    for number in range(int(rounds)):
        before, work, job = _scenarios()[rng.choice([*_scenarios()])]
        out = Path(folder) / str(number)
        before(out)
        code = ENDED
        while code == ENDED:
            operation = rng.randint(1, 100)
            code = wait(fork(lambda: (stop_at(operation, lambda: os._exit(ENDED)), work(out))))  # noqa: B023
            assert code in (0, ENDED)
            ends += code == ENDED
            check_visible(out, clean)
        assert tree(out) == output_of(job, clean), number
        shutil.rmtree(out)
    return str(ends)


def lead(out: Path, job: Job, *, update: bool) -> None:
    """Write by two more processes, which go on if only this one is killed."""
    journal = Journal.open(out, job.identity, resume=True, update=update)
    if journal.complete is None:
        lacking = [name for name, key in job.keys.items() if journal.staging.record(name, key) is None]

        def write(names: list[str]) -> None:
            for name in names:
                time.sleep(0.004)
                write_shard(journal.staging, name, job.keys[name])

        workers = [fork(lambda names=lacking[index::2]: write(names)) for index in range(2)]
        assert [wait(worker) for worker in workers] == [0, 0]
        files = [journal.staging.record(name, key) for name, key in job.keys.items()]
        publish(journal, job, [file for file in files if file is not None], {})
    journal.close()


def killed(folder: str, seed: str, rounds: str) -> str:
    rng = random.Random(int(seed))
    clean = clean_outputs(Path(folder))
    lead(Path(folder) / "warm", FIRST, update=False)
    begin = time.monotonic()
    lead(Path(folder) / "timed", FIRST, update=False)
    span, kills = time.monotonic() - begin, 0
    for number in range(int(rounds)):
        out, job, update = Path(folder) / str(number), FIRST, number % 2 == 1
        if update:
            run(out, FIRST)
            job = SECOND
        code, groups = KILLED, []
        living, hold_on = os.pipe()
        while code == KILLED:
            leader = fork(lambda: (os.setpgid(0, 0), lead(out, job, update=update)))  # noqa: B023
            groups.append(leader)
            time.sleep(rng.uniform(0, 1.3 * span))
            if rng.random() < 0.5:
                os.kill(leader, signal.SIGKILL)  # its workers live on, and write while the next run does
            else:
                _kill_group(leader)
            code = wait(leader)
            assert code in (0, KILLED)
            kills += code == KILLED
            check_visible(out, clean)
        os.close(hold_on)
        assert os.read(living, 1) == b""  # all workers have ended
        os.close(living)
        assert tree(out) == output_of(job, clean), number
        shutil.rmtree(out)
    return str(kills)


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:  # it is no group yet, or not any more
        os.kill(leader, signal.SIGKILL)


def limited(out: str) -> str:
    reading, writing = os.pipe()
    wait(fork(lambda: os.write(writing, _write_large(Path(out)).encode())))
    os.close(writing)
    with open(reading) as pipe:
        return pipe.read()


def _write_large(out: Path) -> str:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        run(out, Job(FIRST.identity, {"part-00000.parquet": "a", "part-00001.parquet": "b" * 30}))
    except OSError as error:
        return str(as_output_error(error, out, "1 of 2 shards is kept"))
    return "nothing"


def serve() -> None:
    os.fsync = lambda descriptor: None
    programs = {program.__name__: program for program in (steps, refused, again, killed, limited)}
    for line in sys.stdin:
        name, *arguments = line.split()
        print(programs[name](*arguments), flush=True)


if __name__ == "__main__":
    {"hold": hold, "serve": serve}[sys.argv[1]](*sys.argv[2:])
