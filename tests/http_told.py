"""A server of HTTP that answers as it is told, whatever it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

__all__ = ["answering", "ok", "status"]


def ok(content: bytes) -> bytes:
    """The answer to a call: what it gives, in msgpack."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/msgpack\r\ncontent-length: %d\r\n\r\n%b" % (
        len(content),
        content,
    )


def status(line: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {line}", *lines, "content-length: 0", "", ""]).encode()


@asynccontextmanager
async def answering(answers: Sequence[bytes]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Its URL, and the heads of the requests that have reached it."""
    left, heads = list(answers), []
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(
            answer(reader, writer)
        )  # start_server of 3.11 complains of a handler that was cancelled
        tasks.add(task)
        task.add_done_callback(lambda _: writer.transport.abort())

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.partition(b":")[2]))
                heads.append(head)
                writer.write(left.pop(0))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(3):  # the transports close with the next turns
            await asyncio.sleep(0)
