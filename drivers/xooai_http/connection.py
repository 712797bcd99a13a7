"""One connection of the client: a request out and its response in, one after another."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Protocol, cast

from xooai.driver import Head, Outcome
from xooai.errors import DeadlineExceeded, Unavailable, XooaiError
from xooai_http import here
from xooai_http.response_reader import Response, ResponseReader

__all__ = ["PIECE", "WHOLE", "Caller", "Connection", "Holder", "Owner"]

WHOLE = 64 * 1024  # bytes of a body that are copied behind the head, so that both go out in one write
PIECE = 256 * 1024  # bytes of a larger body between two looks at what came in: about what a socket takes at once
SETTLED = 1.0  # seconds for the rest of a response whose meaning is known: it is on its way, or the server has trouble

# A peer that vanished (cable, suspended machine) is noticed after 30 + 2 × 5 seconds of silence, and as soon when it
# does not acknowledge what was sent. Which of these there are depends on the platform.
KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 40_000}

_AT_ONCE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # for SO_LINGER: on, and no seconds


class Holder(Protocol):
    """Whose call a connection serves."""

    head: Head

    def failed(self, error: XooaiError) -> None:
        """The call ends with `error`."""


class Caller(Holder, Protocol):
    """Who waits for a response; told once, by one of the two."""

    def answered(self, response: Response, known: Outcome | None) -> None:
        """`known` is what the response means, where that is known already."""


class Owner(Protocol):
    """Who keeps a connection between calls."""

    def release(self, connection: Connection) -> None:
        """The connection is free for another call."""

    def watch(self, connection: Connection, deadline: float) -> None:
        """Expire the connection at `deadline`, in the loop's time."""

    def lost(self, connection: Connection) -> None:
        """The connection is closed."""


