"""What stands between a store and its server in the tests, and does what a bad network or a bad day of the server does."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Proxy", "failing"]

STEP = 64 * 1024  # bytes taken at once where a network is slow


class Proxy:
    """Passes requests on to a server, and does to some what a bad network or a bad day of the server does."""

    def __init__(self, target: str) -> None:
        self.failures: list[Callable[[str, str], str | None]] = []
        self.requests: list[str] = []
        self._target = target
        self.rate: float | None = None
        """Bytes of a body that are taken in a second; without it, all at once."""

    def __enter__(self) -> Proxy:
        proxy = self

        class Passing(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def pass_on(self) -> None:
                body = taken(self, int(self.headers.get("content-length", 0)), proxy.rate)
                proxy.requests.append(f"{self.command} {self.path}")
                how = next(filter(None, (failure(self.command, self.path) for failure in proxy.failures)), "well")
                if how.isdigit():
                    return self.answer(int(how), {}, b"")
                connection = HTTPConnection(proxy._target.removeprefix("http://"), timeout=30)
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                data = answer.read()
                length = answer.getheader("content-length") or "0"
                connection.close()
                if how == "lost":  # done, and nobody hears of it
                    self.close_connection = True
                    return None
                if how == "cut":
                    data = data[: len(data) // 2]
                    self.close_connection = True
                return self.answer(answer.status, dict(answer.getheaders()), data, length)

            def answer(self, status: int, headers: dict[str, str], data: bytes, length: str | None = None) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(data)) if length is None else length)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.socket.close()

    def count(self, pattern: str) -> int:
        return sum(re.search(pattern, request) is not None for request in self.requests)


def taken(request: BaseHTTPRequestHandler, size: int, rate: float | None) -> bytes:
    """The body of a request, no faster than `rate`."""
    if rate is None:
        return request.rfile.read(size)
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STEP)
    parts = []
    for place in range(0, size, STEP):
        parts.append(request.rfile.read(min(STEP, size - place)))
        time.sleep(len(parts[-1]) / rate)
    return b"".join(parts)


def failing(times: int, pattern: str, how: str) -> Callable[[str, str], str | None]:
    """So many requests of a kind go wrong."""
    left = [times]

    def fail(method: str, path: str) -> str | None:
        if left[0] and re.search(pattern, f"{method} {path}"):
            left[0] -= 1
            return how
        return None

    return fail
