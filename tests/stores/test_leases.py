"""Leases: one of many computes, whoever dies is followed, and nobody is disturbed by who was paused."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from lease_programs import line_of, start, tell

from headrace.stores.leases import Leases

LONG = 3600.0  # a lease that only a dead holder's lock can free while a test runs

Start = Callable[..., "subprocess.Popen[str]"]


def never() -> bool:
    return False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "leases").mkdir()
    return tmp_path / "leases"


@pytest.fixture
def leases(folder: Path) -> Generator[Leases]:
    leases = Leases(folder, LONG)
    yield leases
    leases.close()


@pytest.fixture
def program() -> Generator[Start]:
    """Start a program; it is ended after the test."""
    programs: list[subprocess.Popen[str]] = []

    def begin(*arguments: object, **options: Any) -> subprocess.Popen[str]:
        programs.append(start(*arguments, **options))
        return programs[-1]

    yield begin
    for each in programs:
        each.kill()
        each.communicate()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.005)


def test_one_of_many_threads_computes(folder: Path) -> None:
    """Of threads that share leases, or open the folder each by itself, one computes."""
    shared, done, computed = Leases(folder), threading.Event(), list[int]()
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        own = shared if number % 2 else Leases(folder)
        barrier.wait()
        with own.claim("7", done.is_set) as is_mine:
            if is_mine:
                computed.append(number)
                time.sleep(0.02)
                done.set()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(computed) == 1
    assert files(folder) == []


def test_processes_divide_the_work(folder: Path, program: Start) -> None:
    """Four processes that claim the same names compute each of them once."""
    (folder.parent / "done").mkdir()
    programs = [program("share", folder, 40) for _ in range(4)]
    assert [line_of(each) for each in programs] == ["ready"] * 4
    for each in programs:
        tell(each)
    assert [each.wait() for each in programs] == [0] * 4

    assert sorted(map(int, (folder.parent / "computed").read_text().split())) == list(range(40))
    assert files(folder) == []


def test_names_do_not_wait_for_each_other(leases: Leases) -> None:
    """A lease concerns its own name, not one that begins alike."""
    with leases.claim("1", never), leases.claim("11", never) as is_mine:
        assert is_mine
        assert leases.is_claimed("1")
        assert not leases.is_claimed("111")


def test_lease_ends_with_an_error(leases: Leases, folder: Path) -> None:
    """A failed computation frees its lease."""
    with pytest.raises(ZeroDivisionError), leases.claim("7", never):
        raise ZeroDivisionError

    assert not leases.is_claimed("7")
    assert files(folder) == []


def test_what_is_done_needs_no_lease(leases: Leases, folder: Path) -> None:
    """What is there already is not computed, whoever holds the lease."""
    with leases.claim("7", lambda: True) as is_mine:
        assert not is_mine
        assert files(folder) == []


def test_what_the_holder_before_did_is_not_done_again(leases: Leases) -> None:
    """Whoever gets a lease looks once more whether it is done."""
    answers = iter([False, True])

    with leases.claim("7", lambda: next(answers)) as is_mine:
        assert not is_mine
    assert not leases.is_claimed("7")


def test_waiting_ends_once_it_is_done(leases: Leases, folder: Path, program: Start) -> None:
    """Whoever waits goes on when the holder has put its result, though the lease is still held."""
    holder, done = program("hold", folder, "7", LONG), threading.Event()
    assert line_of(holder).startswith("held")
    got: list[bool] = []

    def wait() -> None:
        with leases.claim("7", done.is_set) as is_mine:
            got.append(is_mine)

    thread = threading.Thread(target=wait)
    thread.start()
    done.set()
    thread.join()

    assert got == [False]
    assert leases.is_claimed("7")


@pytest.mark.parametrize("options", [(), ("fork",)])
def test_killed_holder_is_followed_at_once(
    leases: Leases, folder: Path, program: Start, options: tuple[str, ...]
) -> None:
    """A holder on this machine that is killed leaves nothing to wait for, even if a child of it lives on."""
    holder = program("hold", folder, "7", LONG, *options)
    child = int(line_of(holder).split()[1])
    assert leases.is_claimed("7")
    holder.kill()
    holder.wait()
    try:
        with leases.claim("7", never) as is_mine:
            assert is_mine
            assert len(files(folder)) == 1
    finally:
        if child > 0:
            os.kill(child, signal.SIGKILL)

    assert files(folder) == []


def test_paused_holder_is_followed_and_does_not_disturb(folder: Path, program: Start) -> None:
    """A holder that shows no life loses its lease; when it wakes, its successor's stays as it is."""
    holder = program("hold", folder, "7", 0.5)
    assert line_of(holder).startswith("held")
    os.kill(holder.pid, signal.SIGSTOP)
    leases = Leases(folder, 0.5)
    with leases.claim("7", never) as is_mine:
        assert is_mine
        (own,) = folder.iterdir()
        before = own.stat()
        os.kill(holder.pid, signal.SIGCONT)
        tell(holder)
        assert line_of(holder) == "released"
        assert holder.wait() == 0
        assert own.stat().st_ino == before.st_ino
        assert Leases(folder, LONG).is_claimed("7")
    leases.close()

    assert files(folder) == []