class Connection(asyncio.BufferedProtocol):
    """A connection to `peer`, as errors name it. What comes in passes through `buffer`, which many may share."""

    __slots__ = (
        "_address", "_buffer", "_caller", "_holder", "_is_paused", "_owner", "_poll", "_reader", "_unsent",
        "deadline", "idle_since", "loop", "peer", "transport",
    )  # fmt: skip

    deadline: float
    """When the call under way has to be over, in the loop's time; set by the owner."""
    loop: asyncio.AbstractEventLoop
    """The loop on which it was made."""
    peer: str
    """The server, as errors name it."""
    transport: asyncio.Transport
    idle_since: float
    """Since when nobody uses it, in the loop's time; set by the owner."""

    def __init__(self, owner: Owner, peer: str, reader: ResponseReader, buffer: memoryview) -> None:
        self._owner = owner
        self.peer = peer
        self._reader = reader
        self._buffer = buffer
        self._caller: Caller | None = None
        self._holder: Holder | None = None
        self._unsent: memoryview | None = None
        self._is_paused = False
        self.deadline = self.idle_since = inf

    def rest(self) -> None:
        """The owner has no use for it now."""
        self.idle_since = self.loop.time()
        here.idle(self._address)

    def wake(self) -> bool:
        """Whether the owner may use it again: a listener of this process that ends may have begun to close it."""
        self.idle_since = inf
        return here.claimed(self._address)

    def is_usable(self) -> bool:
        """Whether a request can be sent: open at this moment, and nothing came in that nobody asked for.

        Asks the socket itself: what the loop has not yet seen counts, and a request to a peer that has just closed is
        lost for good, because nobody knows whether it ran.
        """
        return not (self.transport.is_closing() or self._poll(0))

    def send(self, caller: Caller, head: bytes, body: bytes) -> bool:
        """Send a request, and tell `caller` how it ends. False says that the connection broke before its first byte."""
        transport = self.transport
        if len(body) <= WHOLE:
            transport.write(head + body)
        else:
            transport.write(head + body[:WHOLE])
            self._unsent = memoryview(body)[WHOLE:]
        if transport.is_closing():  # asyncio sends there and then, and closes when that fails
            self._unsent = None
            return False
        self._caller = caller
        if self._unsent is not None:
            self._send_more()
        return True

    def _send_more(self) -> None:
        """Send what the socket takes of a large body; resume_writing() goes on, so that no task is needed.

        A server that refuses the body answers and closes. Writing to a closed connection would throw away the answer
        that waits in its socket: hence never a write while there is something to read.
        """
        while self._unsent is not None and not self._is_paused and not self.transport.is_closing():
            if self._poll(0):
                self.loop.call_soon(self._send_more)
                return
            piece, rest = self._unsent[:PIECE], self._unsent[PIECE:]
            self._unsent = rest or None
            self.transport.write(piece)

    def lend(self, holder: Holder, stream: asyncio.BufferedProtocol, start: bytes) -> bool:
        """Send the start of a request, and leave the rest of the call to `stream`. It ends with `give_back()`, `abort()`
        or `fail()`. False says that the connection broke before its first byte.
        """
        self.transport.write(start)
        if self.transport.is_closing():
            return False
        self._holder = holder
        self.transport.set_protocol(stream)
        if self._is_paused:
            self._is_paused = False
            stream.pause_writing()
        return True

    def is_lent_to(self, holder: Holder) -> bool:
        return self._holder is holder

    def has_input(self) -> bool:
        """Whether there is something to read, which the loop may not have seen."""
        return bool(self._poll(0))

    def settle(self) -> None:
        """The call that has it is over, but for what its response ends with."""
        self._owner.watch(self, min(self.deadline, self.loop.time() + SETTLED))

    def give_back(self) -> None:
        """The call that has it is over, and nothing of it is left on the way."""
        self._holder = None
        self.transport.set_protocol(self)
        self._owner.release(self)

    def abort(self) -> None:
        """Close at once. The call under way is not told: whoever calls this ends it."""
        self._caller = self._holder = self._unsent = None
        self.transport.abort()

    def _reset(self) -> None:
        """Let the close be a reset (socket(7)): what is sent of a stream and not taken would keep an end back for as long as
        the server takes nothing, which would not see that its client has left.
        """
        used = self.transport.get_extra_info("socket")  # uvloop has none where it is closed
        if used is not None:
            with suppress(OSError):  # closed already
                used.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)

    def fail(self, error: XooaiError) -> None:
        """Close at once and end the call under way with `error`."""
        caller = self._caller or self._holder
        if self._holder is not None:
            self._reset()
        self.abort()
        if caller is not None:
            caller.failed(error)

    def expire(self) -> None:
        """The time of the call under way is over: close, so that the server sees the client leave."""
        caller = self._caller or self._holder
        if caller is not None:  # without a timeout it is over, and only its connection did not settle
            self.fail(DeadlineExceeded(f"no answer from {self.peer} within {caller.head.timeout or 0:.3g} s"))

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.loop = asyncio.get_running_loop()
        host, port = (self.transport.get_extra_info("sockname") or ("", 0))[:2]  # None where it is broken already
        self._address = (host, port)
        connected = self.transport.get_extra_info("socket")
        with suppress(OSError):  # one that is broken already says so when it is used
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEP_ALIVE.items():
                if hasattr(socket, name):
                    connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._poll = _question(connected)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        caller = self._caller
        if caller is None:  # nobody asked: what follows must not be taken for the next call's response
            self.transport.abort()
            return
        try:
            response = self._reader.feed(self._buffer[:count])
        except XooaiError as error:
            self.fail(error)
            return
        if response is not None:
            self._answer(caller, response)

    def _answer(self, caller: Caller, response: Response) -> None:
        if self._reader.keep_alive and self._unsent is None:
            self._caller = None
            self._owner.release(self)
        else:  # also when the answer came before the whole request was sent: the rest would be read as another one
            self.abort()
        caller.answered(response, self._reader.known)

    def eof_received(self) -> None:
        caller = self._caller
        response = self._reader.end() if caller is not None else None
        if caller is None or response is None:
            self.broken(None, self._reader.has_begun)
        else:
            self.abort()
            caller.answered(response, None)

    def connection_lost(self, exc: Exception | None) -> None:
        here.claimed(self._address)
        self.broken(exc, self._reader.has_begun)
        self._owner.lost(self)

    def broken(self, cause: Exception | None, has_begun: bool) -> None:
        """The server has closed it, before or after its answer has begun."""
        when = "in the middle of its answer" if has_begun else "before it answered; the call may have run"
        reason = f" ({cause})" if cause else ""
        error = Unavailable(f"{self.peer} closed the connection {when}{reason}")
        error._has_answer = has_begun
        self.fail(error)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._unsent is not None:  # not at once: asyncio closes twice over when a write from here fails
            self.loop.call_soon(self._send_more)


def _question(connected: socket.socket) -> Callable[[int], object]:
    """Whether there is something to read now: asked of the system, cheap enough for every call (0.3 µs)."""
    if sys.platform == "win32":  # which has no poll
        return lambda timeout: select.select((connected,), (), (), timeout)[0]
    poll = select.poll()
    poll.register(connected.fileno(), select.POLLIN)
    return poll.poll
