"""What no gRPC library would send, to a server and from one: typed errors, no half stream for a whole one, and others go on."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from chaos_calls import held_memory, keeping_time
from chaos_program import PATIENCE
from http2_bytes import (
    ACKNOWLEDGED,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    headers,
    message,
)
from waiting_program import Waiting

from xooai.errors import (
    Internal,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
    XooaiError,
)

pytest.importorskip("grpc", reason="needs grpcio")

Run = Callable[[Coroutine[Any, Any, Any]], Any]

SOON = 20.0  # seconds: far more than anything here takes
BRIEF = 1.0  # seconds for a call that may have to wait for its end
SHOWN = 1000  # characters of an error's message
MIB = 1024 * 1024
COUNT = 5_000  # frames: enough to show in memory what is kept of each


@pytest.fixture
def url(waiting: Waiting) -> str:
    return waiting.start("grpc://127.0.0.1:0")[0]


# To a server


def request(stream: int, on: str) -> bytes:
    fields = {":method": "POST", ":scheme": "http", ":path": f"/waiting/{on}", ":authority": "x"}
    fields |= {"te": "trailers", "content-type": "application/grpc", "xooai-codec": "json"}
    return headers(stream, fields)


def data(content: bytes, *, is_last: bool = False) -> bytes:
    return frame(DATA, END_STREAM if is_last else 0, 1, content)


OPENING = PREFACE + frame(SETTINGS, 0, 0) + ACKNOWLEDGED + request(1, "all_of")
WELL = b"grpc-status\x010"  # as gRPC's core writes that field
BEGUN = data(message(b"{}") + message(b"1"))

WRONG = {
    "a message beyond the limit": BEGUN + data(message(b"2", length=2**31)),
    "a message of another codec": BEGUN + data(message(b"\x82\xa1a"), is_last=True),
    "an opening that is none": data(message(b"[]"), is_last=True),
    "no opening": data(b"", is_last=True),
    "a stream that is stopped": BEGUN + frame(RST_STREAM, 0, 1, struct.pack(">I", 0)),
    "a frame beyond the limit": BEGUN + struct.pack(">I", 2**24 - 1)[1:] + bytes([DATA, 0]) + b"\0\0\0\1" + bytes(MIB),
    "headers in the middle of headers": BEGUN + frame(HEADERS, 0, 3, b"") + data(message(b"2"), is_last=True),
    "garbage": BEGUN + b"\xff" * 100_000,
}

HALVES = {
    "half a message": BEGUN + data(message(b"12", length=3), is_last=True),
    "half the head of a message": BEGUN + data(b"\0\0\0", is_last=True),
}
"""What gRPC's core takes for the end of a stream without a word: a client that says that it has sent all is believed."""


@asynccontextmanager
async def conversing(url: str) -> AsyncIterator[list[float]]:
    """Another client goes on talking meanwhile. Gives how long each of its answers took, where nothing else held up the loop."""
    took: list[float] = []
    begun, over = asyncio.Event(), asyncio.Event()

    async def converse(client: Waiting) -> None:
        async with keeping_time() as clock, client.open(on="each", timeout=PATIENCE) as talk:
            while not over.is_set():
                began = clock.now()
                await talk.send(len(took))
                assert await talk.receive() == len(took)
                took.append(clock.now() - began)
                begun.set()
                await asyncio.sleep(0.001)

    async with Waiting.at(url) as client:
        talking = asyncio.create_task(converse(client))
        try:
            await asyncio.wait({talking, asyncio.ensure_future(begun.wait())}, return_when=asyncio.FIRST_COMPLETED)
            yield took
        finally:
            over.set()
            await talking