def test_holder_shows_life(folder: Path) -> None:
    """A lease is touched again and again for as long as it is held."""
    leases = Leases(folder, 0.2)
    with leases.claim("7", never):
        (own,) = folder.iterdir()
        for _ in range(3):
            before = own.stat().st_mtime_ns
            until(lambda before=before: own.stat().st_mtime_ns > before)
    leases.close()


def test_holder_on_another_machine_is_believed_while_it_shows_life(leases: Leases, folder: Path) -> None:
    """What another machine holds is claimed until it is untouched for too long."""
    lease = folder / "7.4.lease"
    lease.write_bytes(b"another machine")
    assert leases.is_claimed("7")
    for shift in (-LONG, LONG + 60):  # the clock was set back: a time ahead is no sign of life
        now = time.time()
        os.utime(lease, (now + shift, now + shift))
        assert not leases.is_claimed("7")
    with leases.claim("7", never) as is_mine:
        assert is_mine
        assert files(folder) == ["7.5.lease"]


def test_without_locks_the_time_of_change_tells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without locks, a holder is believed for as long as it touches its lease."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", fail)
    one, other = Leases(folder, LONG), Leases(folder, LONG)
    with one.claim("7", never) as is_mine:
        (lease,) = folder.iterdir()
        before = time.time() - 60
        os.utime(lease, (before, before))
        assert is_mine
        assert other.is_claimed("7")
    with other.claim("7", never) as is_mine:
        assert is_mine
    one.close()
    other.close()


def test_dead_holder_on_another_machine_is_followed(folder: Path) -> None:
    """A lease that nobody touches is waited for, and then taken."""
    (folder / "7.0.lease").write_bytes(b"another machine")
    leases = Leases(folder, 0.2)

    with leases.claim("7", never) as is_mine:
        assert is_mine
    leases.close()


def test_of_many_who_follow_one_gets_the_lease(folder: Path) -> None:
    """However many find the same dead holders at once, one at a time holds the lease."""
    inside, most, rounds = list[int](), list[int](), 30
    barrier = threading.Barrier(4)

    def follow(own: Leases) -> None:
        for number in range(rounds):
            if barrier.wait() == 0:
                (folder / f"{number}.0.lease").write_bytes(b"another machine")
                (folder / f"{number}.3.lease").write_bytes(b"another machine")
                for name in ("0", "3"):
                    os.utime(folder / f"{number}.{name}.lease", (1, 1))
            barrier.wait()
            with own.claim(str(number), never) as is_mine:
                assert is_mine
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    followers = [Leases(folder, LONG) for _ in range(4)]
    threads = [threading.Thread(target=follow, args=(each,)) for each in followers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1] * 4 * rounds
    assert files(folder) == []


