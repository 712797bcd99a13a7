"""A connection while a call streams on it: both ways at once, and bounded both ways."""

from __future__ import annotations

import asyncio
from typing import Protocol

from xooai.driver import Outcome
from xooai.errors import Unavailable, XooaiError
from xooai_http.connection import WHOLE, Connection, Holder
from xooai_http.stream_reader import StreamReader

__all__ = ["StreamCaller", "StreamConnection"]

LARGE = 64 * 1024  # bytes from which on parts are written one by one: to join them would cost more than some writes
TURNS = 3  # of the loop that a write waits for what came in to be read: both kinds of loop read it by the second


class StreamCaller(Holder, Protocol):
    """Whose call it is: told what comes, and when to go on."""

    def arrived(self, items: list[bytes], outcome: Outcome | None) -> None:
        """Items came, and with `outcome` the end of the call."""

    def is_full(self) -> bool:
        """Whether nothing more should come for now: `resume()` is called later."""

    def may_send(self) -> None:
        """`StreamConnection.is_full` is False again."""


class StreamConnection(asyncio.BufferedProtocol):
    """What a connection is lent to for one call. It goes back when both sides have ended well, else it is closed."""

    def __init__(self, connection: Connection, reader: StreamReader, caller: StreamCaller) -> None:
        self._connection = connection
        self._reader = reader
        self._caller = caller
        self._out: list[bytes | memoryview] = []
        self._unsent = 0  # bytes in it
        self._is_paused = False
        self._is_due = False  # to be sent with the next turn of the loop
        self._has_ended = False
        self.is_held = False
        """Whether nothing is read for now."""

    def begin(self, head: bytes) -> bool:
        """Send how the request begins. False says that the connection broke before its first byte."""
        return self._connection.lend(self._caller, self, head)

    # Out.

    @property
    def is_full(self) -> bool:
        """Whether whoever sends should wait for `may_send()`."""
        return self._is_paused or self._unsent >= WHOLE

    def write(self, data: bytes | memoryview) -> None:
        """Send with the next turn of the loop, in one write with all that comes until then."""
        self._out.append(data)
        self._unsent += len(data)
        if not self._is_due:
            self._is_due = True
            self._connection.loop.call_soon(self._flush, TURNS)

    def end(self, data: bytes = b"") -> None:
        """Send what the request ends with."""
        self._has_ended = True
        if data:
            self.write(data)

    def _flush(self, turns: int) -> None:
        """Writing to a connection that the server has closed would throw away the answer that waits in its socket:
        what there is to read is read before, unless nobody reads.
        """
        connection = self._connection
        if not connection.is_lent_to(self._caller):
            self._out.clear()
            return
        if turns and not self.is_held and connection.has_input():
            connection.loop.call_soon(self._flush, turns - 1)
            return
        out, self._out = self._out, []
        is_large = self._unsent > LARGE
        self._unsent, self._is_due = 0, False
        for data in out if is_large else (out[0] if len(out) == 1 else b"".join(out),):
            connection.transport.write(data)
        if not self._is_paused:
            self._caller.may_send()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if not self.is_full:
            self._caller.may_send()

    # In.

    def resume(self) -> None:
        """Read on."""
        self.is_held = False
        self._connection.transport.resume_reading()

    def fail(self, error: XooaiError) -> None:
        """Close at once, so that the server sees it, and end the call with `error`."""
        self._connection.fail(error)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._connection.get_buffer(sizehint)

    def buffer_updated(self, count: int) -> None:
        try:
            items = self._reader.take(self._connection.get_buffer(count)[:count])
        except XooaiError as error:
            self.fail(error)
            return
        self._took(items)

    def _took(self, items: list[bytes]) -> None:
        reader, outcome = self._reader, self._reader.outcome
        if reader.failure is not None:
            self._caller.arrived(items, None)
            self.fail(reader.failure)
            return
        if items or outcome is not None:
            self._caller.arrived(items, outcome)
        if outcome is None:
            if reader.is_whole:
                self.fail(
                    Unavailable(f"{self._connection.peer} ended the stream without its last frame: it is cut off")
                )
            elif self._caller.is_full():
                self.is_held = True
                self._connection.transport.pause_reading()
        elif not self._has_ended or self._unsent or self._connection.transport.get_write_buffer_size():
            self._connection.abort()  # what is left to send would be read as another request
        elif not reader.is_whole:
            self._connection.settle()
        elif reader.keep_alive:
            self._connection.give_back()
        else:
            self._connection.abort()

    def eof_received(self) -> None:
        self._took(self._reader.closed())
        self._connection.broken(None, self._reader.has_begun)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.broken(exc, self._reader.has_begun)
        self._connection.connection_lost(exc)
