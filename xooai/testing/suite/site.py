"""A site whose paths are behaviours, as scripts for a driver under test, and what a test sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Literal

import msgspec

from xooai.driver import Channel, Head, Outcome, Shape
from xooai.errors import Unavailable, XooaiError

__all__ = ["CHUNK", "FLOOD", "ScriptedSite", "chunk", "packed", "path_of", "stalled", "unpacked"]

CHUNK = 16 * 1024  # bytes in a frame of the flood: smaller than any window
FLOOD = 64 * 1024 * 1024  # bytes that the flood would be, if nobody stopped it: more than any window
REST = 0.05  # seconds in which a producer would run away
STILL = 0.2  # seconds without another byte after which a producer counts as stopped

_left_behind: ContextVar[str] = ContextVar("left_behind", default="nothing")


def packed(value: Any) -> bytes:
    """A value as a frame: to tell a behaviour more than its name, and to answer by more than one frame."""
    return msgspec.msgpack.encode(value)


def unpacked(frame: bytes | None) -> Any:
    assert frame is not None, "the call ended without an answer"
    return msgspec.msgpack.decode(frame)


async def stalled(pushed: Callable[[], int], bound: int) -> int:
    """The bytes that a producer has pushed when it has come to a stop, or as soon as they are more than the bound."""
    before = -1
    while before < pushed() <= bound or not pushed():
        before = pushed()
        await asyncio.sleep(STILL)
    return pushed()


def chunk(index: int) -> bytes:
    """A part of a flood, unlike others."""
    return index.to_bytes(4, "big") * (CHUNK // 4)


def path_of(behaviour: str, shape: Shape) -> str:
    """Where a behaviour is, for calls of this shape."""
    return f"/{str(shape.name).lower()}/{behaviour}"


class ScriptedSite:
    """Answers `/{shape}/{behaviour}`: each behaviour in every shape. Implements `xooai.driver.Site`."""

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.received: list[bytes] = []
        self.pushed = 0
        """Bytes that the driver has taken from `flood`."""
        self.taken = 0
        """Bytes that `sip` has taken from the driver."""
        self.started = asyncio.Event()
        self.released = asyncio.Event()
        self.cancelled = asyncio.Event()
        """A call was cancelled, or heard that its client had left."""
        self._arrived = asyncio.Event()
        self._all_met = asyncio.Event()
        self._met = 0

    async def accept(self, channel: Channel) -> None:
        """Answer a call, and end it with the error that its behaviour raises, as xooai's own site does."""
        self.heads.append(channel.head)
        behaviour = getattr(self, channel.head.path.rpartition("/")[2])
        try:
            await behaviour(channel)
        except Unavailable:  # raised by `receive` or `send`: the client has left, and so does this call
            self.cancelled.set()
            channel.abort()
        except XooaiError as error:
            await channel.end(None, Outcome(error.code, error.message, error.details))
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def ready(self) -> bool:
        return True

    def shape(self, path: str) -> Shape | None:
        return Shape.__members__.get(path.split("/")[1].upper())

    def describe(self, form: Literal["openapi", "proto", "json"]) -> bytes:
        return b"{}"

    async def has_received(self, count: int) -> None:
        """Wait until so many frames have arrived."""
        while len(self.received) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def has_stalled(self, bound: int) -> int:
        """Wait until the driver takes no more of the flood, or has taken more than the bound: the bytes that it took."""
        return await stalled(lambda: self.pushed, bound)

    async def _frame(self, channel: Channel) -> bytes | None:
        frame = await channel.receive()
        if frame is not None:
            self.received.append(frame)
            self._arrived.set()
        return frame

    # Answers

    async def echo(self, channel: Channel) -> None:
        """Send each frame back as it comes; without a stream of replies, all of them in one frame, or the one as it is."""
        shape, frames = channel.head.shape, []
        while (frame := await self._frame(channel)) is not None:
            frames.append(frame)
            if shape & Shape.SERVER:
                await channel.send(frame)
        reply = None if shape & Shape.SERVER else packed(frames) if shape & Shape.CLIENT else frames[0]
        await channel.end(reply, Outcome(codec=channel.head.codec))

    async def last(self, channel: Channel) -> None:
        """Answer by the first frame, given to `end` in every shape; to abort what has ended does nothing."""
        head = channel.head
        codec = (head.accept or head.codec) if head.shape & Shape.SERVER else "text/plain"
        await channel.end(await self._frame(channel), Outcome(codec=codec))
        channel.abort()

    async def count(self, channel: Channel) -> None:
        """Send as many numbers as the request says, the last with the end."""
        number = unpacked(await self._frame(channel))
        for index in range(number - 1):
            await channel.send(packed(index))
        await channel.end(packed(number - 1) if number else None)

    async def swell(self, channel: Channel) -> None:
        """Send a small item, and one of as many bytes as the request says."""
        size = unpacked(await self._frame(channel))
        await channel.send(b"small")
        await channel.send(bytes(size))
        await channel.end()

    async def greet(self, channel: Channel) -> None:
        """Speak first."""
        await channel.send(b"hello")
        await self.echo(channel)

    async def early(self, channel: Channel) -> None:
        """Answer after the first frame, whatever else the client sends."""
        await self._frame(channel)
        await channel.end(b"enough")

    async def beside(self, channel: Channel) -> None:
        """Answer with metadata."""
        await self._frame(channel)
        await channel.end(b"answer", Outcome(metadata={"x-cost": "3", "x-text": "a b, c=d;e"}))

    async def meet(self, channel: Channel) -> None:
        """Answer by the number of this call, when as many are under way as it says."""
        wanted, number = unpacked(await self._frame(channel))
        self._met += 1
        if self._met == wanted:
            self._all_met.set()
        await self._all_met.wait()
        await channel.end(packed(number))

    async def context(self, channel: Channel) -> None:
        """Answer what an earlier call has left in the context, and leave something there."""
        await self._frame(channel)
        found = _left_behind.get()
        _left_behind.set("an earlier call")
        await channel.end(found.encode())

    # Failures

    async def fail(self, channel: Channel) -> None:
        """End as the request says, after as many items as it says."""
        wanted = unpacked(await self._frame(channel))
        for index in range(wanted.pop("after", 0)):
            await channel.send(packed(index))
        await channel.end(None, Outcome(**wanted))

    async def leave(self, channel: Channel) -> None:
        """Abort, twice, after as many items as the request says."""
        for index in range(unpacked(await self._frame(channel))):
            await channel.send(packed(index))
        channel.abort()
        channel.abort()

    async def forget(self, channel: Channel) -> None:
        """Neither answer nor abort, which no site should."""
        await self._frame(channel)

    # Waiting

    async def wait(self, channel: Channel) -> None:
        """Take the first frame, and answer by it once the test says so."""
        frame = await self._frame(channel)
        self.started.set()
        await self.released.wait()
        await channel.end(frame)

    async def begin(self, channel: Channel) -> None:
        """Send an item, and the end once the test says so."""
        await channel.send(await self._frame(channel) or b"")
        self.started.set()
        await self.released.wait()
        await channel.end()

    async def pause(self, channel: Channel) -> None:
        """Send as many numbers as the request says, and the end once the test says so."""
        for index in range(unpacked(await self._frame(channel))):
            await channel.send(packed(index))
        self.started.set()
        await self.released.wait()
        await channel.end()

    async def deaf(self, channel: Channel) -> None:
        """Receive nothing, and answer once the test says so."""
        self.started.set()
        await self.released.wait()
        await channel.end(b"deaf")

    async def flood(self, channel: Channel) -> None:
        """Send all that the driver takes."""
        await self._frame(channel)
        for index in range(FLOOD // CHUNK):
            await channel.send(chunk(index))
            self.pushed += CHUNK
        await channel.end()

    async def sip(self, channel: Channel) -> None:
        """Take chunks as long as they come in order, after a rest; answer by how many they were."""
        await asyncio.sleep(REST)
        index = 0
        while await channel.receive() == chunk(index):
            index += 1
            self.taken += CHUNK
        await channel.end(packed(index))