def test_forked_process_holds_nothing(leases: Leases, folder: Path) -> None:
    """A child sees its parent's lease as somebody else's, and the end of the block there frees nothing."""
    read, write = os.pipe()
    block = ExitStack()
    is_mine = block.enter_context(leases.claim("7", never))
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            with leases.claim("8", never) as other:
                answer = (is_mine, other, leases.is_claimed("7"), leases.is_claimed("8"))
            block.close()
            leases.close()
            os.write(write, repr(answer).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with open(read) as answers:
        assert answers.read() == "(True, True, True, True)"
    assert files(folder) == ["7.0.lease"]
    assert leases.is_claimed("7")
    block.close()

    assert files(folder) == []


def test_folder_that_cannot_be_written_to_has_no_leases(tmp_path: Path, program: Start) -> None:
    """Who may only read computes for himself, whatever lies there."""
    tmp_path.chmod(0o555)
    (tmp_path / "7.0.lease").write_bytes(b"another machine")
    try:
        assert line_of(program("unprivileged", 7, folder=tmp_path)) == "True False"
    finally:
        tmp_path.chmod(0o755)


def test_folder_may_be_gone(leases: Leases, folder: Path) -> None:
    """A folder that is removed under a holder stops nobody, before and after."""
    with leases.claim("7", never) as is_mine:
        shutil.rmtree(folder)
        with leases.claim("7", never) as is_mine_too:
            assert is_mine
            assert is_mine_too
            assert not leases.is_claimed("7")

    assert not folder.exists()


def test_other_files_are_no_leases(leases: Leases, folder: Path) -> None:
    """A name that no lease has is neither read nor removed."""
    for name in ("7.lease", "7.x.lease", "7.0", "7.-1.lease", "07.0.lease"):
        (folder / name).write_bytes(b"notes")
    with leases.claim("7", never) as is_mine:
        assert is_mine

    assert files(folder) == ["07.0.lease", "7.-1.lease", "7.0", "7.lease", "7.x.lease"]


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_is_no_file_is_no_hindrance(leases: Leases, folder: Path, kind: str) -> None:
    """A pipe, a link or a folder in the place of a lease neither blocks nor is followed or removed."""
    place, other = folder / "7.0.lease", folder.parent / "other"
    other.write_bytes(b"notes")
    make = {"pipe": lambda: os.mkfifo(place), "link": lambda: place.symlink_to(other), "folder": place.mkdir}
    make[kind]()
    os.utime(place, (1, 1), follow_symlinks=False)
    with leases.claim("7", never) as is_mine:
        assert is_mine

    assert other.read_bytes() == b"notes"
    assert kind != "folder" or place.is_dir()


def test_waiting_can_be_interrupted(leases: Leases, folder: Path, program: Start) -> None:
    """Ctrl-C ends a wait, and the lease stays with its holder."""
    with leases.claim("7", never):
        waiting = program("wait", folder, "7")
        assert line_of(waiting) == "waiting"
        time.sleep(0.05)
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait() in (-signal.SIGINT, 1)
        assert files(folder) == ["7.0.lease"]


def test_close_ends_leases_and_their_thread(leases: Leases, folder: Path) -> None:
    """Closing lets go of what is held, leaves no thread and no open file, and may be repeated."""
    open_files = len(os.listdir("/proc/self/fd"))
    with leases.claim("7", never), leases.claim("8", never):
        assert [each.name for each in threading.enumerate()].count("headrace-leases") == 1
        leases.close()
        leases.close()
        assert files(folder) == []
        assert "headrace-leases" not in [each.name for each in threading.enumerate()]

    assert len(os.listdir("/proc/self/fd")) == open_files


def test_a_holder_killed_before_it_said_who_it_is(tmp_path: Path) -> None:
    """A lease file that is empty and not locked is nobody's, once it is a moment old."""
    (tmp_path / "7.0.lease").touch()
    leases = Leases(tmp_path)
    begin = time.monotonic()
    with leases.claim("7", lambda: False) as is_mine:
        assert is_mine

    assert time.monotonic() - begin < leases.seconds / 2
    leases.close()
