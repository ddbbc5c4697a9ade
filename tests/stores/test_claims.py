"""Claims among the threads of one process, and of one that was forked from it."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from headrace.stores.claims import Claims


def never() -> bool:
    return False


def test_one_of_many_threads_computes() -> None:
    """Of threads that want the same entry one computes it, and the others wait for that."""
    claims, done, computed = Claims(), threading.Event(), list[bool]()
    barrier = threading.Barrier(6)

    def work() -> None:
        barrier.wait()
        with claims.claim(3, done.is_set) as is_mine:
            computed.append(is_mine)
            if is_mine:
                time.sleep(0.02)
                done.set()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(computed) == [False] * 5 + [True]


def test_claim_ends_with_an_error() -> None:
    """An entry whose computation failed can be claimed by another thread."""
    claims, seen = Claims(), list[bool]()

    def fail() -> None:
        with claims.claim(3, never):
            thread = threading.Thread(target=lambda: seen.append(claims.is_claimed(3)))
            thread.start()
            thread.join()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert seen == [True]
    with claims.claim(3, never) as is_mine:
        assert is_mine


def test_forked_process_does_not_wait_for_threads_it_does_not_have() -> None:
    """What a thread of the parent claimed when it forked is nobody's in the child, and still claimed here."""
    claims, block = Claims(), ExitStack()
    block.enter_context(claims.claim(3, never))
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # rather than hang
        code = 1
        with suppress(BaseException):
            with claims.claim(3, never) as is_mine:
                code = 0 if is_mine and not claims.is_claimed(3) else 2
            block.close()
        os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(claims.is_claimed(3)))
    thread.start()
    thread.join()
    block.close()
    assert seen == [True]
