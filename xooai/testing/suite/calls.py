"""A client that calls the behaviours of a scripted site, as the core calls endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from xooai.driver import Channel, Head, Link, Listener, Outcome, Shape
from xooai.errors import XooaiError
from xooai.testing.suite.site import CHUNK, FLOOD, ScriptedSite, path_of

__all__ = ["SOON", "Served", "Upload", "answered", "asked", "cancelled", "error_of", "finished", "opened"]

SOON = 0.5  # seconds in which one side has to see that the other has left


class Served(NamedTuple):
    """A site behind a listener, and a link to it."""

    site: ScriptedSite
    listener: Listener
    link: Link

    async def call(self, behaviour: str, shape: Shape, *frames: bytes, **head: Any) -> tuple[list[bytes], Outcome]:
        """Call a behaviour: the frames of its answer, and the outcome. Raises what the call ended with."""
        channel = await opened(self.link, _head(behaviour, shape, head), *frames)
        answer = await answered(channel)
        assert channel.outcome is not None, "the outcome is not known after the last frame"
        return answer, channel.outcome

    async def open(self, behaviour: str, shape: Shape, *frames: bytes, **head: Any) -> Channel:
        """Open a call and send these frames. Where the client streams, its side is still open."""
        return await opened(self.link, _head(behaviour, shape, head), *frames, end=False)


def _head(behaviour: str, shape: Shape, more: dict[str, Any]) -> Head:
    return Head(path_of(behaviour, shape), shape=shape, **more)


async def opened(link: Link, head: Head, *frames: bytes, end: bool = True) -> Channel:
    if not head.shape & Shape.CLIENT:
        (request,) = frames
        return await link.open(head, request)
    channel = await link.open(head)
    for frame in frames:
        await channel.send(frame)
    if end:
        await channel.end()
    return channel


class Upload:
    """A client that sends all that the driver takes. `pushed` counts the bytes."""

    def __init__(self) -> None:
        self.pushed = 0

    async def run(self, channel: Channel) -> None:
        while self.pushed < FLOOD:
            await channel.send(bytes(CHUNK))
            self.pushed += CHUNK


async def answered(channel: Channel) -> list[bytes]:
    """All frames of the answer: one, unless the server streams."""
    frames: list[bytes] = []
    while (frame := await channel.receive()) is not None:
        frames.append(frame)
        if not channel.head.shape & Shape.SERVER:
            break
    return frames


async def asked(channel: Channel, frame: bytes) -> bytes | None:
    """One step of a conversation."""
    await channel.send(frame)
    return await channel.receive()


async def error_of(channel: Channel) -> tuple[list[bytes], XooaiError]:
    """The frames that come before the error that a call ends with, and the error."""
    frames: list[bytes] = []
    try:
        while (frame := await channel.receive()) is not None:
            frames.append(frame)
    except XooaiError as error:
        return frames, error
    raise AssertionError(f"the call ended well, after {len(frames)} frames: its error was lost")


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait until it has ended."""
    task.cancel()
    await asyncio.wait([task])


@asynccontextmanager
async def finished(task: asyncio.Task[Any]) -> AsyncIterator[None]:
    """See to it that a task beside the test ends with it."""
    try:
        yield
    finally:
        await cancelled(task)
