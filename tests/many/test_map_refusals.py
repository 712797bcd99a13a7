"""`map` at a server that is not ours and sends callers away for a while."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from xooai import Executor, Unavailable, XooaiError, post

pytest.importorskip("uvicorn")
pytest.importorskip("websockets")


class Shouter(Executor):
    @post
    async def shout(self, doc: str) -> str:
        raise AssertionError("the other server answers")


class Refusing(ThreadingHTTPServer):
    """Python's own server: it refuses each text some times before it answers."""

    daemon_threads = False
    status, retry_after, refusals = 503, "0", 2

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.calls: Counter[str] = Counter()


class Answer(BaseHTTPRequestHandler):
    server: Refusing

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["content-length"])))["doc"]
        self.server.calls[text] += 1
        is_refused = self.server.calls[text] <= self.server.refusals
        body = b"come back later" if is_refused else json.dumps(text.upper()).encode()
        self.send_response(self.server.status if is_refused else 200)
        if is_refused:
            self.send_header("retry-after", self.server.retry_after)
        self.send_header("content-type", "text/plain" if is_refused else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Refusing]:
    with Refusing() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def mapped(server: Refusing, **options: Any) -> list[Any]:
    with Shouter.at(f"http://127.0.0.1:{server.server_port}", codec="json") as there:
        return list(there.map("shout", list("abcdef"), on_error="keep", **options))


@pytest.mark.parametrize("status", [503, 429])
def test_calls_that_it_refuses_are_made_again_when_it_said(server: Refusing, status: int) -> None:
    server.status = status

    assert [one.result for one in mapped(server)] == list("ABCDEF")
    assert server.calls == dict.fromkeys("abcdef", 3)


@pytest.mark.parametrize("retry_after", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT", "soon", "-1"])
def test_it_is_not_waited_for_without_a_number_of_seconds_or_for_long(server: Refusing, retry_after: str) -> None:
    server.retry_after = retry_after

    errors = [one.error for one in mapped(server)]

    assert all(isinstance(error, XooaiError) for error in errors)
    assert server.calls == dict.fromkeys("abcdef", 1)


@pytest.mark.parametrize("status", [500, 502, 504])
def test_what_may_have_run_behind_it_is_not_called_again(server: Refusing, status: int) -> None:
    server.status = status

    assert all(isinstance(one.error, XooaiError) for one in mapped(server))
    assert server.calls == dict.fromkeys("abcdef", 1)


def test_a_server_that_is_not_there_is_an_error_of_each_item() -> None:
    with Shouter.at("http://127.0.0.1:1") as there:
        found = list(there.map("shout", ["a", "b"], on_error="keep"))

    assert [type(one.error) for one in found] == [Unavailable, Unavailable]
