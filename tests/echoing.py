"""A site that echoes: what a driver's tests let it serve, and look at a call with from inside."""

from __future__ import annotations

import asyncio
import json
from contextvars import ContextVar
from hashlib import sha256
from typing import Literal

from xooai.driver import Channel, Head, Outcome, Shape
from xooai.errors import Code

__all__ = ["DESCRIPTION", "EchoSite", "StreamSite", "seen_before"]

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
        if not channel.head.shape & Shape.CLIENT:
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

    def shape(self, path: str) -> Shape | None:
        """For clients that do not tell."""
        return Shape.UNARY if hasattr(self, path.removeprefix("/echo/")) else None

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

    async def digest(self, channel: Channel, body: bytes) -> None:
        """Answer with the digest of what it was sent."""
        await channel.end(sha256(body).hexdigest().encode())

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

    async def crash(self, channel: Channel, body: bytes) -> None:
        """Let an error out, which no site should."""
        raise RuntimeError(body.decode())


class StreamSite(EchoSite):
    """Endpoints of all shapes; `frames` counts what they have received or sent."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = 0
        self.has_all = asyncio.Event()

    async def each(self, channel: Channel, body: bytes | None) -> None:
        """Answer each frame by itself."""
        while body is not None:
            self.frames += 1
            await channel.send(body)
            body = await channel.receive()
        self.has_all.set()
        await channel.end(outcome=Outcome(codec=channel.head.codec))

    async def count(self, channel: Channel, body: bytes | None) -> None:
        """Answer how many frames and bytes there were."""
        count = size = 0
        while body is not None:
            self.frames += 1
            count += 1
            size += len(body)
            body = await channel.receive()
        self.has_all.set()
        await channel.end(b"%d %d" % (count, size), Outcome(codec=channel.head.codec))

    async def tell(self, channel: Channel, body: bytes) -> None:
        """Send as many frames of as many bytes as the body says, the last of them with the end."""
        count, size = map(int, body.split())
        for number in range(count):
            self.frames += 1
            frame = b"%d" % number + bytes(size)
            if number < count - 1:
                await channel.send(frame)
            else:
                await channel.end(frame, Outcome(codec=channel.head.codec))
        if not count:
            await channel.end(outcome=Outcome(codec=channel.head.codec))

    async def tell_and_fail(self, channel: Channel, body: bytes) -> None:
        for number in range(int(body)):
            await channel.send(b"%d" % number)
        await channel.end(outcome=Outcome(Code.NOT_FOUND, "no more", {"after": int(body)}))

    async def greet(self, channel: Channel, body: bytes | None) -> None:
        """Speak before the client has ended, then answer as `count`."""
        await channel.send(b"hello")
        await self.count(channel, await channel.receive())

    async def begin(self, channel: Channel, body: bytes) -> None:
        """Speak, and answer once the test says so."""
        await channel.send(b"hello")
        await self.wait(channel, body)

    async def early(self, channel: Channel, body: bytes | None) -> None:
        """Answer the first frame, whatever comes behind it."""
        await channel.end(body, Outcome(codec=channel.head.codec))

    async def refuse(self, channel: Channel, body: bytes | None) -> None:
        await channel.end(outcome=Outcome(Code.FAILED_PRECONDITION, "not now"))
