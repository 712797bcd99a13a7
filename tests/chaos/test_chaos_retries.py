"""Calls that fail on their way: made anew where they surely have not run, and where they may run twice; never otherwise."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
from http2_bytes import (
    ACKNOWLEDGED,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    headers,
    message,
)

from http_told import answering, ok, status
from impairment import CLEAN, Stream
from tcp_proxy import TcpProxy
from xooai import Executor, Unavailable, XooaiError, current, plugins, post

Run = Callable[[Coroutine[Any, Any, Any]], Any]

LARGE = 300_000  # bytes of a reply that is cut


class Counting(Executor):
    """Counts its runs, and tells a test of each while it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[str] = []
        self.begun: Callable[[], object] = lambda: None
        self.has_to_wait = False

    @post
    async def once(self, size: int = 0) -> bytes:
        return await self.run(size)

    @post(idempotent=True)
    async def twice(self, size: int = 0) -> bytes:
        return await self.run(size)

    async def run(self, size: int) -> bytes:
        self.attempts.append(current().metadata.get("xooai-retry-attempt", "0"))
        if self.has_to_wait:
            self.has_to_wait = False
            self.begun()
            await asyncio.Event().wait()  # until the client has left
        return b"1" * size


@pytest.fixture
def counting() -> Iterator[Counting]:
    with Counting() as made:
        yield made


ENDPOINTS = {"once": 1, "twice": 2}
"""And how often each may run where nobody knows whether it did."""


# Over TCP, with a server of ours behind a proxy


def test_a_connection_that_is_refused_is_tried_again(run: Run, counting: Counting, scheme: str) -> None:
    plugins.driver(scheme)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    async def scene() -> None:
        async with Counting.at(f"{scheme}://127.0.0.1:{port}", retry=10) as client:
            call = asyncio.create_task(client.apost("once"))
            (remote,) = client._xooai_remotes()
            while not remote.retries.spent:  # noqa: ASYNC110 - nobody else knows of it
                await asyncio.sleep(0.01)
            await asyncio.to_thread(counting.start, f"{scheme}://127.0.0.1:{port}")
            assert await call == b""
        assert counting.attempts[0] != "0" and len(counting.attempts) == 1

    run(scene())


@pytest.mark.parametrize("on", ENDPOINTS)
def test_a_reset_while_a_call_runs_is_tried_again_only_if_it_may_run_twice(
    run: Run, counting: Counting, scheme: str, on: str
) -> None:
    (url,) = counting.start(f"{scheme}://127.0.0.1:0")

    async def scene() -> None:
        async with TcpProxy(url) as proxy, Counting.at(proxy.url) as client:
            loop = asyncio.get_running_loop()
            counting.begun = lambda: loop.call_soon_threadsafe(proxy.reset)
            counting.has_to_wait = True
            if on == "twice":
                assert await client.apost(on) == b""
            else:
                with pytest.raises(Unavailable) as caught:
                    await client.apost(on)
                assert not caught.value.never_ran

    run(scene())
    assert counting.attempts == ["0", "1"][: ENDPOINTS[on]]


