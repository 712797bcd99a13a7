"""The process that an executor is isolated in, to those that take its calls: a listener at a Unix socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from xooai.driver import EMPTY, Channel, Head, Outcome
from xooai.ends import ServerEnd
from xooai.errors import Code
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
    head_of,
    packed,
    room,
    room_of,
)

__all__ = ["Near", "listen"]

BYES = 5.0  # seconds for others to say that they begin no more calls here: they do at once, unless they hang
STOP = 5.0  # seconds for cancelled calls to end; what then still runs has ignored its cancellation


class _Call:
    """What one call tells its other end. Implements `xooai.ends.Peer`."""

    __slots__ = ("_line", "_number", "end", "is_single")

    def __init__(self, line: _NearLine, number: int, end: ServerEnd) -> None:
        self._line, self._number, self.end = line, number, end
        self.is_single = False  # what it sends is one frame

    def on_frame(self, frame: bytes) -> None:
        self._line.tell(self._number, FRAME, frame)

    def on_room(self, size: int) -> None:
        if not self.is_single:
            self._line.tell(self._number, ROOM, room(size))

    def on_end(self, frame: bytes | None, outcome: Outcome) -> None:
        told = packed(outcome)
        if frame is None:
            self._line.tell(self._number, END, told)
        else:
            self._line.tell_both(self._number, FRAME, frame, END, told)

    def on_left(self) -> None:
        """It was given up on this side, which has no outcome to tell."""
        self._line.drop(self._number)
        self._line.tell(self._number, END, packed(_CUT))


_CUT = Outcome(Code.UNAVAILABLE, "the call was cut off")


class _NearLine(Line):
    """A connection of one process that takes calls."""

    def __init__(self, near: Near) -> None:
        super().__init__()
        self._near = near
        self.has_left = False

    @property
    def awaits_requests(self) -> bool:
        """Whether the requests of calls are on their way."""
        return any(call.end.task is None for call in self.calls.values())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._near.lines.add(self)

    def _take(self, call: int, kind: int, content: bytes) -> None:
        if kind in (OPEN, ASK):
            self._open(call, head_of(content), is_single=kind == ASK)
            return
        if kind == BYE:
            self.has_left = True
            self._near.changed()
            return
        found = self.calls.get(call)
        if found is None:
            return  # it has ended here, which the other side is yet to hear
        if kind == FRAME:
            if found.is_single:
                found.end.on_end(content, Outcome())
                self._begin(call, found)
            else:
                found.end.on_frame(content)
        elif kind == ROOM:
            found.end.on_room(room_of(content))
        elif kind == END:
            found.end.on_end(None, Outcome())
        elif kind == LEFT:
            self.forget(call)
            self.drop(call)
            found.end.on_left()
            self._near.changed()

    def _open(self, number: int, head: Head, *, is_single: bool) -> None:
        if not head.metadata:
            head.metadata = EMPTY
        end = ServerEnd(head, UNJUDGED)
        call = end.peer = self.calls[number] = _Call(self, number, end)
        call.is_single = is_single
        if not is_single:  # else it begins with its request: who waits for its turn is counted with what it holds
            self._begin(number, call)

    def _begin(self, number: int, call: _Call) -> None:
        end = call.end
        end.task = task = self._near.begin(end)
        self._near.changed()

        def ended(_: object) -> None:
            end.abort()  # nothing happens where the site has ended it
            if self.calls.get(number) is call:
                self.forget(number)

        task.add_done_callback(ended)

    def _flushed(self) -> None:
        self._near.changed()

    def _lost(self) -> None:
        self._near.lost(self)


class Accepting(Protocol):
    """What answers the calls that come."""

    def accept(self, channel: Channel) -> Coroutine[Any, Any, None]:
        """Answer one call, as `xooai.driver.Site`."""


class Near:
    """The listener. Implements `xooai.driver.Listener`."""

    def __init__(self, url: str, site: Accepting) -> None:
        self.url = url
        self.lines: set[_NearLine] = set()
        self._site = site
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._change = asyncio.Event()

    async def open(self, path: str) -> None:
        """Listen at a path from now on, in place of who did before. Raises OSError."""
        draft = f"{path}.{os.getpid()}"
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.bind(draft)
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(lambda: _NearLine(self), sock=made)
        except BaseException:
            made.close()
            raise
        os.replace(draft, path)

    def begin(self, end: ServerEnd) -> asyncio.Task[None]:
        """Answer a call."""
        call = asyncio.get_running_loop().create_task(self._site.accept(end))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return call

    def lost(self, line: _NearLine) -> None:
        self.lines.discard(line)
        self.changed()

    def changed(self) -> None:
        self._change.set()

    async def aclose(self, grace: float = 0) -> None:
        """Have others begin calls elsewhere, let those under way finish for `grace` seconds, then cancel what is left."""
        if self._server is not None:
            self._server.close()
        for line in self.lines:
            line.tell(0, GOING)
        until = asyncio.get_running_loop().time() + grace
        await self._until(lambda line: line.has_left, min(grace, BYES))
        await self._until(lambda line: not line.awaits_requests, until - asyncio.get_running_loop().time())
        while self._calls and (left := until - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._calls, timeout=left)
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=STOP)
        await self._until(lambda line: line.is_flushed, STOP)  # large replies are on their way
        for line in list(self.lines):
            line.transport.close()
        await asyncio.sleep(0)  # for the transports to close their sockets

    async def _until(self, is_so: Callable[[_NearLine], bool], patience: float) -> None:
        """Wait for all connections to be so, for so many seconds."""
        try:
            async with asyncio.timeout(patience):
                while not all(is_so(line) for line in self.lines):
                    self._change.clear()
                    await self._change.wait()
        except TimeoutError:
            pass


async def listen(path: str, site: Accepting) -> Near:
    """Listen at a path. Raises OSError."""
    near = Near(f"unix:{path}", site)
    await near.open(path)
    return near