async def said(url: str, sent: bytes) -> bytes:
    """What a server says to these bytes, until it has said how the call went, or has closed."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    found = b""
    try:
        with suppress(ConnectionError):
            writer.write(sent)
            async with asyncio.timeout(SOON):
                while b"grpc-status" not in found and (piece := await reader.read(65536)):
                    found += piece
        return found
    finally:
        writer.transport.abort()


def test_a_stream_that_is_right_is_answered(run: Run, waiting: Waiting, url: str) -> None:
    async def scene() -> None:
        found = await said(url, OPENING + BEGUN + data(message(b"2"), is_last=True))
        assert WELL in found
        assert message(b"3") in found
        assert waiting.sums == [3]

    run(scene())


@pytest.mark.parametrize("case", WRONG)
def test_a_stream_that_is_wrong_is_never_taken_for_a_whole_one(run: Run, waiting: Waiting, url: str, case: str) -> None:
    async def scene() -> None:
        async with conversing(url) as took:
            sent = OPENING + WRONG[case]
            if case == "a stream that is stopped":  # which nobody answers
                sent += frame(PING, 0, 0, bytes(8)) * 10
            assert WELL not in await said(url, sent)
        assert max(took) < 1
        assert waiting.sums == []

    run(scene())


@pytest.mark.parametrize("case", HALVES)
def test_half_a_message_never_gets_to_a_handler(run: Run, waiting: Waiting, url: str, case: str) -> None:
    async def scene() -> None:
        await said(url, OPENING + HALVES[case])
        assert waiting.sums in ([], [1])

    run(scene())


def resets(number: int) -> bytes:
    stream = 2 * number + 1
    return request(stream, "each") + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))


FLOODS: dict[str, Callable[[int], bytes]] = {
    "calls that are reset at once": resets,
    "pings": lambda number: frame(PING, 0, 0, struct.pack(">Q", number)),
    "settings": lambda number: frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535 + number)),
    "empty data": lambda number: (request(1, "each") if number == 0 else b"") + frame(DATA, 0, 1),
    "headers without end": lambda number: (
        frame(HEADERS, 0, 1, b"")
        if number == 0
        else frame(CONTINUATION, 0, 1, b"\0\x04x-%02d\x40" % (number % 100) + bytes(64))
    ),
    "priorities": lambda number: frame(PRIORITY, 0, 2 * number + 1, bytes(5)),
    "windows": lambda number: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)),
    "calls beyond those at once": lambda number: request(2 * number + 1, "each"),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_frames_holds_nobody_up_and_takes_no_memory(run: Run, waiting: Waiting, url: str, kind: str) -> None:
    """Whether its connection is closed or not."""

    async def flood() -> None:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        reading = asyncio.create_task(reader.read())
        try:
            writer.write(PREFACE + frame(SETTINGS, 0, 0) + ACKNOWLEDGED)
            for number in range(COUNT):
                writer.write(FLOODS[kind](number))
                if number % 100 == 0:
                    async with asyncio.timeout(SOON):
                        await writer.drain()
                    await asyncio.sleep(0)
        except (ConnectionError, TimeoutError):
            pass  # the server has seen enough, or reads no more
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await reading

    async def scene() -> None:
        async with conversing(url) as took:
            before = held_memory()
            for _ in range(3):
                await flood()
            grown = held_memory() - before
        assert max(took) < 1
        assert grown < 32 * MIB

    run(scene())


# From a server

REPLY = headers(1, {":status": "200", "content-type": "application/grpc"})
DONE = headers(1, {"grpc-status": "0"}, END_STREAM | END_HEADERS)
ONE = data(message(b"\x01"))
RIGHT = REPLY + ONE + DONE
CUT_OFF = b"\0\0\0\0"  # half the head of a frame, at which the connection ends

WRONG_REPLIES: dict[str, tuple[bytes, type[XooaiError]]] = {
    "no status": (REPLY + ONE + data(b"", is_last=True), XooaiError),
    "a stream that is stopped": (REPLY + ONE + frame(RST_STREAM, 0, 1, struct.pack(">I", 0)), XooaiError),
    "a connection that ends": (REPLY + ONE + frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0)) + CUT_OFF, Unavailable),
    "a message of another codec": (REPLY + data(message(b"\xc1")) + DONE, Internal),
    "a message beyond the limit": (REPLY + data(message(b"", length=2**31)), ResourceExhausted),
    "another content type": (
        headers(1, {":status": "200", "content-type": "text/html"}) + data(b"<html>", is_last=True),
        XooaiError,
    ),
    "a page that is not there": (headers(1, {":status": "404"}, END_STREAM | END_HEADERS), Unimplemented),
    "a gateway's error": (headers(1, {":status": "503"}, END_STREAM | END_HEADERS), Unavailable),
    "a status that is none": (REPLY + headers(1, {"grpc-status": "x"}, END_STREAM | END_HEADERS), XooaiError),
    "headers without end": (
        frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 0, 1, b"\0\1x\x40" + bytes(64)) * 5000,
        XooaiError,
    ),
    "garbage": (REPLY + b"\xff" * 100_000, XooaiError),
}


@asynccontextmanager
async def replying(reply: bytes) -> AsyncIterator[str]:
    """A server that answers the first call on a connection with these bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            writer.write(frame(SETTINGS, 0, 0) + ACKNOWLEDGED)
            await reader.readexactly(len(PREFACE))
            while True:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3], "big"))
                if head[3] == HEADERS:
                    break
            writer.write(reply)
            if reply.endswith(CUT_OFF):
                writer.write_eof()
            await reader.read()  # closed with bytes unread, the connection would be reset
        writer.close()
        closed.release()

    closed = asyncio.Semaphore(0)
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"grpc://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await closed.acquire()
    finally:
        server.close()


async def conversed(client: Waiting) -> list[int]:
    async with client.open(on="each") as talk:
        await talk.send(1)
        await talk.end()
        return [item async for item in talk]


async def listed(client: Waiting) -> list[int]:
    return [item async for item in client.astream("silent")]


async def summed(client: Waiting) -> int:
    found: int = await client.astream("all_of", items=[1])
    return found


CALLS: dict[str, Callable[[Waiting], Coroutine[Any, Any, Any]]] = {
    "unary": lambda client: client.apost(on="ready"),
    "server": listed,
    "client": summed,
    "both": conversed,
}


@pytest.mark.parametrize("case", WRONG_REPLIES)
def test_a_reply_that_is_wrong_is_an_error(run: Run, case: str) -> None:
    reply, kind = WRONG_REPLIES[case]

    async def scene() -> None:
        for call in CALLS.values():
            async with replying(reply) as url, Waiting.at(url, timeout=SOON) as client:
                with pytest.raises(kind) as raised:
                    await call(client)
                assert len(raised.value.message) < SHOWN

    run(scene())


@pytest.mark.parametrize("shape", CALLS)
def test_half_a_message_of_a_reply_is_never_an_item(run: Run, shape: str) -> None:
    """gRPC's core drops it without a word where the server says that all went well."""

    async def scene() -> None:
        async with (
            replying(REPLY + ONE + data(message(b"\xcd\1\2", length=5)) + DONE) as url,
            Waiting.at(url, timeout=BRIEF) as client,
        ):
            with suppress(XooaiError):
                assert await CALLS[shape](client) in (1, [1])

    run(scene())


@pytest.mark.parametrize("shape", CALLS)
def test_a_reply_that_is_right_is_taken(run: Run, shape: str) -> None:
    async def scene() -> None:
        reply = REPLY + data(message(b"\xa5ready")) + DONE if shape == "unary" else RIGHT
        async with replying(reply) as url, Waiting.at(url, timeout=SOON) as client:
            assert await CALLS[shape](client) == {"unary": "ready", "client": 1}.get(shape, [1])

    run(scene())
