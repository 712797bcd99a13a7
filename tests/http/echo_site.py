"""A site that echoes, the listener that it is behind, and a client that writes bytes as they are."""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from xooai.driver import Channel, Head, ListenOptions, Outcome
from xooai.errors import Code
from xooai_http.driver import HttpDriver
from xooai_http.limits import Limits
from xooai_http.listener import HttpListener

Run = Callable[[Coroutine[Any, Any, Any]], Any]

JSON = "application/json"
DESCRIPTION = {
    "openapi": "3.1.0",
    "info": {"title": "echo", "version": "1"},
    "paths": {"/echo/say": {"post": {"responses": {"200": {"description": "the body"}}}}},
}
seen_before: ContextVar[str] = ContextVar("seen_before", default="")


class EchoSite:
    """Answers `/echo/say` by the body; the other endpoints are what tests need to look at a call from inside."""

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self._arrived = asyncio.Event()
        self.started = asyncio.Event()
        self.released = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.is_ready = True

    async def accept(self, channel: Channel) -> None:
        self.heads.append(channel.head)
        self._arrived.set()
        body = await channel.receive()
        assert body is not None
        assert await channel.receive() is None
        endpoint = getattr(self, channel.head.path.removeprefix("/echo/"), None)
        if endpoint is None:
            await channel.end(outcome=Outcome(code=Code.NOT_FOUND, message=f"no endpoint {channel.head.path!r}"))
        else:
            await endpoint(channel, body)

    async def has_heads(self, count: int) -> None:
        """Wait until so many calls have arrived."""
        while len(self.heads) < count:
            self._arrived.clear()
            await self._arrived.wait()

    def ready(self) -> bool:
        return self.is_ready

    def describe(self, form: Literal["openapi", "proto", "json"]) -> bytes:
        return json.dumps(DESCRIPTION).encode()

    async def say(self, channel: Channel, body: bytes) -> None:
        await channel.end(body, Outcome(codec=channel.head.codec))

    async def wait(self, channel: Channel, body: bytes) -> None:
        """Answer once the test says so."""
        self.started.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        await self.say(channel, body)

    async def wait_on(self, channel: Channel, body: bytes) -> None:
        """Ignore being cancelled, which no handler should."""
        self.started.set()
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                self.cancelled.set()

    async def context(self, channel: Channel, body: bytes) -> None:
        """Answer what an earlier call left in the context, and leave something there."""
        found = seen_before.get()
        seen_before.set("an earlier call was here")
        await channel.end(found.encode(), Outcome(codec="text/plain"))

    async def large(self, channel: Channel, body: bytes) -> None:
        await channel.end(bytes(int(body)), Outcome(codec="application/octet-stream"))

    async def fail(self, channel: Channel, body: bytes) -> None:
        """End as the body says: the arguments of an Outcome."""
        await channel.end(outcome=Outcome(**json.loads(body)))

    async def succeed(self, channel: Channel, body: bytes) -> None:
        await channel.end(b"ok", Outcome(**json.loads(body)))

    async def abort(self, channel: Channel, body: bytes) -> None:
        channel.abort()
        channel.abort()

    async def forget(self, channel: Channel, body: bytes) -> None:
        """End without an answer, which no site should."""

    async def twice(self, channel: Channel, body: bytes) -> None:
        await self.say(channel, body)
        await self.say(channel, body)

    async def stream(self, channel: Channel, body: bytes) -> None:
        await channel.send(body)


@asynccontextmanager
async def listening(
    url: str = "http://127.0.0.1:0", options: ListenOptions | None = None, **limits: Any
) -> AsyncIterator[tuple[HttpListener, EchoSite]]:
    site = EchoSite()
    listener = await HttpDriver(Limits(**limits)).listen(url, site, options or ListenOptions())
    try:
        yield listener, site
    finally:
        await listener.aclose()


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        return found


class RawClient:
    """One connection."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self, method: str = "POST") -> Response:
        head = await self.reader.readuntil(b"\r\n\r\n")
        start, *lines = head.decode("ascii").split("\r\n")[:-2]
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("content-length", "0")) if method != "HEAD" else 0
        return Response(int(start.split()[1]), headers, await self.reader.readexactly(length))

    async def ask(self, data: bytes, method: str = "POST") -> Response:
        self.write(data)
        return await self.response(method)

    async def is_closed(self) -> bool:
        """Wait until the server closes; whether it did so without another byte."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass  # reset by a server that has seen enough


@asynccontextmanager
async def connected(url: str, **more: Any) -> AsyncIterator[RawClient]:
    parts = urlsplit(url)
    client = RawClient(*await asyncio.open_connection(parts.hostname, parts.port, **more))
    try:
        yield client
    finally:
        await client.close()


async def ask(url: str, data: bytes, method: str = "POST") -> Response:
    """The answer to `data`, on a connection of its own."""
    async with connected(url) as client:
        return await client.ask(data, method)


def post(endpoint: str = "say", body: bytes = b"{}", *headers: str, start: str = "HTTP/1.1") -> bytes:
    """A well-formed call, with further headers."""
    lines = [f"POST /echo/{endpoint} {start}", "Host: localhost", f"Content-Length: {len(body)}"]
    if not any(header.lower().startswith("content-type:") for header in headers):
        lines.append(f"Content-Type: {JSON}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def get(target: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode("latin-1")
