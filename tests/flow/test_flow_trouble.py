"""Servers that do what servers do on a bad day, and branches that fail beside others: one typed error, and nothing left."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import pytest
from flow_places import EVERYWHERE

from xooai import (
    DeadlineExceeded,
    Executor,
    Flow,
    Internal,
    NotFound,
    Text,
    Unavailable,
    XooaiError,
    post,
)

Put = Callable[[Executor], dict[str, Any]]
PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run
AT_ONCE = 0.5  # seconds within which what is of no use any more is cancelled
DOC = Text(value="x")
WIDTH = 8


class Branch(Executor):
    """Branches of which the first one ends as it is told to, when all others are waiting; these then end, if `go`."""

    def __init__(self, go: bool = False) -> None:
        self.goes_on = go
        self.waiting = 0
        self.all_wait = asyncio.Event()
        self.others_wait = threading.Event()
        self.go = asyncio.Event()
        self.ended = 0.0
        self.cancelled: list[float] = []
        self.all_cancelled = threading.Event()

    @post
    async def first(self, doc: Text, how: str) -> Text:
        await asyncio.wait_for(self.all_wait.wait(), PATIENCE)
        self.ended = time.monotonic()
        if self.goes_on:
            self.go.set()
        if how == "fails":
            raise NotFound("no such branch")
        if how == "crashes":
            raise ZeroDivisionError("secret")
        if how == "is cancelled":
            raise asyncio.CancelledError
        return doc

    @post
    async def late(self, doc: Text) -> Text:
        self.ended = time.monotonic() + 0.3
        await asyncio.sleep(PATIENCE)
        return doc

    @post
    async def other(self, doc: Text) -> Text:
        self.waiting += 1
        if self.waiting == WIDTH - 1:
            self.all_wait.set()
            self.others_wait.set()
        try:
            await asyncio.wait_for(self.go.wait(), PATIENCE)
        except asyncio.CancelledError:
            self.cancelled.append(time.monotonic())
            if len(self.cancelled) == WIDTH - 1:
                self.all_cancelled.set()
            raise
        return doc


def fan_out(there: dict[str, Any], how: str, **options: Any) -> Flow:
    f = Flow().add(use=lambda doc: doc, id="start")
    if how == "times out":
        f.add(**there, on="late", id="first", needs="start", timeout=0.3, **options)
    else:
        f.add(**there, on="first", id="first", needs="start", args={"how": how}, **options)
    for number in range(1, WIDTH):
        f.add(**there, on="other", id=f"other {number}", needs="start")
    return f


ENDS: dict[str, type[XooaiError]] = {
    "fails": NotFound,
    "crashes": Internal,
    "is cancelled": Internal,
    "times out": DeadlineExceeded,
}


@pytest.mark.parametrize("put", EVERYWHERE, indirect=True)
@pytest.mark.parametrize("how", ENDS)
def test_of_eight_branches_the_one_that_fails_cancels_the_others(put: Put, how: str) -> None:
    branch = Branch()

    async def main() -> set[str]:
        await f.acheck()
        before = asyncio.all_tasks()
        with pytest.raises(ENDS[how], match="node 'first' .*request [0-9a-f-]+") as told:
            await f.apost(doc=DOC)
        assert told.value.details["node"] == "first"
        assert await asyncio.to_thread(branch.all_cancelled.wait, PATIENCE)
        return {str(task.get_coro()) for task in asyncio.all_tasks() - before if "_branch" in str(task.get_coro())}

    with fan_out(put(branch), how) as f:
        assert asyncio.run(main()) == set()


@pytest.mark.parametrize("put", EVERYWHERE, indirect=True)
@pytest.mark.slow
@pytest.mark.parametrize("how", ENDS)
def test_the_others_are_cancelled_at_once(put: Put, how: str) -> None:
    branch = Branch()

    with fan_out(put(branch), how) as f:
        f.check()
        with pytest.raises(ENDS[how]):
            f.post(doc=DOC)
        assert branch.all_cancelled.wait(PATIENCE)

    assert max(branch.cancelled) - branch.ended < AT_ONCE


@pytest.mark.parametrize("put", EVERYWHERE, indirect=True)
@pytest.mark.parametrize("how", ["fails", "crashes", "is cancelled"])
def test_of_eight_branches_one_that_is_optional_fails_alone(put: Put, how: str) -> None:
    branch = Branch(go=True)

    with fan_out(put(branch), how, optional=True) as f:
        found = f.post(doc=DOC, timeout=PATIENCE)

    assert found["first"] is None
    assert [found[f"other {number}"].read() for number in range(1, WIDTH)] == ["x"] * (WIDTH - 1)
    assert branch.cancelled == []


async def leave(branch: Branch, client: Executor) -> float:
    """Call, leave when all branches wait, and see them cancelled: the seconds that this took."""
    call = asyncio.create_task(client.apost("call", doc=DOC))
    assert await asyncio.to_thread(branch.others_wait.wait, PATIENCE)
    left = time.monotonic()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(branch.all_cancelled.wait, PATIENCE)
    return max(branch.cancelled) - left


def waiting(branch: Branch) -> Flow:
    f = Flow(name="f")
    for number in range(1, WIDTH):
        f.add(use=branch, on="other", id=f"other {number}")
    return f


def test_a_client_of_a_flow_that_leaves_cancels_all_its_branches(client_of: Callable[[Any], Executor]) -> None:
    branch = Branch()

    with branch:
        asyncio.run(leave(branch, client_of(waiting(branch))))


@pytest.mark.slow
def test_a_client_of_a_flow_that_leaves_cancels_its_branches_at_once(client_of: Callable[[Any], Executor]) -> None:
    branch = Branch()

    with branch:
        assert asyncio.run(leave(branch, client_of(waiting(branch)))) < AT_ONCE


# Servers


@contextmanager
def answering(answer: Callable[[socket.socket, bytes], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads a request over HTTP to its end and then does as it is told; its URL, and what it was asked."""
    asked: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE)
                try:
                    request = b""
                    while b"\r\n\r\n" not in request:
                        request += connection.recv(65536)
                    head, _, body = request.partition(b"\r\n\r\n")
                    size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                    while len(body) < size:
                        body += connection.recv(65536)
                    asked.append(head)
                    answer(connection, head)
                except (OSError, ValueError):
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


