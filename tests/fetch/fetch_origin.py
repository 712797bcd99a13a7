"""A web server on loopback that says just the bytes it is told to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from xooai.fetch import FetchPolicy

__all__ = ["Origin", "answer", "serving"]

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Origin:
    """`answers` are bytes or what talks by itself, one for each connection, the last one for all that follow.

    Where it `is_first`, it talks before it is asked.
    """

    def __init__(self, *answers: bytes | Act, is_first: bool = False) -> None:
        self.answers, self.is_first = list(answers), is_first
        self.heads: list[str] = []
        self.port = 0

    def policy(self, **options: Any) -> FetchPolicy:
        """One that lets this server be reached."""
        given = {"hosts": {"127.0.0.1"}, "networks": {"127.0.0.0/8"}, "ports": {self.port}, **options}
        return FetchPolicy(**given)

    def url(self, path: str = "/a.png", scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        act = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            if not self.is_first:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if callable(act):
                await act(reader, writer)
            else:
                writer.write(act)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def answer(content: bytes = b"", *fields: str, status: str = "200 OK", length: int | None = -1) -> bytes:
    """A whole answer; `length` is what it announces, -1 for the content's own, None for nothing."""
    lines = [f"HTTP/1.1 {status}", *fields]
    if length is not None:
        lines.append(f"Content-Length: {len(content) if length < 0 else length}")
    return "\r\n".join([*lines, "", ""]).encode() + content


@asynccontextmanager
async def serving(
    *answers: bytes | Act, tls: ssl.SSLContext | None = None, is_first: bool = False
) -> AsyncIterator[Origin]:
    origin = Origin(*answers, is_first=is_first)
    talks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(origin._talk(reader, writer))
        talks.add(talk)
        talk.add_done_callback(talks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        for talk in list(talks):
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
