"""The in-process channel of a call that streams: two bounded ways between two tasks of one loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from xooai.driver import MESSAGE_LIMIT, Head, Outcome
from xooai.errors import Code, Unavailable, XooaiError, error_from, too_large
from xooai.memory import MemoryChannel
from xooai.origin import NO_MARKS, Marks

__all__ = ["MemoryStream"]

FRAMES = 16  # under way in one direction: enough that neither side waits for each other's turn,
BYTES = 1024 * 1024  # and not more than this, unless it is one frame

_answering: set[asyncio.Task[None]] = set()
"""Loops hold their tasks weakly: two that only know each other would be collected while they wait."""


class _Way:
    """One direction. `put` waits while it is full, `get` while it is empty."""

    def __init__(self) -> None:
        self._frames: deque[tuple[bytes, Marks]] = deque()
        self._size = 0
        self._is_over = False
        self._error: BaseException | None = None
        self._waiting: list[asyncio.Future[None]] = []

    async def put(self, frame: bytes, marks: Marks) -> None:
        """What comes once nobody takes it any more is dropped. Raises the error that this way ended with; a frame that is too
        large ends it, as over a driver: whoever takes frames is told, behind those before it.
        """
        size = len(frame)
        if size > MESSAGE_LIMIT:
            self.over(too_large(size, MESSAGE_LIMIT, "the request"))  # of a reply it was looked at as it was given
            return
        while not self._is_over and self._frames and (len(self._frames) >= FRAMES or self._size + size > BYTES):
            await self._change()
        if not self._is_over:
            self._frames.append((frame, marks))
            self._size += size
            self._wake()
        elif self._error is not None:
            raise self._error
        else:
            await asyncio.sleep(0)  # who sends on and on lets others run

    async def get(self) -> tuple[bytes, Marks] | None:
        """None once it is over and empty. Raises the error that it ended with."""
        while not self._frames:
            if self._error is not None:
                raise self._error
            if self._is_over:
                return None
            await self._change()
        found = self._frames.popleft()
        self._size -= len(found[0])
        self._wake()
        return found

    def over(self, error: BaseException | None = None, drop: bool = False) -> None:
        """Nothing more comes; with `drop` what is under way is lost. The first error counts."""
        self._is_over = True
        self._error = self._error or error
        if drop:
            self._frames.clear()
            self._size = 0
        self._wake()

    async def _change(self) -> None:
        changed = asyncio.get_running_loop().create_future()
        self._waiting.append(changed)
        await changed

    def _wake(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for changed in waiting:
                if not changed.done():
                    changed.set_result(None)


class MemoryStream(MemoryChannel):
    """One end. `marks` are those of the frame that came last, `reply_marks` go with the next one that is sent."""

    def __init__(self, head: Head, into: _Way, out: _Way, caller: MemoryStream | None = None) -> None:
        super().__init__(head, b"")
        self._into = into
        self._out = out
        self._caller = caller
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def pair(cls, head: Head) -> tuple[MemoryStream, MemoryStream]:
        """The caller's end, and the other."""
        there, back = _Way(), _Way()
        caller = cls(head, back, there)
        return caller, cls(head, there, back, caller)

    def answered_by(self, answering: Coroutine[Any, Any, None]) -> None:
        """Run what stands at the other end; it is cancelled when this end leaves."""
        self._task = asyncio.create_task(answering)
        _answering.add(self._task)
        self._task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        _answering.discard(task)
        self._task = None
        cause = None if task.cancelled() else task.exception()
        if self.outcome is None:
            gone = Unavailable("the call ended without an answer")
            gone.__cause__ = cause
            self.fail(gone)

    async def receive(self) -> bytes | None:
        found = await self._into.get()
        if found is None:
            return None
        frame, self.marks = found
        return frame

    async def send(self, frame: bytes) -> None:
        marks, self.reply_marks = self.reply_marks, NO_MARKS
        await self._out.put(frame, marks)

    async def end(self, frame: bytes | None = None, outcome: Outcome | None = None) -> None:
        if self._caller is None:
            if frame is not None:
                await self.send(frame)
            self._out.over()
            return
        ended = outcome or Outcome()
        error: XooaiError | None = None
        if ended.code != Code.OK:
            error = error_from(ended.code, ended.message, ended.details, ended.id)
            error.remote = False
            error.__cause__ = self.cause
        elif frame is not None:
            await self.send(frame)
        self._caller.outcome = ended
        self._into.over(error, drop=True)  # what the caller still sends is for nobody
        self._out.over(error)

    def fail(self, error: BaseException) -> None:
        """End the call for both with this very error, what is under way first."""
        self._into.over(error)
        self._out.over(error)

    def abort(self) -> None:
        gone = Unavailable("the call was ended early")
        self._into.over(gone, drop=True)
        self._out.over(gone, drop=True)
        if self._task is not None:
            self._task.cancel()
