"""What a client sends in a call that streams, in terms of ASGI: taken in while it comes, as far as it is wanted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import msgspec

from xooai.asgi_messages import Message, Receive, leaving
from xooai.driver import MESSAGE_LIMIT
from xooai.errors import DeadlineExceeded, XooaiError
from xooai.http_stream import ItemReader

__all__ = ["Incoming", "Source", "StreamLimits", "Whole"]

_WINDOW = 256 * 1024  # bytes taken in before somebody wants them: what a fast network brings in a millisecond or two
_SLICE = (
    32 * 1024
)  # bytes read at once: there may be thousands of tiny items in them, each an object that costs 40 bytes


class StreamLimits(msgspec.Struct, frozen=True):
    """`message`: bytes of one item. One that has begun must move by `rate` bytes a second, measured over `window` seconds;
    between items a stream may be silent. `reserve` is told how many bytes more are held (or, below 0, are not any more),
    and raises ResourceExhausted when these are too many.
    """

    message: int = MESSAGE_LIMIT
    window: float = 10.0
    rate: int = 1024
    reserve: Callable[[int], None] = lambda size: None


class Source(Protocol):
    """Where the frames of a request come from."""

    is_whole: bool
    """Whether the request has come to its end."""

    async def run(self) -> None:
        """Hear the client until it leaves."""

    async def next(self) -> bytes | None:
        """The next frame, None behind the last one."""

    def close(self) -> None:
        """Nobody wants anything more."""


class Whole:
    """A request of one frame, its body."""

    is_whole = True

    def __init__(self, receive: Receive, body: bytes) -> None:
        self._receive = receive
        self._body: bytes | None = body

    async def run(self) -> None:
        await leaving(self._receive)

    async def next(self) -> bytes | None:
        body, self._body = self._body, None
        return body

    def close(self) -> None:
        self._body = None


class Incoming:
    """A request that streams. Bytes are taken in up to a window, and made items when they are wanted.

    While the window is full nothing is received, and so a client that leaves then goes unseen by ASGI alone: the server
    has to see it, as that of the HTTP driver does.
    """

    def __init__(self, receive: Receive, reader: ItemReader, limits: StreamLimits) -> None:
        self._receive = receive
        self._reader = reader
        self._limits = limits
        self._parts: deque[memoryview] = deque()
        self._size = 0  # bytes in them
        self._held = 0  # bytes that are reserved
        self._items: deque[bytes] = deque()
        self._error: XooaiError | None = None
        self._began: tuple[float, int] | None = (
            None  # when an item that is awaited had begun, and what had come by then
        )
        self._moved = 0
        self._is_over = False
        self.is_whole = False
        self._came = asyncio.Event()
        self._went = asyncio.Event()

    async def run(self) -> None:
        with suppress(_Gone):
            while True:
                self._take(await self._message())
                while self._size > _WINDOW:
                    self._went.clear()
                    await self._went.wait()

    async def _message(self) -> Message:
        try:
            message = await self._receive()
        except Exception as error:  # some middleware raises instead of telling
            raise _Gone from error
        if message["type"] == "http.disconnect":
            raise _Gone
        return message

    def _take(self, message: Message) -> None:
        body = message.get("body", b"")
        self.is_whole = self.is_whole or not message.get("more_body", False)
        if body and not self._is_over and self._error is None:
            self._parts.append(memoryview(body))
            self._size += len(body)
            try:
                self._account()
            except XooaiError as error:
                self._fail(error)
        self._came.set()

    async def next(self) -> bytes | None:
        while not self._items:
            if self._error is not None:
                raise self._error
            if self._is_over:
                await self._settled()
                return None
            try:
                if self._parts:
                    self._read(self._parts.popleft())
                elif self.is_whole:
                    self._is_over = True
                    self._items += self._reader.finish()
                else:
                    await self._more()
            except XooaiError as error:
                self._fail(error)
        item = self._items.popleft()
        self._account()
        return item

    def _read(self, part: memoryview) -> None:
        size = max(_SLICE, self._reader.missing)
        if len(part) > size:
            self._parts.appendleft(part[size:])
            part = part[:size]
        self._size -= len(part)
        self._moved += len(part)
        self._went.set()
        before = len(self._items)
        self._items.extend(self._reader.feed(part))
        if len(self._items) > before:
            self._began = None
        if self._reader.is_over:
            self._is_over = True
            self._drop()

    async def _more(self) -> None:
        """Wait for more. Raises DeadlineExceeded where an item has begun and does not move."""
        self._came.clear()
        if not self._reader.pending:
            await self._came.wait()
            return
        window, now = self._limits.window, asyncio.get_running_loop().time()
        began, moved = self._began or (now, self._moved)
        if now - began > window:
            if self._moved - moved < self._limits.rate * (now - began):
                raise self._slow()
            began, moved = now, self._moved
        self._began = began, moved
        try:
            async with asyncio.timeout(window):
                await self._came.wait()
        except TimeoutError:
            raise self._slow() from None

    async def _settled(self) -> None:
        """Wait for the end of the body behind the end of the stream, so that the connection can be kept."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.window):
                while not self.is_whole:
                    self._came.clear()
                    await self._came.wait()

    def _slow(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"an item of the stream began and came slower than {self._limits.rate:,} bytes a second; between items a "
            "stream may be silent"
        )

    def _fail(self, error: XooaiError) -> None:
        self._error = error
        self._drop()

    def _drop(self) -> None:
        self._parts.clear()
        self._size = 0
        self._went.set()

    def _account(self) -> None:
        held = self._size + self._reader.pending
        change, self._held = held - self._held, held
        if change:
            self._limits.reserve(change)

    def close(self) -> None:
        change, self._held = -self._held, 0
        if change:
            self._limits.reserve(change)


class _Gone(Exception):
    """The client has gone, while its request was heard."""
