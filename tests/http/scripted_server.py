"""Servers that answer as a test likes, right or wrong, and the calls that meet them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from xooai.driver import DialOptions, Head
from xooai_http.client import HttpLink

Answer = Callable[[StreamReader, StreamWriter], Awaitable[None]]
Run = Callable[[Coroutine[Any, Any, Any]], Any]

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
HEAD = Head("/echo/echo", "application/json", timeout=20)
PLAIN = DialOptions()


@asynccontextmanager
async def serving(answer: Answer, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server on loopback, whose every connection is left to `answer`; what that raises fails the test."""
    calls: set[asyncio.Task[None]] = set()
    errors: list[BaseException] = []

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left, as many tests make it
        except Exception as error:  # noqa: BLE001  (raised at the end)
            errors.append(error)

    def connected(reader: StreamReader, writer: StreamWriter) -> None:
        call = asyncio.create_task(meet(reader, writer))
        calls.add(call)
        call.add_done_callback(lambda _: writer.close())  # not within: it may be cancelled before it begins
        call.add_done_callback(calls.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{port}"
    finally:
        server.close()
        while calls:  # a handshake may end, and a call begin, while others are cancelled
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            await asyncio.sleep(0)
        await server.wait_closed()
    assert not errors, errors


@asynccontextmanager
async def linked(url: str, **more: Any) -> AsyncIterator[HttpLink]:
    link = HttpLink(url, more.pop("options", PLAIN), **more)
    try:
        yield link
    finally:
        await link.aclose()


async def call(link: HttpLink, body: bytes = b"{}", head: Head = HEAD) -> bytes | None:
    return await (await link.open(head, body)).receive()


async def request(reader: StreamReader) -> tuple[bytes, bytes]:
    """The next request: its head and its content."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
    return head, await reader.readexactly(int(length.partition(b": ")[2]))


async def until_gone(reader: StreamReader) -> bytes:
    """Read until the client has closed its side or, giving up a stream, reset the connection."""
    found = b""
    with suppress(ConnectionResetError):
        while piece := await reader.read(1024 * 1024):
            found += piece
    return found


def reply(content: bytes) -> bytes:
    return OK + b"content-length: %d\r\n\r\n" % len(content) + content


async def echo(reader: StreamReader, writer: StreamWriter) -> None:
    """Answer every request of a connection with its own content."""
    while True:
        _, content = await request(reader)
        writer.write(reply(content))
        await writer.drain()


def saying(*pieces: bytes) -> Answer:
    """Answer a connection's first request with `pieces`, each in a packet of its own, and close."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        for piece in pieces:
            if not writer.is_closing():  # uvloop refuses a write when the client has left
                writer.write(piece)
                await asyncio.sleep(0)

    return answer


def reset(writer: StreamWriter) -> None:
    """Close so that the peer sees a reset connection (socket(7): a linger time of zero)."""
    connected = writer.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def single_bytes(raw: bytes) -> tuple[bytes, ...]:
    return tuple(raw[at : at + 1] for at in range(len(raw)))
