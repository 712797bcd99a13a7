"""An executor whose endpoints stream, the listener that it is behind, and a client that reads a stream of bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from echo_site import RawClient

from xooai import Executor, NotFound, Text, current, post, stream
from xooai.driver import ListenOptions
from xooai.http import FRAMES
from xooai.server import Site
from xooai.wire import END, ITEM, FrameReader, frame
from xooai_http.driver import HttpDriver
from xooai_http.limits import Limits
from xooai_http.listener import HttpListener

JSON_FRAMES = FRAMES["application/json"]
MSGPACK_FRAMES = FRAMES["application/msgpack"]
LINES = "application/x-ndjson"
EVENTS = "text/event-stream"


class Talker(Executor):
    """Streams each way; the events let a test see, and say, where a call is."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.released = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.closed = asyncio.Event()
        self.given = 0

    @post
    async def say(self, words: str) -> str:
        """Say it again."""
        return words

    @stream
    async def count(self, n: int) -> AsyncIterator[int]:
        """Count to a number."""
        for number in range(n):
            yield number

    @stream
    def steps(self, n: int) -> Iterator[Text]:
        """Count in words."""
        for number in range(n):
            yield Text(value=str(number))

    @stream
    async def pair(self) -> AsyncIterator[str]:
        """Give the second item once the test says so."""
        yield "first"
        self.started.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.closed.set()
        yield "second"

    @stream
    async def flood(self, size: int, n: int) -> AsyncIterator[str]:
        """Give many large items, and count them."""
        try:
            for _ in range(n):
                yield "x" * size
                self.given += 1
        finally:
            self.closed.set()

    @stream
    async def fail(self, n: int) -> AsyncIterator[int]:
        """Fail after some items."""
        for number in range(n):
            yield number
        raise NotFound(f"there is no item {n}", details={"n": n})

    @stream
    async def total(self, numbers: AsyncIterator[int], scale: int = 1) -> int:
        """Add up."""
        self.started.set()
        found = 0
        async for number in numbers:
            found += number
            self.given += 1
        return found * scale

    @stream
    async def first(self, numbers: AsyncIterator[int]) -> int:
        """Answer with the first number, and want no other."""
        return await anext(numbers)

    @stream
    async def ignore(self, words: AsyncIterator[str]) -> str:
        """Take nothing of what comes."""
        self.started.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "done"

    @stream
    async def greet(self, words: AsyncIterator[str], tenant: str = "") -> AsyncIterator[str]:
        """Speak first, then for each one."""
        yield f"hello {tenant or current().metadata.get('x-tenant', 'you')}"
        async for one in words:
            yield f"{one} to you, too"

    @stream
    async def shout(self, words: AsyncIterator[str]) -> AsyncIterator[str]:
        """Say each one louder."""
        self.started.set()
        try:
            async for one in words:
                if one == "fail":
                    raise NotFound("nothing is louder")
                yield one.upper()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@asynccontextmanager
async def talking(
    options: ListenOptions | None = None, limits: Limits | None = None, url: str = "http://127.0.0.1:0"
) -> AsyncIterator[tuple[HttpListener, Talker]]:
    talker = Talker()
    site = Site((talker._xooai_local(),))
    site.open()
    listener = await HttpDriver(limits or Limits()).listen(url, site, options or ListenOptions())
    try:
        yield listener, talker
    finally:
        await listener.aclose()


def opening(endpoint: str, arguments: Any = None, *headers: str, prefix: str = "/talker") -> bytes:
    """A request with one body, the arguments."""
    body = json.dumps(arguments or {}).encode()
    lines = [f"POST {prefix}/{endpoint} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def streaming(endpoint: str, content_type: str, *headers: str, prefix: str = "/talker") -> bytes:
    """The head of a request with a chunked body."""
    lines = [f"POST {prefix}/{endpoint} HTTP/1.1", "Host: localhost", f"Content-Type: {content_type}"]
    return "\r\n".join([*lines, "Transfer-Encoding: chunked", *headers, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def items(*values: Any) -> bytes:
    """Values as frames of JSON, in one chunk."""
    return chunk(b"".join(frame(ITEM, json.dumps(value).encode()) for value in values))


def lines(*values: Any) -> bytes:
    return chunk(b"".join(json.dumps(value).encode() + b"\n" for value in values))


OVER = chunk(frame(END, b"")) + LAST_CHUNK


class CutOff(Exception):
    """The body ended without its last chunk."""


class Streamed:
    """A response that streams, chunk by chunk."""

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self.status = 0
        self.headers: dict[str, str] = {}
        self._frames = FrameReader(2**20)

    async def head(self) -> Streamed:
        raw = (await self.client.reader.readuntil(b"\r\n\r\n")).decode()
        start, *fields = raw.split("\r\n")[:-2]
        self.status = int(start.split()[1])
        self.headers = dict(field.split(": ", 1) for field in fields)
        assert self.headers["transfer-encoding"] == "chunked"
        return self

    async def chunk(self) -> bytes | None:
        """None behind the last one. Raises CutOff."""
        try:
            size = int(await self.client.reader.readuntil(b"\r\n"), 16)
            return (await self.client.reader.readexactly(size + 2))[:-2] or None
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise CutOff from error

    async def rest(self) -> bytes:
        found = b""
        while (data := await self.chunk()) is not None:
            found += data
        return found

    async def frames(self) -> list[tuple[int, Any]]:
        """All that come, up to the end of the body."""
        return [(kind, json.loads(content)) for kind, content in self._frames.feed(await self.rest())]

    async def frame(self) -> Any:
        data = await self.chunk()
        assert data is not None
        ((kind, content),) = self._frames.feed(data)
        return kind, json.loads(content)