class Words(Executor):
    @post
    async def echo(self, doc: Text) -> Text:
        return doc


def reply(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def packed(value: Any) -> bytes:
    return reply("200 OK", msgspec.msgpack.encode(value), "content-type: application/msgpack")


ANSWERS: dict[str, tuple[bytes, type[XooaiError]]] = {
    "another type": (packed(7), Internal),
    "another document": (packed({"kind": "image", "value": b"x"}), Internal),
    "a page for people": (reply("200 OK", b"<html>", "content-type: text/html"), XooaiError),
    "half of it": (packed({"kind": "text", "value": "x"})[:-3], Unavailable),
    "nothing": (b"", Unavailable),
    "no HTTP": (b"SSH-2.0-x\r\n\r\n", Internal),
    "an error of nobody": (reply("599 What", b"secret of a proxy", "content-type: text/plain"), XooaiError),
    "a redirection to itself": (reply("307 Temporary Redirect", b"", "location: /words/echo"), XooaiError),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_a_server_that_answers_something_else_is_told_by_its_node(what: str, serve: Callable[[Any], str]) -> None:
    pytest.importorskip("httptools", reason="calling needs httptools; it comes with: pip install -e '.[http]'")
    answer, kind = ANSWERS[what]

    with answering(lambda connection, _: connection.sendall(answer)) as (url, asked), Words.at(url) as words:
        f = Flow(name="f").add(use=words, on="echo", id="node")
        with f, pytest.raises(kind, match=rf"node 'node' \(.*{url}.*\) (failed|answered with what)") as told:
            f.post(doc=DOC, timeout=PATIENCE)
        with Executor(serve(f)) as client, pytest.raises(kind) as outside:
            client.post(doc=DOC, timeout=PATIENCE)

    assert told.value.details["node"] == "node"
    # What the Flow passes on unread is found by who reads it.
    assert outside.value.details.get("node") == "node" or "f/call answered with what" in outside.value.message
    assert url.rpartition("/")[2] not in str([outside.value, outside.value.details])
    assert len(asked) == 2  # none is asked twice, and no redirection is followed


@pytest.mark.parametrize("retry", [0, 2])
def test_a_call_that_may_have_been_made_is_made_anew_only_where_the_node_says_so(retry: int) -> None:
    pytest.importorskip("httptools", reason="calling needs httptools; it comes with: pip install -e '.[http]'")

    def close(connection: socket.socket, head: bytes) -> None:
        """Say nothing: the connection is closed when the whole request has come."""

    with answering(close) as (url, asked), Words.at(url) as words:
        f = Flow().add(use=words, on="echo", id="node", retry=retry)
        with f, pytest.raises(Unavailable, match="node 'node'"):
            f.post(doc=DOC, timeout=PATIENCE)

    assert len(asked) == 1 + retry


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_hangs_ends_its_node_in_time(scheme: str) -> None:
    pytest.importorskip("uvicorn" if scheme == "http" else "grpc", reason="the driver needs it")

    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:
        words = stack.enter_context(Words.at(f"{scheme}://127.0.0.1:{server.getsockname()[1]}"))
        f = Flow().add(use=words, on="echo", id="node", timeout=0.2)
        with f, pytest.raises(DeadlineExceeded, match=r"node 'node' .* failed: .* within 0.2 s"):
            f.post(doc=DOC, timeout=PATIENCE)


class Restarts(Executor):
    """Its first call waits for ever."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun = threading.Event()

    @post
    async def echo(self, doc: Text) -> Text:
        self.calls += 1
        if self.calls == 1:
            self.begun.set()
            await asyncio.sleep(PATIENCE)
        return doc


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("retry", [0, 5])
def test_a_server_that_is_started_anew_is_called_anew_where_the_node_says_so(scheme: str, retry: int) -> None:
    pytest.importorskip("uvicorn" if scheme == "http" else "grpc", reason="the driver needs it")
    server = Restarts()
    (url,) = server.start(f"{scheme}://127.0.0.1:0", grace=0)
    f = Flow().add(use=f"{url}/restarts/echo", id="node", retry=retry)

    with server, f, ThreadPoolExecutor(1) as threads:
        f.check()
        found = threads.submit(lambda: f.post(doc=DOC, timeout=PATIENCE))
        assert server.begun.wait(PATIENCE)
        server.stop()
        server.start(url, grace=0)
        if retry:
            assert found.result(PATIENCE) == DOC
        else:
            with pytest.raises(Unavailable, match="node 'node' "):
                found.result(PATIENCE)
        assert f.post(doc=DOC, timeout=PATIENCE) == DOC


def test_a_condition_that_raises_fails_its_node_for_clients_too(serve: Callable[[Any], str]) -> None:
    def secret(doc: Text) -> bool:
        raise KeyError("secret")

    f = Flow(name="f").add(use=Words, id="a").add(use=Words, id="b", needs="a", when=secret)
    with Executor(serve(f)) as client:
        for call in (f.post, client.post):
            with pytest.raises(Internal, match=r"node 'b' .* failed: its when= raised an error") as told:
                call(doc=DOC)
            assert "secret" not in told.value.message


@pytest.mark.slow
def test_a_fan_out_of_ten_thousand_is_answered(serve: Callable[[Any], str]) -> None:
    words = Words()
    url = serve(words)
    f = Flow(name="wide").add(use=words, id="start")
    for number in range(10_000):
        f.add(use=f"{url}/echo" if number % 10 == 0 else words, id=str(number), needs="start")

    with Executor(serve(f)) as client:
        assert len(client.post(doc=DOC, timeout=300)) == 10_000
