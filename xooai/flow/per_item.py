"""A node that is called for each item of a stream: some at a time, the replies in the order of the items."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from xooai.errors import Unavailable
from xooai.flow.failure import Before
from xooai.flow.streaming import LEFT_OUT, Patience, Source

__all__ = ["AHEAD", "per_item"]

AHEAD = 16  # calls of one node at a time, and replies that nobody took yet: as many items as a stream has under way

Call = Callable[[Any], Awaitable[Any]]


async def per_item(call: Call, source: Source, ahead: int = AHEAD) -> AsyncGenerator[Any, None]:
    """The replies to the items of `source`, but those that are left out; at most `ahead` of them are under way.

    Raises what a call raised, behind those before it.
    """
    calls = _Calls(call, source, ahead)
    calls.start()
    try:
        while (coming := await calls.next()) is not None:
            calls.patience.begin()
            reply, error = await coming
            calls.patience.end()
            if error is not None:
                raise error
            if reply is not LEFT_OUT:
                yield reply
    finally:
        await calls.end()


_Reply = asyncio.Future[tuple[Any, Exception | None]]


class _Calls:
    """The calls for the items that nobody took the replies of yet."""

    def __init__(self, call: Call, source: Source, ahead: int) -> None:
        self._call, self._source = call, source
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(ahead)
        self._coming: deque[_Reply] = deque()
        self._head: _Reply | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._change = asyncio.Event()
        self._is_over = False
        self.patience = Patience()

    def start(self) -> None:
        self._begin(self._read())

    async def next(self) -> _Reply | None:
        """The reply whose turn it is; None once there are no more."""
        if self._head is not None:
            self._room.release()
        while not self._coming:
            if self._is_over:
                return None
            self._change.clear()
            await self._change.wait()
        self._head = self._coming.popleft()
        return self._head

    async def end(self) -> None:
        """Cancel what goes on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _read(self) -> None:
        """Call the node for each item of the source."""
        try:
            async with aclosing(self._source.items()) as items:
                await self._room.acquire()
                async for item in items:
                    self._begin(self._answer(item, self._added()))
                    await self._room.acquire()
        except Exception as error:  # noqa: BLE001 - handed to who takes the replies
            before = error if self._source.failure is None else Before(self._source.failure)
            self._fail(self._added(), before)
        finally:
            self._is_over = True
            self._change.set()

    async def _answer(self, item: Any, reply: _Reply) -> None:
        try:
            found = await self._call(item)
            if not reply.done():
                reply.set_result((found, None))
        except Exception as error:  # noqa: BLE001 - handed to who takes the replies
            self._fail(reply, error)
        finally:
            if not reply.done():
                reply.set_result((LEFT_OUT, Unavailable("the call was cancelled")))

    def _fail(self, reply: _Reply, error: Exception) -> None:
        if not reply.done():
            reply.set_result((LEFT_OUT, error))
        self.patience.fail(lambda: self._give_up(error))

    def _give_up(self, error: Exception) -> None:
        """The reply that is waited for takes too long, and another has failed."""
        if self._head is not None and not self._head.done():
            self._head.set_result((LEFT_OUT, error))

    def _added(self) -> _Reply:
        reply: _Reply = self._loop.create_future()
        self._coming.append(reply)
        self._change.set()
        return reply

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
