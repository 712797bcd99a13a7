"""One end of a call as a state: frames in order, a window in each direction, an end, and a peer that may leave.

For drivers whose transport has none of these. What the peer tells comes in by the methods `on_...`, on the end's own loop; what
this end tells goes out by the same methods of `peer`, which the driver writes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from xooai.driver import Head, Outcome, Shape
from xooai.errors import Code, DeadlineExceeded, Unavailable, XooaiError, error_from, too_large

__all__ = ["COST", "WINDOW", "ClientEnd", "End", "Peer", "ServerEnd"]

WINDOW = 256 * 1024  # bytes on their way in one direction of a call: more than a loop takes in a turn
COST = 128  # bytes that holding a frame takes beside its content, so that empty ones are bounded too

_OK = Outcome()


class Peer(Protocol):
    """The other end, as far as this one can tell it something."""

    def on_frame(self, frame: bytes) -> None:
        """A frame comes."""

    def on_room(self, size: int) -> None:
        """So many bytes more may be sent."""

    def on_end(self, frame: bytes | None, outcome: Outcome) -> None:
        """That was all, or this frame is the last: whoever receives it finds the outcome."""

    def on_left(self) -> None:
        """Nothing more will come."""


class End:
    """One end of a call. Implements `xooai.driver.Channel`, and what a peer tells."""

    outcome: Outcome | None = None
    peer: Peer

    def __init__(self, head: Head, message_limit: int) -> None:
        self.head = head
        self.message_limit = message_limit
        self.held = 0
        """Bytes that have come and are not received."""
        self._inbox: deque[bytes] = deque()
        self._room = WINDOW  # what the peer is ready to take
        self._ended: Outcome | None = None  # how the peer ended; frames before it may still be in the inbox
        self._error: XooaiError | None = None  # why this end is cut off
        self._is_over = False  # nothing more is told
        self._waiting: set[asyncio.Future[None]] = set()

    async def receive(self) -> bytes | None:
        while not (self._inbox or self._ended or self._error):
            await self._change()
        if self._inbox:
            frame = self._inbox.popleft()
            self.held -= len(frame) + COST
            if self._ended is None and self._error is None:
                self.peer.on_room(len(frame) + COST)
            self._finish()
            return frame
        if self._error is not None:
            raise self._error
        self._finish()
        self._raise_outcome()
        return None

    async def send(self, frame: bytes) -> None:
        while self._room <= 0 and self._wanted():
            await self._change()
        if self._wanted():
            self._room -= len(frame) + COST
            self.peer.on_frame(frame)

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        self.peer.on_end(frame, outcome)  # without waiting for room: this frame is the last

    def abort(self) -> None:
        self._inbox.clear()
        self._leave(Unavailable(f"the call to {self.head.path} was given up"))

    # What the peer tells.

    def on_frame(self, frame: bytes) -> None:
        if len(frame) > self.message_limit:
            self.on_too_large(len(frame))
        elif self._error is None:
            self.held += len(frame) + COST
            self._inbox.append(frame)
            self._wake()

    def on_too_large(self, size: int) -> None:
        """A frame is announced that is larger than allowed."""
        self._fail(too_large(size, self.message_limit, "the frame"))

    def on_room(self, size: int) -> None:
        self._room += size
        self._wake()

    def on_end(self, frame: bytes | None, outcome: Outcome) -> None:
        if self._error is not None:  # what cut this end off is how the call has ended
            return
        self._ended = outcome
        if frame is not None:
            self.on_frame(frame)
        self._wake()

    def on_left(self) -> None:
        self._is_over = True
        self._fail(Unavailable(f"the peer left before the call to {self.head.path} had ended"))

    # How this end works.

    def _wanted(self) -> bool:
        """Whether the peer still takes frames. Raises where this end is cut off."""
        if self._error is not None:
            raise self._error
        return True

    def _finish(self) -> None:
        if not self._inbox and self._error is None:
            self.outcome = self._ended

    def _raise_outcome(self) -> None:
        ended = self._ended
        if ended is not None and ended.code != Code.OK:
            raise error_from(ended.code, ended.message, ended.details, ended.id)

    def _fail(self, error: XooaiError) -> None:
        """Cut this end off; what came before is received first."""
        self._error = self._error or error
        self._wake()

    def _leave(self, error: XooaiError) -> None:
        """Cut this end off, and tell the peer; nothing happens where the call is over."""
        if not self._is_over:
            self._is_over = True
            self._fail(error)
            self.peer.on_left()

    async def _change(self) -> None:
        """Wait until the peer has told something."""
        change = asyncio.get_running_loop().create_future()
        self._waiting.add(change)
        try:
            await change
        finally:
            self._waiting.discard(change)

    def _wake(self) -> None:
        for change in self._waiting:
            if not change.done():
                change.set_result(None)


class ClientEnd(End):
    """Over when the server has ended, or its time has."""

    _timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to count the time that the call may take."""
        timeout = self.head.timeout
        if timeout is not None:
            late = DeadlineExceeded(f"the time allowed for the call ({timeout:.3g} s) has passed")
            self._timer = asyncio.get_running_loop().call_later(timeout, self._leave, late)

    def on_too_large(self, size: int) -> None:
        self._leave(too_large(size, self.message_limit, "the frame"))

    def on_end(self, frame: bytes | None, outcome: Outcome) -> None:
        super().on_end(frame, outcome)
        self._stop_timer()  # a reader may take its time

    def on_left(self) -> None:
        if self._ended is None:
            super().on_left()

    def _wanted(self) -> bool:
        self._raise_outcome()
        return super()._wanted() and self._ended is None  # answered early: the rest is not wanted

    def _finish(self) -> None:
        super()._finish()
        self._is_over = self._is_over or self.outcome is not None

    def _fail(self, error: XooaiError) -> None:
        super()._fail(error)
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def _change(self) -> None:
        try:
            await super()._change()
        except asyncio.CancelledError:
            if (
                self.head.shape == Shape.UNARY
            ):  # nobody waits for its reply again; a stream is aborted by who gives it up
                self.abort()
            raise


class ServerEnd(End):
    """Over when the site has ended it. `task` answers the call, and is cancelled when the client leaves."""

    task: asyncio.Task[None] | None = None

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        await super().end(frame, outcome)  # where this raises, the call is still open for another outcome
        self._is_over = True

    def on_left(self) -> None:
        if not self._is_over:
            self._inbox.clear()
            super().on_left()
            if self.task is not None:
                self.task.cancel()

    def _finish(self) -> None:
        """The outcome is the client's to know: its end says only that it has sent all."""
