"""A server of a node behind an HTTP server that is not ours, and answers badly: which calls go on to another server."""

from __future__ import annotations

import socket
import struct
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from xooai import Executor, Flow, Text, XooaiError, post

pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")

CALLS = 40


class Reader(Executor):
    def __init__(self) -> None:
        self.begun: list[str] = []

    @post
    async def read(self, doc: Text) -> Text:
        self.begun.append(await doc.aread())
        return doc


class Gateway(BaseHTTPRequestHandler):
    """Asks the server behind it what it takes, and does with calls as the test says."""

    protocol_version = "HTTP/1.1"
    answer: Callable[[Gateway], None]
    behind = ""
    reached: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/reader/read":
            self.reached.append(body.decode("latin-1"))
            type(self).answer(self)
            return
        request = urllib.request.Request(self.behind + self.path, body, {"content-type": self.headers["content-type"]})
        with urllib.request.urlopen(request) as response:
            self.write(200, response.read(), **{"content-type": response.headers["content-type"]})

    def write(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def gateway(answer: Callable[[Gateway], None], behind: str) -> Iterator[tuple[str, list[str]]]:
    """Its URL, and the calls that have reached it."""
    reached: list[str] = []
    made = type("Made", (Gateway,), {"answer": answer, "behind": behind, "reached": reached})
    with ThreadingHTTPServer(("127.0.0.1", 0), made) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", reached
        finally:
            server.shutdown()
            serving.join()


def reset(of: Gateway) -> None:
    of.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    of.connection.close()
    of.close_connection = True


def half(of: Gateway) -> None:
    of.send_response(200)
    of.send_header("content-type", "application/msgpack")
    of.send_header("content-length", "100")
    of.end_headers()
    of.wfile.write(b"\x80")
    of.close_connection = True


WAYS: dict[str, tuple[Callable[[Gateway], None], bool]] = {
    "503 and when to come back": (lambda of: of.write(503, b"", **{"retry-after": "1"}), True),
    "429 and when to come back": (lambda of: of.write(429, b"", **{"retry-after": "1"}), True),
    "503 alone": (lambda of: of.write(503, b""), False),
    "reset after the request": (reset, False),
    "half an answer": (half, False),
    "504": (lambda of: of.write(504, b""), False),
}
"""How a call is answered, and whether that says that it was not begun."""


@pytest.mark.parametrize("way", WAYS)
def test_only_a_call_that_was_not_begun_goes_to_another_server(way: str) -> None:
    answer, is_refusal = WAYS[way]
    reader, other = Reader(), Reader()
    with reader, other:
        (behind,) = reader.start("http://127.0.0.1:0")
        (url,) = other.start("http://127.0.0.1:0")
        failed: list[str] = []
        with (
            gateway(answer, behind) as (bad, reached),
            Flow().add(use=[f"{bad}/reader/read", f"{url}/reader/read"], id="node") as f,
        ):
            f.check()
            for number in range(CALLS):
                try:
                    f.post(doc=Text(value=f"call {number};"))
                except XooaiError as error:
                    assert error.details["host"] == bad
                    failed.append(f"call {number};")

    assert reached
    assert reader.begun == []
    if is_refusal:
        assert failed == [] and len(other.begun) == CALLS
    assert len(other.begun) + len(failed) == CALLS
    assert sorted([*other.begun, *failed]) == sorted({*other.begun, *failed})
    if not is_refusal:
        assert [any(call in one for one in reached) for call in failed] == [True] * len(reached)
        assert not any(call in one for call in other.begun for one in reached)
