"""The way from a process that takes calls to one that an executor is isolated in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, Protocol

from xooai.driver import Channel, Head, Outcome, Shape
from xooai.ends import ClientEnd
from xooai.errors import Unavailable, XooaiError
from xooai.isolated.wire import (
    ASK,
    BYE,
    END,
    FRAME,
    GOING,
    LEFT,
    OPEN,
    ROOM,
    UNJUDGED,
    Line,
    outcome_of,
    packed,
    room,
    room_of,
)

__all__ = ["Far", "FarLine", "sent_on"]

AGAIN = 0.05  # seconds between two looks whether the process is there: a look takes some 100 µs
BACK = 1  # seconds after which a caller may ask again: nobody knows how long a start takes, and asking is cheap


class _Call:
    """What one call tells its other end. Implements `xooai.ends.Peer`."""

    __slots__ = ("_line", "_number", "end", "reply")

    def __init__(self, line: FarLine, number: int, end: ClientEnd) -> None:
        self._line, self._number, self.end = line, number, end
        self.reply: bytes | None = None  # the one of a call that gets one, until its outcome is here

    def on_frame(self, frame: bytes) -> None:
        self._line.tell(self._number, FRAME, frame)

    def on_room(self, size: int) -> None:
        self._line.tell(self._number, ROOM, room(size))

    def on_end(self, frame: bytes | None, outcome: Outcome) -> None:
        if frame is not None:
            self._line.tell(self._number, FRAME, frame)
        self._line.tell(self._number, END)

    def on_left(self) -> None:
        self._line.give_up(self._number)


class Owner(Protocol):
    """Whose connections they are."""

    def going(self, line: FarLine) -> None:
        """The process of a connection is about to end."""

    def lost(self, line: FarLine) -> None:
        """A connection has ended, and so has the process."""


class FarLine(Line):
    """A connection to one process."""

    def __init__(self, far: Owner) -> None:
        super().__init__()
        self._far = far
        self._numbers = count(1)
        self.is_going = False

    def open(self, head: Head, request: bytes | None) -> ClientEnd:
        """Open a call; a `request` is all that it sends."""
        end = ClientEnd(head, UNJUDGED)
        number = next(self._numbers) & 0xFFFFFFFF
        call = end.peer = self.calls[number] = _Call(self, number, end)
        if request is not None:
            self.tell_both(number, ASK, packed(head), FRAME, request)
        else:
            self.tell(number, OPEN, packed(head))
        if request is None and not head.shape & Shape.CLIENT:
            call.on_end(None, Outcome())
        return end

    def give_up(self, number: int) -> None:
        if number in self.calls:
            self.forget(number)
            self.drop(number)
            self.tell(number, LEFT)

    def leave(self) -> None:
        """Begin no more calls here."""
        self.tell(0, BYE)

    def _take(self, call: int, kind: int, content: bytes) -> None:
        if kind == GOING:
            self.is_going = True
            self._far.going(self)
            return
        found = self.calls.get(call)
        if found is None:
            return  # given up here, which the other side is yet to hear
        if kind == FRAME:
            if found.end.head.shape & Shape.SERVER:
                found.end.on_frame(content)
            else:
                found.reply = content
        elif kind == ROOM:
            found.end.on_room(room_of(content))
        elif kind == END:
            self.forget(call)
            self.drop(call)
            found.end.on_end(found.reply, outcome_of(content))

    def _lost(self) -> None:
        self._far.lost(self)


class Far:
    """One isolated executor, as others see it. Belongs to the loop on which it is first connected."""

    def __init__(self, name: str, path: str) -> None:
        """`path` is where its process listens, once it is ready; a new one takes the place of the old."""
        self._name, self._path = name, path
        self._line: FarLine | None = None
        self._lines: set[FarLine] = set()
        self._connecting: asyncio.Task[FarLine] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def is_up(self) -> bool:
        """Whether its process takes calls, as far as it is known here."""
        return self._line is not None

    async def connected(self) -> None:
        """Wait for its process to be ready."""
        while self._line is None:
            try:
                await self._connected()
            except Unavailable:
                await asyncio.sleep(AGAIN)

    async def open(self, head: Head, request: bytes | None) -> ClientEnd:
        """Open a call there. Raises Unavailable where no process is: the call has not begun then."""
        line = self._line
        if line is None:
            line = await self._connected()
        return line.open(head, request)

    def gone(self) -> Unavailable:
        """What a call ends with whose process has ended: where it may run twice, its client makes it anew."""
        text = f"the process of the executor {self._name!r} has ended, and with it this call"
        return Unavailable(text, details={"reason": "worker_lost"})

    async def aclose(self) -> None:
        """Close all connections."""
        self._is_closed = True
        for task in (self._looking, self._connecting):
            if task is not None:
                task.cancel()
        for line in list(self._lines):
            line.transport.abort()
        await asyncio.sleep(0)  # for the transports to close their sockets

    # What connections tell

    def going(self, line: FarLine) -> None:
        """The process of a connection is about to end."""
        if self._line is line and not self._is_closed:
            self._look()
        else:
            line.leave()

    def lost(self, line: FarLine) -> None:
        """A connection has ended, and so has the process."""
        self._lines.discard(line)
        if self._line is line:
            self._line = None
            self._look()

    # How connections come to be

    def _look(self) -> None:
        if self._looking is None and not self._is_closed:
            self._looking = asyncio.get_running_loop().create_task(self._found())

    async def _found(self) -> None:
        """Connect to the process that comes next; until then, calls go where they went, if anywhere."""
        try:
            while not self._is_closed:
                try:
                    await self._connected()
                except Unavailable:
                    old, self._line = self._line, None
                    if old is not None:
                        old.leave()
                    await asyncio.sleep(AGAIN)
                else:
                    return
        finally:
            self._looking = None

    async def _connected(self) -> FarLine:
        """A new connection, which several that ask for one at the same time share. Raises Unavailable."""
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._done)
        return await asyncio.shield(self._connecting)

    def _done(self, task: asyncio.Task[FarLine]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # those who waited for it may have left

    async def _connect(self) -> FarLine:
        try:
            _, line = await asyncio.get_running_loop().create_unix_connection(lambda: FarLine(self), self._path)
        except OSError as error:
            text = f"the process of the executor {self._name!r} is not up; it is started again"
            raise Unavailable(text, details={"reason": "no_worker", "retry_after": BACK}) from error
        self._lines.add(line)
        old, self._line = self._line, line
        if old is not None:
            old.leave()
        return line


async def sent_on(
    receive: Callable[[], Coroutine[Any, Any, bytes | None]], end: Channel, lost: list[Exception]
) -> None:
    """Send on what a caller sends. Where it can send no more, that is `lost`, and the call there is given up."""
    while True:
        try:
            frame = await receive()
        except Exception as error:  # noqa: BLE001 - it ends the call, which is another task's
            lost.append(error)
            end.abort()
            return
        try:
            if frame is None:
                await end.end()
                return
            await end.send(frame)
        except XooaiError:  # which the other direction ends with
            return
