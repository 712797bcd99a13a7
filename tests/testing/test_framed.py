"""Calls over byte streams: what a server makes of bytes that are no call, and a client of an answer that is cut off."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from xooai.driver import DialOptions, Head, Shape
from xooai.ends import WINDOW
from xooai.errors import Unavailable, XooaiError
from xooai.framed import HEAD_LIMIT, FramedLink, FramedListener, FramedSite
from xooai.testing.suite.site import ScriptedSite

ITEM, END, ROOM = 0, 1, 2
LIMIT = 1000


def framed(kind: int, content: bytes) -> bytes:
    return struct.pack(">BI", kind, len(content)) + content


HEAD = framed(ITEM, msgspec.msgpack.encode({"path": "/suite/last"}))
OK = framed(END, msgspec.msgpack.encode({"code": 0}))


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[ScriptedSite, int]]:
    site = ScriptedSite()
    framed_site = FramedSite(site, LIMIT)
    server = await loop().create_server(framed_site.connection, "127.0.0.1", 0)
    listener = FramedListener("", server, framed_site)
    try:
        yield site, server.sockets[0].getsockname()[1]
    finally:
        await listener.aclose()


@asynccontextmanager
async def answering(data: bytes) -> AsyncIterator[FramedLink]:
    """A link to a server that answers each call by these bytes, and closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(OK[:1])
        writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = FramedLink(
        "there", lambda made: loop().create_connection(made, "127.0.0.1", port), DialOptions(message_limit=LIMIT)
    )
    try:
        yield link
    finally:
        await link.aclose()
        server.close()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What still comes, until the server closes or cuts off with bytes unread."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def flood(writer: asyncio.StreamWriter) -> None:
    for _ in range(100 * WINDOW // LIMIT):
        writer.write(framed(ITEM, bytes(LIMIT)))
        await writer.drain()


def loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 20))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\xff" * 100,
        struct.pack(">BI", ITEM, HEAD_LIMIT + 1),
        framed(ITEM, b"\xc1"),
        framed(ITEM, msgspec.msgpack.encode({"path": 3})),
        HEAD[:-1],
        HEAD + struct.pack(">BI", 7, 0),
        HEAD + struct.pack(">BI", ITEM, 10) + b"short",
        HEAD + framed(ROOM, b"three"),
        HEAD + framed(END, b"\xc1"),
        HEAD + struct.pack(">BI", END, HEAD_LIMIT + 1),
    ],
)
def test_what_is_no_call_is_cut_off_and_the_next_call_is_answered(data: bytes) -> None:
    async def scenario() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            writer.write_eof()
            assert await rest(reader) == b""
            writer.close()

            link = FramedLink("there", lambda made: loop().create_connection(made, "127.0.0.1", port), DialOptions())
            channel = await link.open(Head("/suite/last"), b"next")
            assert await channel.receive() == b"next"
            await link.aclose()

    run(scenario)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Unavailable),
        (framed(ITEM, b"whole"), Unavailable),
        (framed(ITEM, b"whole")[:-1], Unavailable),
        (framed(ITEM, b"whole") + OK[:-1], Unavailable),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Unavailable),
        (framed(ITEM, b"whole") + framed(END, b"\xc1"), Unavailable),
        (framed(ITEM, b"whole") + framed(ITEM, b"another"), Unavailable),
    ],
)
def test_an_answer_that_is_none_is_an_error(data: bytes, error: type[XooaiError]) -> None:
    async def scenario() -> None:
        async with answering(data) as link:
            channel = await link.open(Head("/suite/last"), b"")
            for _ in range(2):
                with pytest.raises(error):
                    await channel.receive()
            assert channel.outcome is None

    run(scenario)


def test_a_stream_that_is_cut_off_between_two_items_is_no_short_one() -> None:
    async def scenario() -> None:
        async with answering(framed(ITEM, b"one") + framed(ITEM, b"two")) as link:
            channel = await link.open(Head("/suite/last", shape=Shape.SERVER), b"")
            assert [await channel.receive(), await channel.receive()] == [b"one", b"two"]
            with pytest.raises(Unavailable):
                await channel.receive()

    run(scenario)


def test_a_client_that_sends_beyond_the_window_is_cut_off() -> None:
    """What a server holds is bounded, whatever its client makes of the rules."""

    async def scenario() -> None:
        async with serving() as (site, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(framed(ITEM, msgspec.msgpack.encode({"path": "/suite/deaf", "shape": int(Shape.CLIENT)})))
            await site.started.wait()
            with pytest.raises(ConnectionError):
                await flood(writer)
            writer.close()

            await asyncio.wait_for(site.cancelled.wait(), 5)

    run(scenario)


def test_a_connection_that_brings_no_call_is_closed_when_its_listener_is() -> None:
    async def scenario() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD[:3])
            await writer.drain()
        assert await rest(reader) == b""
        writer.close()

    run(scenario)


def test_calls_go_over_a_unix_socket(tmp_path: Path) -> None:
    """Any stream will do."""

    async def scenario() -> None:
        site = FramedSite(ScriptedSite(), LIMIT)
        server = await loop().create_unix_server(site.connection, tmp_path / "socket")
        listener = FramedListener("", server, site)
        link = FramedLink(
            "there", lambda made: loop().create_unix_connection(made, str(tmp_path / "socket")), DialOptions()
        )
        channel = await link.open(Head("/suite/last"), b"one")
        assert await channel.receive() == b"one"
        await link.aclose()
        await listener.aclose()

    run(scenario)
