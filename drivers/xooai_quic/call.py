"""A call of a client on its stream: a Channel of any shape."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from xooai.driver import Head, Outcome, Shape
from xooai.errors import (
    Code,
    DeadlineExceeded,
    FailedPrecondition,
    ResourceExhausted,
    Unavailable,
    XooaiError,
    error_from,
)
from xooai.stream_head import Codecs
from xooai.wire import END, ITEM
from xooai.wire import frame as framed
from xooai_quic.connection import CANCELLED, MALFORMED, NO_ERROR, REJECTED
from xooai_quic.reply import Reply
from xooai_quic.stream import Headers, Stream, wake

if TYPE_CHECKING:
    from xooai_quic.dialling import ClientConnection

__all__ = ["QuicCall"]

_OK = Outcome()
_LAST = framed(END, b"")
_SLICE = 32 * 1024  # bytes read at once: there may be thousands of tiny items in them, each an object


class QuicCall(Stream):
    """One call. One task may send while another receives."""

    outcome: Outcome | None = None
    connection: ClientConnection

    def __init__(self, head: Head, connection: ClientConnection, stream_id: int, limit: int, codecs: Codecs) -> None:
        super().__init__(connection, stream_id)
        self.head = head
        self._limit = limit
        self._codecs = codecs
        self._reply: Reply | None = None
        self._items: deque[bytes] = deque()
        self._end: Outcome | None = None  # how the server ended it; items may still be there
        self._error: XooaiError | None = None
        self._has_ended = not head.shape & Shape.CLIENT
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, headers: Headers, deadline: float | None) -> None:
        """Send how the request starts. It ends at `deadline`, in the loop's time."""
        self.write_head(headers)
        if deadline is not None:
            late = DeadlineExceeded(f"the time allowed for the call ({self.head.timeout:.3g} s) has passed")
            self._timer = self.connection.loop.call_at(deadline, self._end_by, late)

    # What the connection tells.

    def on_head(self, headers: Headers, ended: bool) -> None:
        if self._reply is None and not dict(headers).get(b":status", b"200").startswith(b"1"):
            try:
                self._reply = Reply(headers, self._codecs, self._limit)
            except (XooaiError, ValueError, KeyError) as error:
                self._fail(error if isinstance(error, XooaiError) else Unavailable("the server sent a broken head"))
                return
        if ended:
            self.on_data(b"", True)

    def on_left(self, code: int, is_reset: bool) -> None:
        if is_reset:
            self._end_by(self._given_up(code))
            return
        self.is_unwanted = True  # answered early: the rest is not wanted
        if code not in (NO_ERROR, CANCELLED) and not self.is_whole:
            self._fail(self._given_up(code))
        wake(self._room)

    def _given_up(self, code: int) -> Unavailable:
        if code == REJECTED:
            self.connection.is_leaving = True
            refused = Unavailable(f"{self.connection.peer} takes no further calls; this one was not begun")
            refused.never_ran = True
            return refused
        return self._broken(f"{self.connection.peer} left before the call to {self.head.path} had ended")

    def _broken(self, message: str) -> Unavailable:
        error = Unavailable(message)
        error._has_answer = self._reply is not None
        return error

    def on_malformed(self, reason: str) -> None:
        self._fail(Unavailable(f"{self.connection.peer} sent an answer that is none of HTTP: {reason}"), MALFORMED)

    def on_lost(self, reason: str) -> None:
        peer = self.connection.peer
        self._end_by(self._broken(f"the connection to {peer} ended during the call to {self.head.path}: {reason}"))

    def on_flood(self) -> None:
        kept = self.connection.limits.flood
        self._fail(ResourceExhausted(f"more than {kept:,} bytes of the answer came, and were not read", reason="load"))

    # Receiving

    async def receive(self) -> bytes | None:
        """Return the next frame of the reply, None behind the last one. May be cancelled and called again."""
        while not self._items:
            if self._end is not None:
                self.outcome = self._end
                self._raise()
                return None
            if self._error is not None:
                raise self._error
            if not self._advance():
                await self._wait()
        item = self._items.popleft()
        if not self.head.shape & Shape.SERVER:
            self.outcome = self._end
        return item

    def _advance(self) -> bool:
        """Read on in what has come; False where nothing has."""
        reply = self._reply
        try:
            if self._parts and reply is not None:
                self._items.extend(reply.take(self.take(_SLICE)))
            elif self.is_whole:
                if reply is None:
                    raise Unavailable(f"{self.connection.peer} ended its answer before the head of it")
                self._items += reply.end()
            else:
                return False
        except XooaiError as error:
            self._fail(error)
            return True
        if reply.outcome is not None:
            self._end = reply.outcome
            self._leave(None if self._has_ended or self.is_unwanted else CANCELLED)
        return True

    async def _wait(self) -> None:
        try:
            await self.more()
        except BaseException:
            if (
                self.head.shape == Shape.UNARY
            ):  # nobody waits for its reply again; a stream is aborted by who gives it up
                self.abort()
            raise

    # Sending

    async def send(self, frame: bytes) -> None:
        """Send a frame; wait while there is no room. Once the server has ended well, what is sent goes nowhere."""
        if self._has_ended:
            raise FailedPrecondition("this side of the call has ended: no frame can follow the end of the request")
        if self.is_over or self.is_unwanted:
            self._raise()
            await asyncio.sleep(0)  # or a source without an end would hold the loop
            return
        await self._write_whole(framed(ITEM, frame))

    async def _write_whole(self, data: bytes) -> None:
        before = self.written
        try:
            await self.write(data, False)
        except BaseException:  # cancelled: behind a part of a frame, what follows would be nonsense
            if self.written != before:
                self.abort()
            raise
        self._raise()

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        """End the request, with a last frame where there is one; the second time nothing is left to do."""
        if frame is not None:
            await self.send(frame)
        if not self._has_ended:
            self._has_ended = True
            self._write(_LAST, True)
            self._raise()

    # Ending

    def abort(self) -> None:
        """End the call, and drop what came and was not received. Changes nothing once the end was received."""
        if self.outcome is None and self._error is None:
            self._end = None
            self._items.clear()
            self._fail(Unavailable(f"the call to {self.head.path} was given up"))

    def _raise(self) -> None:
        """Raise what the call ended with, if that is an error."""
        if self._error is None and self._end is not None and self._end.code != Code.OK:
            end = self._end
            self._error = error_from(end.code, end.message, end.details, end.id)
        if self._error is not None:
            raise self._error

    def _fail(self, error: XooaiError, code: int = CANCELLED) -> None:
        if self._end is None and self._error is None:
            self._error = error
        self._leave(code)

    def _end_by(self, error: XooaiError) -> None:
        """End by an error, behind what has come, which is kept for who reads later; nothing happens where that is all."""
        while not self.is_over and self._advance():
            pass
        self._fail(error)

    def _leave(self, code: int | None) -> None:
        if self.is_over:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.finish()
        self.connection.drop(self, reset=code, stop=None if self.is_whole else code or CANCELLED)
        self.connection.freed()
