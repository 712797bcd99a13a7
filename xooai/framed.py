"""Calls over byte streams, a connection for each: what a driver needs that has nothing but bytes to send (a socket, a tunnel).

A message is a byte that says what it is, four bytes with the length of what follows (big-endian), and that: 0 is a frame, 1 the
end, with an outcome in msgpack that says nothing in a request, 2 the number of bytes that may be sent beyond the window. The
client's first is the head in msgpack, as a 0. What stops without an end was cut off. Both sides read all the time, and so see
the other leave; what is on its way is bounded by the window.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from struct import Struct
from typing import Any, cast

import msgspec

from xooai.driver import DialOptions, Head, Outcome, Shape, Site
from xooai.ends import COST, WINDOW, ClientEnd, End, ServerEnd
from xooai.errors import DeadlineExceeded, Unavailable
from xooai.metadata import ID_HEADER, IDEMPOTENCY_KEY, TIMING

__all__ = ["FramedLink", "FramedListener", "FramedSite"]

HEAD_LIMIT = 64 * 1024  # bytes of a head or an outcome: ours are far below
HEAD_TIME = 10.0  # seconds for a head to come: its client sends it at once
LINGER = 5.0  # seconds for a client to take the end of its call
STOP = 5.0  # seconds for cancelled calls to end; what then still runs has ignored its cancellation
CALLS = 1024  # connections at once: as many files as a process may open on most systems

Connect = Callable[[Callable[[], asyncio.Protocol]], Awaitable[Any]]

_ITEM, _END, _ROOM = 0, 1, 2
_START = Struct(">BI")
_COUNT = Struct(">I")


def _message(kind: int, content: bytes) -> bytes:
    return _START.pack(kind, len(content)) + content


def _packed(value: Head | Outcome) -> bytes:
    return msgspec.msgpack.encode(value, enc_hook=dict)  # for mappings that are no dict


class _Connection(asyncio.Protocol):
    """The connection of one call: its end's peer, and what the peer tells it. Implements `xooai.ends.Peer`."""

    end: End | None = None
    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_deaf = False  # what still comes is of no use

    # What the end tells.

    def on_frame(self, frame: bytes) -> None:
        self.transport.write(_message(_ITEM, frame))

    def on_room(self, size: int) -> None:
        self.transport.write(_message(_ROOM, _COUNT.pack(size)))

    def on_end(self, frame: bytes | None, outcome: Outcome) -> None:
        end = _message(_END, _packed(outcome))
        self.transport.write(end if frame is None else _message(_ITEM, frame) + end)

    def on_left(self) -> None:
        self.transport.abort()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _START.size and not self._is_deaf:
            kind, length = _START.unpack_from(buffer, at)
            stop = at + _START.size + length
            if not self._accepts(kind, length) or len(buffer) < stop:
                break
            self._take(kind, bytes(buffer[at + _START.size : stop]))
            at = stop
        del buffer[: len(buffer) if self._is_deaf else at]

    def connection_lost(self, exc: Exception | None) -> None:
        if self.end is not None:
            self.end.on_left()

    # How messages are read.

    def _accepts(self, kind: int, length: int) -> bool:
        """Judge a message by its announcement."""
        if kind == _ITEM and self.end is not None:
            if self.end.held > WINDOW + self.end.message_limit + COST:
                return self._reject()  # the peer has been told that there is no room
            if length > self.end.message_limit:
                self._is_deaf = True
                self.end.on_too_large(length)
            return not self._is_deaf
        if kind == _ROOM:
            return length == _COUNT.size or self._reject()
        return (kind in (_ITEM, _END) and length <= HEAD_LIMIT) or self._reject()

    def _reject(self) -> bool:
        """Cut off who does not keep to the rules."""
        self._is_deaf = True
        self.transport.abort()
        return False

    def _take(self, kind: int, content: bytes) -> None:
        assert self.end is not None
        try:
            if kind == _ITEM:
                self.end.on_frame(content)
            elif kind == _ROOM:
                self.end.on_room(*_COUNT.unpack(content))
            else:
                self._finish(msgspec.msgpack.decode(content, type=Outcome))
        except msgspec.MsgspecError:
            self._reject()

    def _finish(self, outcome: Outcome) -> None:
        assert self.end is not None
        self.end.on_end(None, outcome)


class _ClientConnection(_Connection):
    """Closed as soon as the server has ended."""

    _reply: bytes | None = None

    def __init__(self, end: ClientEnd, on_gone: Callable[[_ClientConnection], None]) -> None:
        super().__init__()
        self.end = end
        end.peer = self
        self._on_gone = on_gone

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_gone(self)
        super().connection_lost(exc)

    def _take(self, kind: int, content: bytes) -> None:
        assert self.end is not None
        if kind != _ITEM or self.end.head.shape & Shape.SERVER:
            super()._take(kind, content)
        elif self._reply is None:
            self._reply = content  # until its outcome is there
        else:
            self._reject()  # two replies to a call that takes one

    def _finish(self, outcome: Outcome) -> None:
        assert self.end is not None
        self.end.on_end(self._reply, outcome)
        self._is_deaf = True
        self.transport.close()


