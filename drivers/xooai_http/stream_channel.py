"""A call that streams, as the core holds it: frames to a server and from it, waiting for each other where they must."""

from __future__ import annotations

import asyncio
from collections import deque

from xooai.driver import Head, Outcome, Shape
from xooai.errors import Code, FailedPrecondition, Unavailable, XooaiError, error_from
from xooai.wire import END, ITEM
from xooai.wire import frame as framed
from xooai.wire import head as framed_head
from xooai_http.connection import PIECE, WHOLE, Connection
from xooai_http.stream_connection import StreamConnection
from xooai_http.stream_reader import StreamReader

__all__ = ["HttpStream"]

# What is taken from a connection and not yet received; beside it only what came in one read.
FRAMES = 16  # enough that neither side waits for each other's turn
BYTES = 256 * 1024  # about what one read gives

_OK = Outcome()
_LAST = b"5\r\n%b\r\n0\r\n\r\n" % framed(END, b"")  # with the last chunk


class HttpStream:
    """One call. One task may send while another receives."""

    outcome: Outcome | None = None

    def __init__(self, head: Head) -> None:
        self.head = head
        self._connection: StreamConnection | None = None  # until the call is over
        self._items: deque[bytes] = deque()
        self._size = 0  # bytes in them
        self._has_ended = not head.shape & Shape.CLIENT
        self._end: Outcome | None = None  # how the server ended it; items may still be there
        self._error: XooaiError | None = None
        self._receiver: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None

    def begin(self, connection: Connection, reader: StreamReader, start: bytes) -> bool:
        """Send how the request starts. False says that the connection broke before its first byte."""
        stream = StreamConnection(connection, reader, self)
        if not stream.begin(start):
            return False
        self._connection = stream
        return True

    async def complete(self, rest: memoryview) -> None:
        """Send the rest of a request that is one frame; stops without an error where the call ends before."""
        await self._pieces(rest)
        if self._connection is not None:
            self._connection.end()

    async def receive(self) -> bytes | None:
        """Return the next frame of the reply, None behind the last one. May be cancelled and called again."""
        while not self._items:
            if self._end is not None:
                self.outcome = self._end
                self._raise()
                return None
            if self._error is not None:
                raise self._error
            self._receiver = asyncio.get_running_loop().create_future()
            await self._receiver
        item = self._items.popleft()
        self._size -= len(item)
        stream = self._connection
        if stream is not None and stream.is_held and len(self._items) <= FRAMES // 2 and self._size <= BYTES // 2:
            stream.resume()
        if self._end is not None and not self.head.shape & Shape.SERVER:
            self.outcome = self._end
        return item

    async def send(self, frame: bytes) -> None:
        """Send a frame; wait while the server does not take what was sent. Cancelled while it waits, it sent nothing; in
        the middle of a large frame, that ends the call.
        """
        if self._has_ended:
            raise FailedPrecondition("nothing can be sent after the end of the request")
        stream = self._connection
        if stream is None or stream.is_full:
            stream = await self._room()
        if stream is None:
            self._raise()
            await asyncio.sleep(0)  # or a source without an end would hold the loop
            return  # the server has ended well: what it did not wait for is for nobody
        if len(frame) <= WHOLE:
            data = framed(ITEM, frame)
            stream.write(b"%x\r\n%b\r\n" % (len(data), data))
            return
        head = framed_head(ITEM, len(frame))
        stream.write(b"%x\r\n%b" % (len(head) + len(frame), head))
        await self._pieces(memoryview(frame))
        if self._connection is None:
            self._raise()
        else:
            stream.write(b"\r\n")

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        """End the request, with a last frame where there is one; the second time nothing is left to do."""
        if frame is not None:
            await self.send(frame)
        if self._has_ended:
            return
        self._has_ended = True
        if self._connection is None:
            self._raise()
        else:
            self._connection.end(_LAST)

    def abort(self) -> None:
        """End the call, and drop what came and was not received. Changes nothing once the end was received."""
        if self.outcome is not None or self._error is not None:
            return
        gone = Unavailable(f"the call to {self.head.path} was given up")
        stream = self._connection
        self._items.clear()
        self._end, self._error = None, gone
        if stream is not None:
            stream.fail(gone)

    async def _room(self) -> StreamConnection | None:
        """Wait until something can be sent; None once the call is over."""
        while self._connection is not None and self._connection.is_full:
            self._sender = asyncio.get_running_loop().create_future()
            await self._sender
        return self._connection

    async def _pieces(self, data: memoryview) -> None:
        """Send something large. Left in the middle it would make nonsense of what follows, so that ends the call."""
        try:
            for at in range(0, len(data), PIECE):
                stream = await self._room()
                if stream is None:
                    return
                stream.write(data[at : at + PIECE])
        except BaseException:  # cancelled
            self.abort()
            raise

    def _raise(self) -> None:
        """Raise what the call ended with, if that is an error."""
        if self._error is None and self._end is not None and self._end.code != Code.OK:
            end = self._end
            self._error = error_from(end.code, end.message, end.details, end.id)
        if self._error is not None:
            raise self._error

    # What the connection calls.

    def arrived(self, items: list[bytes], outcome: Outcome | None) -> None:
        if self._connection is None:  # was over already
            return
        self._items.extend(items)
        self._size += sum(map(len, items))
        _wake(self._receiver)
        if outcome is not None:
            self._end, self._connection = outcome, None
            _wake(self._sender)

    def is_full(self) -> bool:
        return len(self._items) > FRAMES or self._size >= BYTES  # behind as many, the end may come

    def may_send(self) -> None:
        _wake(self._sender)

    def failed(self, error: XooaiError) -> None:
        if self._end is None and self._error is None:
            self._error = error
        self._connection = None
        _wake(self._receiver)
        _wake(self._sender)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
