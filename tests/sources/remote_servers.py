"""Servers on loopback for tests: S3 (moto), a web server, and a proxy that counts and breaks connections."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from s3fs import S3FileSystem

MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
KEY, SECRET = "AKIAEXAMPLEKEY", "a-secret-that-nobody-may-see"
Fault = Callable[["Request"], int | None]
"""Says after how many bytes of an answer's body the connection breaks; None lets it pass, `SILENT` breaks it
without an answer, and `-status` refuses the request by that status."""
SILENT = -1


@contextmanager
def run_moto() -> Iterator[str]:
    """Run an S3 server in a process of its own, and name its address."""
    with subprocess.Popen(
        [sys.executable, "-c", MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            process.kill()


def s3_options(endpoint: str) -> dict[str, Any]:
    return {"key": KEY, "secret": SECRET, "endpoint_url": endpoint}


@dataclass
class Store:
    """An S3 server with one bucket `data`, reached directly and through a proxy."""

    direct: dict[str, Any]
    options: dict[str, Any]
    proxy: Proxy

    def put(self, place: str | Path, key: str) -> None:
        """Copy a file or a folder's files into the bucket."""
        filesystem = S3FileSystem(**self.direct)
        found = Path(place)
        for path in sorted(found.rglob("*")) if found.is_dir() else [found]:
            if path.is_file():
                name = key if path == found else f"{key}/{path.relative_to(found).as_posix()}"
                filesystem.pipe_file(f"data/{name}", path.read_bytes())


@contextmanager
def run_store() -> Iterator[Store]:
    """Run an S3 server and a proxy before it."""
    with run_moto() as address:
        host, port = address.removeprefix("http://").split(":")
        proxy = Proxy((host, int(port)))
        with proxy.run() as through:
            S3FileSystem(**s3_options(address)).mkdir("data")
            yield Store(s3_options(address), s3_options(through), proxy)


@dataclass(frozen=True)
class Request:
    """One request that passed the proxy, and what came back."""

    method: str
    target: str
    begin: int | None
    status: int
    length: int


def in_the_middle(request: Request) -> int | None:
    """Break every answer of some length half-way."""
    return request.length // 2 if request.status == 206 and request.length > 300 else None


@dataclass
class Proxy:
    """Passes requests on to a server, one for each connection."""

    upstream: tuple[str, int]
    fault: Fault = lambda request: None
    requests: list[Request] = field(default_factory=list)
    sent: int = 0
    broken: int = 0

    def reset(self, fault: Fault = lambda request: None) -> None:
        """Count anew, and let requests pass or not."""
        self.requests, self.sent, self.broken, self.fault = [], 0, 0, fault

    @contextmanager
    def run(self) -> Iterator[str]:
        """Listen, and name the address."""
        with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
            server.shutdown(socket.SHUT_RDWR)

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.upstream) as server:
            asked, rest = _read_head(client)
            if not asked:
                return
            method, target, _ = asked[0].split(" ", 2)
            head = [line for line in asked if not line.lower().startswith("connection:")]
            server.sendall("\r\n".join([*head, "Connection: close", "", ""]).encode() + rest)
            if method in ("PUT", "POST"):
                raise AssertionError("tests write to the server itself")
            answer, body = _read_head(server)
            length = int(_header(answer, "content-length") or 0) if method != "HEAD" else 0
            wanted = _header(asked, "range")
            begin = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else None
            request = Request(method, target, begin, int(answer[0].split(" ")[1]), length)
            self.requests.append(request)
            most = self.fault(request)
            self.broken += most is not None
            if most == SILENT:
                return
            if most is not None and most < 0:
                refusal = f"HTTP/1.1 {-most} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                client.sendall(refusal.encode())
                return
            kept = [line for line in answer if not line.lower().startswith("connection:")]
            client.sendall("\r\n".join([*kept, "Connection: close", "", ""]).encode())
            self._send(client, server, body, length if most is None else min(most, length))

    def _send(self, client: socket.socket, server: socket.socket, body: bytes, length: int) -> None:
        left = length
        while left:
            content = body[:left] or server.recv(min(left, 1 << 16))
            if not content:
                return
            body = body[len(content) :]
            client.sendall(content)
            self.sent += len(content)
            left -= len(content)


def _read_head(connection: socket.socket) -> tuple[list[str], bytes]:
    """Read the lines of a request's or an answer's head, and what already came of its body."""
    content = b""
    while b"\r\n\r\n" not in content:
        more = connection.recv(1 << 16)
        if not more:
            return [], b""
        content += more
    head, _, rest = content.partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), rest


def _header(lines: list[str], name: str) -> str:
    found = [line.split(":", 1)[1].strip() for line in lines[1:] if line.lower().startswith(name + ":")]
    return found[0] if found else ""


class RangeHandler(SimpleHTTPRequestHandler):
    """Serves a folder, ranges of bytes included unless the server is told not to; refuses HEAD."""

    def do_HEAD(self) -> None:
        self.send_error(405)

    def do_GET(self) -> None:
        place = Path(self.translate_path(self.path))
        if not place.is_file():
            return super().do_GET()
        self.server.paths.append(self.path)
        content = place.read_bytes()
        wanted = self.headers.get("Range") if self.server.with_ranges else None
        begin, end = 0, len(content)
        if wanted:
            first, last = wanted.removeprefix("bytes=").split("-")
            begin, end = int(first), min(int(last) + 1, len(content))
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
        self.send_header("ETag", f'"{place.stat().st_mtime_ns}"')
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(content[begin:end])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class WebServer(ThreadingHTTPServer):
    daemon_threads = True
    with_ranges = True

    def __init__(self, folder: Path) -> None:
        self.paths: list[str] = []
        super().__init__(("127.0.0.1", 0), partial(RangeHandler, directory=str(folder)))


@contextmanager
def run_web(folder: Path) -> Iterator[tuple[WebServer, str]]:
    """Serve a folder, and name its address."""
    with WebServer(folder) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
