"""A Redis server on a free port of loopback, which can be killed, started again and paused."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NEEDED = "these tests need redis-server: run `apt-get install redis-server` (on macOS `brew install redis`)"


class RedisServer:
    """Keeps nothing on disk, so that it is empty after a restart."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail(NEEDED)
        self.program, self.folder = program, folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        import redis

        return redis.Redis(port=self.port, socket_timeout=10)

    def start(self) -> None:
        settings = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [self.program, *settings, "--dir", str(self.folder)], stdout=subprocess.DEVNULL
        )
        for _ in range(500):
            with self.client() as client:
                try:
                    assert client.ping()
                    return
                except OSError:
                    time.sleep(0.02)
        pytest.fail(f"{self.program} does not answer")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop it: it takes connections and does not answer."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def reset(self) -> None:
        """Have it run, empty and with its usual settings."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        with self.client() as client:
            client.config_set("maxmemory", 0)
            client.config_set("requirepass", "")
            client.flushall()


@contextmanager
def run_redis(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