def test_a_reset_in_the_middle_of_an_answer_is_an_error(run: Run, counting: Counting, scheme: str) -> None:
    (url,) = counting.start(f"{scheme}://127.0.0.1:0")
    cutting = Stream(cut=LARGE // 2, ending="reset")

    async def scene() -> None:
        for on in ["once", "twice"] if scheme == "http" else ["once"]:  # gRPC does not tell whether an answer has begun
            counting.attempts.clear()
            async with TcpProxy(url, CLEAN, cutting) as proxy, Counting.at(proxy.url) as client:
                with pytest.raises(XooaiError):
                    await client.apost(on, size=LARGE)
            assert counting.attempts == ["0"]

    run(scene())


def test_a_connection_that_was_reset_while_nobody_used_it_is_not_used(run: Run, counting: Counting) -> None:
    """What gRPC's core has not seen yet it uses; who calls then is told that the call may have run."""
    (url,) = counting.start("http://127.0.0.1:0")

    async def scene() -> None:
        async with TcpProxy(url) as proxy, Counting.at(proxy.url) as client:
            for _ in range(5):
                await client.apost("once")
                proxy.reset()
                while proxy.is_used:  # noqa: ASYNC110 - it has no event for that
                    await asyncio.sleep(0)
            await client.apost("once")
            assert proxy.connections == 6
        assert counting.attempts == ["0"] * 6

    run(scene())


def test_a_client_may_be_told_to_make_nothing_anew(run: Run, counting: Counting, scheme: str) -> None:
    (url,) = counting.start(f"{scheme}://127.0.0.1:0")

    async def scene() -> None:
        async with TcpProxy(url) as proxy, Counting.at(proxy.url, retry=0) as client:
            loop = asyncio.get_running_loop()
            counting.begun = lambda: loop.call_soon_threadsafe(proxy.reset)
            counting.has_to_wait = True
            with pytest.raises(Unavailable):
                await client.apost("twice")

    run(scene())
    assert counting.attempts == ["0"]


# HTTP, by a server that answers as it is told

OK = ok(b"\xc4\x00")
SOON = "retry-after: 0"
ANSWERED: dict[str, tuple[bytes, set[str]]] = {
    "503 and when to come back": (status("503 Full", SOON), {"once", "twice"}),
    "429 and when to come back": (status("429 Slowly", SOON), {"once", "twice"}),
    "503 alone": (status("503 Away"), {"twice"}),
    "502": (status("502 Away", SOON), {"twice"}),
    "504": (status("504 Late"), {"twice"}),
    "500": (status("500 Broken", SOON), set()),
    "503 for long": (status("503 Away", "retry-after: 3600"), set()),
    "413": (status("413 Large", SOON), set()),
}
"""And which endpoints are called again then."""


@pytest.mark.parametrize("on", ENDPOINTS)
@pytest.mark.parametrize("case", ANSWERED)
def test_what_a_status_says_is_followed(run: Run, case: str, on: str) -> None:
    refusal, again = ANSWERED[case]

    async def scene() -> None:
        async with answering([refusal, OK]) as (url, heads), Counting.at(url) as client:
            if on in again:
                assert await client.apost(on) == b""
                assert [b"xooai-retry-attempt: 1\r\n" in head for head in heads] == [False, True]
            else:
                with pytest.raises(XooaiError):
                    await client.apost(on)
                assert len(heads) == 1

    plugins.driver("http")
    run(scene())


def test_all_attempts_share_one_deadline_and_the_server_is_told_what_is_left(run: Run) -> None:
    async def scene() -> None:
        refusals = [status("503 Away", "retry-after: 1"), status("503 Away", "retry-after: 60"), OK]
        async with answering(refusals) as (url, heads), Counting.at(url, timeout=3) as client:
            with pytest.raises(Unavailable):  # in less time than it would have to wait
                await client.apost("once")
        told = [int(head.partition(b"xooai-timeout: ")[2].partition(b"\r\n")[0]) for head in heads]
        assert told[0] == 3000 and 500 < told[1] <= 2000

    plugins.driver("http")
    run(scene())


def test_a_budget_ends_attempts_where_most_calls_fail(run: Run) -> None:
    async def scene() -> None:
        away = status("503 Away", SOON)
        async with answering([away] * 100 + [OK] * 200) as (url, heads), Counting.at(url) as client:
            for _ in range(20):
                with pytest.raises(Unavailable):
                    await client.apost("once")
            assert len(heads) == 23  # the first was made four times, and after its second attempt the second no more
            del heads[:]
            while len(heads) < 77:  # what is left of the refusals
                with suppress(XooaiError):
                    await client.apost("once")
            for _ in range(60):
                await client.apost("once")
            assert len(heads) == 137

    plugins.driver("http")
    run(scene())


# gRPC, by a server that answers as it is told

HEAD = {":status": "200", "content-type": "application/grpc"}


def answered(stream: int) -> bytes:
    done = headers(stream, {"grpc-status": "0", "xooai-codec": "msgpack"}, END_STREAM | END_HEADERS)
    return headers(stream, HEAD) + frame(DATA, 0, stream, message(b"\xc4\x00")) + done


def ended(stream: int, **fields: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return headers(stream, {**HEAD, **named}, END_STREAM | END_HEADERS)


CALLED: dict[str, tuple[Callable[[int], bytes], set[str]]] = {
    "the stream is refused": (lambda id: frame(RST_STREAM, 0, id, struct.pack(">I", 7)), {"once", "twice"}),
    "the server goes away below it": (
        lambda id: frame(GOAWAY, 0, 0, struct.pack(">II", id - 1, 0)),
        {"once", "twice"},
    ),
    "pushed back": (lambda id: ended(id, grpc_status="14", grpc_retry_pushback_ms="10"), {"once", "twice"}),
    "pushed back for good": (lambda id: ended(id, grpc_status="14", grpc_retry_pushback_ms="-1"), set()),
    "away": (lambda id: ended(id, grpc_status="14"), {"twice"}),
    "too late": (lambda id: ended(id, grpc_status="4"), {"twice"}),
    "full, and pushed back": (lambda id: ended(id, grpc_status="8", grpc_retry_pushback_ms="10"), {"once", "twice"}),
    "the stream is stopped": (lambda id: frame(RST_STREAM, 0, id, struct.pack(">I", 2)), set()),
}


@asynccontextmanager
async def calling(answers: Sequence[Callable[[int], bytes]]) -> AsyncIterator[tuple[str, list[int]]]:
    """A server of gRPC: its URL, and the streams of the calls that have reached it."""
    left, calls = list(answers), []
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            writer.write(frame(SETTINGS, 0, 0) + ACKNOWLEDGED)
            await reader.readexactly(len(PREFACE))
            while True:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3], "big"))
                stream = int.from_bytes(head[5:], "big")
                if head[3] == HEADERS:
                    calls.append(stream)
                if head[3] == DATA and head[4] & END_STREAM:
                    writer.write(left.pop(0)(stream))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"grpc://127.0.0.1:{server.sockets[0].getsockname()[1]}", calls
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0)