class FramedLink:
    """Calls to a server. `connect` makes a connection with the protocol that it is given, as `loop.create_connection` does;
    `peer` names the server in errors. Implements `xooai.driver.Link`.
    """

    def __init__(self, peer: str, connect: Connect, options: DialOptions) -> None:
        self._peer, self._connect, self._options = peer, connect, options
        self._connections: set[_ClientConnection] = set()
        self._is_closed = False

    async def open(self, head: Head, request: bytes | None = None) -> ClientEnd:
        if self._is_closed:
            raise Unavailable(f"the link to {self._peer} has been closed")
        if head.timeout is not None and head.timeout <= 0:
            raise DeadlineExceeded(f"no time is left for the call to {self._peer}: timeout={head.timeout:g} s")
        end = ClientEnd(head, self._options.message_limit)
        connection = _ClientConnection(end, self._connections.discard)
        try:
            async with asyncio.timeout(head.timeout):
                await self._connect(lambda: connection)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._peer} was not reached within {head.timeout} s") from error
        except OSError as error:
            raise Unavailable(f"nobody answers at {self._peer}: {error.strerror or error}") from error
        self._connections.add(connection)
        end.start()
        metadata = {name.lower(): value for name, value in head.metadata.items()}
        connection.on_frame(_packed(msgspec.structs.replace(head, metadata=metadata)))
        if request is not None:
            await end.end(request)
        return end

    async def aclose(self) -> None:
        self._is_closed = True
        for connection in list(self._connections):
            if connection.end is not None:
                connection.end.abort()
            connection.transport.abort()
        await asyncio.sleep(0)  # for the transports to close their sockets


class _ServerConnection(_Connection):
    """Answers the call that comes over it, and is closed by its client."""

    def __init__(self, site: FramedSite) -> None:
        super().__init__()
        self._site = site
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._site.connections.add(self)
        if len(self._site.connections) > CALLS or self._site.is_draining:
            self._reject()
        else:
            self._abort_in(HEAD_TIME)

    def connection_lost(self, exc: Exception | None) -> None:
        self._site.gone(self)
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_end(self, frame: bytes | None, outcome: Outcome) -> None:
        super().on_end(frame, outcome)
        self._is_deaf = True
        self._abort_in(LINGER)

    def _abort_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.transport.abort)

    def _take(self, kind: int, content: bytes) -> None:
        if self.end is not None:
            super()._take(kind, content)
            return
        try:
            head = msgspec.msgpack.decode(content, type=Head)
        except msgspec.MsgspecError:
            self._reject()
            return
        if self._timer is not None:
            self._timer.cancel()
        head.peer, head.identity = _name(self.transport.get_extra_info("peername")), ""  # not what the client says
        head.is_timed, head.is_named = TIMING in head.metadata, ID_HEADER in head.metadata
        head.is_keyed = IDEMPOTENCY_KEY in head.metadata
        self.end = end = ServerEnd(head, self._site.message_limit)
        end.peer = self
        end.task = self._site.begin(end)


def _name(peer: object) -> str:
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "")


class FramedSite:
    """A site as the protocol of connections: `loop.create_server(framed_site.connection, host, port)`."""

    def __init__(self, site: Site, message_limit: int) -> None:
        self.message_limit = message_limit
        self.connections: set[_ServerConnection] = set()
        self.is_draining = False
        self._site = site
        self._calls: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()

    def connection(self) -> asyncio.Protocol:
        return _ServerConnection(self)

    def begin(self, end: ServerEnd) -> asyncio.Task[None]:
        call = asyncio.get_running_loop().create_task(self._site.accept(end))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        call.add_done_callback(lambda _: end.abort())  # nothing happens where the site has ended it
        return call

    async def drain(self, grace: float) -> None:
        """Let calls under way finish for `grace` seconds, then cancel what is left."""
        self.is_draining = True
        until = asyncio.get_running_loop().time() + grace
        for connection in [connection for connection in self.connections if connection.end is None]:
            connection.transport.abort()  # no call has come over it
        if self._calls:
            await asyncio.wait(self._calls, timeout=grace)
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=STOP)
        await self._until_taken(until)
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # for the transports to close their sockets

    async def _until_taken(self, until: float) -> None:
        """Wait until the clients have closed their connections, as they do when they have the end of their call."""
        try:
            async with asyncio.timeout_at(until):
                while self.connections:
                    self._closed.clear()
                    await self._closed.wait()
        except TimeoutError:
            pass

    def gone(self, connection: _ServerConnection) -> None:
        self.connections.discard(connection)
        self._closed.set()


class FramedListener:
    """A server whose connections a framed site made. Implements `xooai.driver.Listener`."""

    def __init__(self, url: str, server: asyncio.Server, site: FramedSite) -> None:
        self.url = url
        self._server, self._site = server, site

    async def aclose(self, grace: float = 0) -> None:
        self._server.close()
        await self._site.drain(grace)
