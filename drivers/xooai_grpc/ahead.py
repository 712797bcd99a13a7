"""What comes shortly before a call's time is over, kept for who reads it later: gRPC forgets it with the call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from xooai_grpc.going import Going

__all__ = ["EARLY", "Ahead"]

EARLY = 0.25  # seconds before the end of a call's time: more than a loop is late that is not held up
BYTES = 256 * 1024  # of messages that wait here, as other drivers keep them; one more may be larger
COST = 128  # bytes that holding a message takes beside its content, so that empty ones are bounded too


class Ahead:
    """Reads messages until the end or an error, as far as there is room. A task does it, which `stop` ends.

    Made in the last `EARLY` seconds of a call, it waits for room until the call's time is over.
    """

    def __init__(self, read: Callable[[], Awaitable[Any]], begun: Going | None) -> None:
        """`begun` is a read that nobody waits for any more."""
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._last: Any = None
        """What came behind the messages: grpc.aio's EOF, or what was raised."""
        self._changed: asyncio.Future[None] | None = None
        loop = asyncio.get_running_loop()
        self._over = loop.time() + 2 * EARLY
        """When gRPC has ended the call, in the loop's time: from then on `read` gives no message."""
        self._task = loop.create_task(self._run(read, begun))

    @property
    def has_messages(self) -> bool:
        return bool(self._messages)

    async def end(self) -> Any:
        """The next message, then what `read` ended with: EOF, or its error, once. May be cancelled and called again."""
        while not self._messages and self._last is None:
            await self._change()
        if self._messages:
            message = self._messages.popleft()
            self._size -= len(message) + COST
            self._wake()
            return message
        if isinstance(self._last, BaseException):
            raise self._last
        return self._last

    def stop(self) -> None:
        """Read no more; what is here stays."""
        self._task.cancel()
        if self._last is None:  # also of a task that has not begun, and never will
            self._last = asyncio.CancelledError()
            self._wake()

    def clear(self) -> None:
        """What is here is for nobody."""
        self._messages.clear()

    async def _run(self, read: Callable[[], Awaitable[Any]], begun: Going | None) -> None:
        try:
            while True:
                message = await (read() if begun is None else begun.end())
                begun = None
                if message is grpc.aio.EOF:
                    self._last = message
                    break
                self._messages.append(message)
                self._size += len(message) + COST
                self._wake()
                if self._size > BYTES:
                    await self._room()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised to who reads
            self._last = error.with_traceback(None)  # which would hold the call
        self._wake()

    async def _room(self) -> None:
        """Wait for room, for as long as gRPC keeps what comes. Then nobody may be left who would make it."""
        try:
            async with asyncio.timeout_at(self._over):
                while self._size > BYTES:
                    await self._change()
        except TimeoutError:
            pass

    async def _change(self) -> None:
        """Wait for the other side: only one of the two ever has to."""
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