@pytest.mark.parametrize("on", ENDPOINTS)
@pytest.mark.parametrize("case", CALLED)
def test_what_a_server_of_grpc_says_is_followed(run: Run, case: str, on: str) -> None:
    plugins.driver("grpc")
    refusal, again = CALLED[case]

    async def scene() -> None:
        async with calling([refusal, answered]) as (url, calls), Counting.at(url, timeout=10) as client:
            if on in again:
                assert await client.apost(on) == b""
                assert len(calls) == 2
            else:
                with pytest.raises(XooaiError):
                    await client.apost(on)
                assert len(calls) == 1

    run(scene())


def test_a_server_of_grpc_that_refuses_all_streams_is_asked_a_few_times(run: Run) -> None:
    plugins.driver("grpc")

    async def scene() -> None:
        async with calling([CALLED["the stream is refused"][0]] * 1000) as (url, calls), Counting.at(url) as client:
            with pytest.raises(Unavailable) as caught:
                await client.apost("once")
            assert caught.value.never_ran
            assert len(calls) < 200

    run(scene())


# QUIC, by a server of aioquic's


@pytest.mark.parametrize("on", ENDPOINTS)
@pytest.mark.parametrize(
    ("act", "again"),
    [
        ("reject", {"once", "twice"}),
        ("go away", {"once", "twice"}),
        ("close", {"twice"}),
        ("busy", {"once", "twice"}),
        ("late", {"twice"}),
        ("cut", set()),  # the answer has begun
    ],
)
def test_what_a_server_of_quic_says_is_followed(
    run: Run, pem: dict[str, str], act: Any, again: set[str], on: str, library: str
) -> None:
    plugins.driver("quic")
    quic_script = pytest.importorskip("quic_script")

    async def scene() -> None:
        async with (
            quic_script.scripted(pem["certificate"], pem["key"], [act, "answer"]) as (url, heads),
            Counting.at(url, trust=pem["certificate"], timeout=10) as client,
        ):
            if on in again:
                assert await client.apost(on) == b""
                assert [head.get(b"xooai-retry-attempt") for head in heads] == [None, b"1"]
            else:
                with pytest.raises(XooaiError):
                    await client.apost(on)
                assert len(heads) == 1

    run(scene())


def test_a_server_of_quic_that_is_not_there_yet_is_tried_again(
    run: Run, pem: dict[str, str], counting: Counting, library: str
) -> None:
    plugins.driver("quic")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    async def scene() -> None:
        async with Counting.at(f"quic://127.0.0.1:{port}", retry=10, trust=pem["certificate"]) as client:
            call = asyncio.create_task(client.apost("once"))
            (remote,) = client._xooai_remotes()
            while not (remote.retries.spent or call.done()):  # noqa: ASYNC110 - nobody else knows of it
                await asyncio.sleep(0.01)
            start = partial(counting.start, certificate=pem["certificate"], key=pem["key"])
            await asyncio.to_thread(start, f"quic://127.0.0.1:{port}")
            assert await call == b""
        assert counting.attempts[0] != "0" and len(counting.attempts) == 1

    run(scene())
