"""One stream of a connection: a message each way, in pieces, as far as there is room for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import MutableSequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xooai_quic.connection import Connection

__all__ = ["PIECE", "Headers", "Stream", "keep", "wake"]

SMALL = (
    1024  # bytes: parts that are shorter are joined, so that a body in tiny frames is not an object for each of them
)
PIECE = 64 * 1024  # bytes written or taken at once: large enough to be cheap, a part of any window

Headers = list[tuple[bytes, bytes]]


class Stream:
    """What comes is kept until it is taken, and only then may more come. One task may write while another takes."""

    def __init__(self, connection: Connection, stream_id: int) -> None:
        self.connection = connection
        self.id = stream_id
        self.is_whole = False
        """Whether the peer's message has come to its end."""
        self.is_over = False
        """Whether nothing can be written or will come any more."""
        self.is_unwanted = False
        """Whether the peer takes no more of what is written."""
        self.received = 0
        """Bytes of the peer's body that have come."""
        self.written = 0
        """Bytes of this side's body."""
        self.waiting = 0
        """Bytes that somebody writes and for which there is no room yet."""
        self.granted = 0
        """Bytes of it that the peer has read, where it tells."""
        self.taken = self.told = 0
        """Bytes of the peer's body that were read here, and what it knows of that."""
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._came: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    @property
    def held(self) -> int:
        """Bytes that have come and were not taken."""
        return self._size

    # What the connection tells.

    def on_head(self, headers: Headers, ended: bool) -> None:
        """The head, or trailers behind a body."""
        raise NotImplementedError

    def on_data(self, data: bytes, ended: bool) -> None:
        self.received += len(data)
        if data:
            keep(self._parts, data)
            self._size += len(data)
            if self._size > self.connection.limits.flood:
                self.on_flood()
                return
        self.is_whole = self.is_whole or ended
        wake(self._came)

    def on_left(self, code: int, is_reset: bool) -> None:
        """The peer gives up: what it sends (`is_reset`), or what it is sent."""
        raise NotImplementedError

    def on_malformed(self, reason: str) -> None:
        """What the peer sends is no message of HTTP."""
        raise NotImplementedError

    def on_lost(self, reason: str) -> None:
        """The connection has ended."""
        raise NotImplementedError

    def on_flood(self) -> None:
        """More has come than is kept."""
        raise NotImplementedError

    def may_write(self) -> None:
        wake(self._room)

    # In

    def take(self, most: int = PIECE) -> bytes:
        """What has come, as far as it is no more than `most`, or the next piece. It makes room for more."""
        parts: list[bytes] = []
        size = 0
        while self._parts and (not parts or size + len(self._parts[0]) <= most):
            part = self._parts.popleft()
            parts.append(part)
            size += len(part)
        self._size -= size
        if size and not self.is_over:
            self.connection.consumed(self, size)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def more(self) -> None:
        """Wait until something has come, or the stream is over."""
        if not (self._parts or self.is_whole or self.is_over):
            self._came = self.connection.loop.create_future()
            await self._came

    def clear(self) -> None:
        """What has come is for nobody."""
        if self._size and not self.is_over:
            self.connection.consumed(self, self._size)
        self._parts.clear()
        self._size = 0

    # Out

    def write_head(self, headers: Headers, ended: bool = False) -> None:
        assert self.connection.http is not None
        self.connection.http.send_headers(self.id, headers, ended)
        self.connection.flush_soon()

    def write_whole(self, headers: Headers, body: bytes) -> None:
        """Send head and body at once, where there is room for them."""
        connection = self.connection
        assert connection.http is not None
        connection.http.respond(self.id, headers, body)
        self.written += len(body)
        connection.written += len(body)
        connection.flush_soon()

    async def write(self, data: bytes, ended: bool) -> None:
        """Send a part of the body; wait while there is no room. Nothing happens once the stream is over."""
        connection, at = self.connection, 0
        if len(data) > PIECE:
            view = memoryview(data)
            while len(data) - at > PIECE and not (self.is_over or self.is_unwanted):
                self.waiting = len(data) - at
                await self.room()
                self._write(bytes(view[at : at + PIECE]), False)
                at += PIECE
            data = bytes(view[at:])
        if not connection.has_room(self):
            self.waiting = len(data)
            await self.room()
        self.waiting = 0
        self._write(data, ended)

    def _write(self, data: bytes, ended: bool) -> None:
        if not (self.is_over or self.is_unwanted):
            assert self.connection.http is not None
            self.connection.http.send_data(self.id, data, ended)
            self.written += len(data)
            self.connection.written += len(data)
            self.connection.flush_soon()

    async def room(self) -> None:
        """Wait until something can be written."""
        while not (self.is_over or self.is_unwanted or self.connection.has_room(self)):
            self._room = self.connection.loop.create_future()
            self.connection.wait_for_room(self)
            await self._room

    # Ending

    def finish(self) -> None:
        """Nothing more happens on this stream: wake who waits."""
        self.clear()
        self.is_over = True
        wake(self._came)
        wake(self._room)


def keep(parts: MutableSequence[bytes], data: bytes) -> None:
    """Add what has come to the parts of a body."""
    if len(data) < SMALL and parts and len(parts[-1]) < SMALL:
        parts[-1] += data
    else:
        parts.append(data)


def wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
