"""Between blocking iterators and the loop: items that are made in worker threads, and items that are waited for in them."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from threading import Lock
from time import monotonic
from typing import Any

from xooai.errors import Unavailable
from xooai.threads import Threads

__all__ = ["Steps", "Taken"]

AHEAD = (
    16  # items that are made before anybody takes them: a change of threads costs as much as hundreds of small ones,
)
HOP = 0.0005  # and seconds after which no more are begun: what takes long, or is large, is made one by one

_log = logging.getLogger("xooai")
_END: Any = object()


class Steps:
    """What a blocking iterable gives, made in worker threads; one is held only while it works.

    All of it runs in one context, as it would in one thread: a variable that it sets is still set at the next step.
    """

    def __init__(self, start: Callable[[], Iterable[Any]], threads: Threads, ahead: int = AHEAD) -> None:
        self._start = start
        self._threads = threads
        self._ahead = ahead
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._made: deque[Any] = deque()
        self._iterator: Iterator[Any] | None = None
        self._hop: asyncio.Future[bool] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_over = False
        self._lock = Lock()  # around the next two
        self._is_busy = False
        self._is_closed = False

    def __aiter__(self) -> Steps:
        return self

    async def __anext__(self) -> Any:
        while not self._made:
            self._look()
            if self._is_over:
                raise StopAsyncIteration
            self._begin()
            assert self._hop is not None
            waiter = self._waiter = self._loop.create_future()
            if not self._made and not self._hop.done():  # what came before the waiter was there wakes nobody
                await waiter
        return self._made.popleft()

    def now(self, default: Any) -> Any:
        """The next item where it is made already, else the default. The next ones are begun before the last is taken."""
        if len(self._made) <= self._ahead // 2 and not self._is_over:
            self._begin()
        return self._made.popleft() if self._made else default

    def _begin(self) -> None:
        """Have more items made, unless some are being made, or `_look` has to tell how that ended."""
        hop = self._hop
        if hop is None or (hop.done() and not hop.cancelled() and hop.exception() is None and not hop.result()):
            self._hop = asyncio.ensure_future(self._threads.run(self._work, {}))
            self._hop.add_done_callback(self._hopped)

    def _look(self) -> None:
        """See how the last hop ended. Raises what the iterator raised."""
        hop = self._hop
        if hop is not None and hop.done():
            self._hop = None
            self._is_over = True
            try:
                self._is_over = hop.result()
            except StopAsyncIteration as error:  # it would pass for the end
                raise RuntimeError("an iterator in a thread raised StopAsyncIteration") from error

    def _hopped(self, hop: asyncio.Future[bool]) -> None:
        if not hop.cancelled():
            hop.exception()  # seen: where nobody waits any more, nobody asks
        if self._waiter is not None:
            _wake(self._waiter)

    def _work(self) -> bool:
        """Make items for a while; whether there are no more."""
        with self._lock:
            if self._is_closed:
                return True
            self._is_busy = True
        try:
            return self._context.run(self._make)
        finally:
            with self._lock:
                self._is_busy = False
                is_left = self._is_closed
            if is_left:
                self._close()

    def _make(self) -> bool:
        if self._iterator is None:
            self._iterator = iter(self._start())
        until = monotonic() + HOP
        for _ in range(self._ahead):
            item = next(self._iterator, _END)
            if item is _END:
                return True
            self._made.append(item)
            waiter, self._waiter = self._waiter, None
            if waiter is not None:
                self._tell(waiter)
            if self._is_closed or monotonic() >= until:
                break
        return False

    def _tell(self, waiter: asyncio.Future[None]) -> None:
        try:
            self._loop.call_soon_threadsafe(_wake, waiter)
        except RuntimeError:  # the loop is closed: nobody takes any more
            self._is_closed = True

    async def aclose(self) -> None:
        """Close what is a generator, once its step has ended; nobody waits for that."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            is_idle = not self._is_busy and self._iterator is not None
        if self._hop is not None:
            self._hop.cancel()
        if is_idle and not was_closed and not self._is_over:
            self._threads.leave(self._close)

    def _close(self) -> None:
        if inspect.isgenerator(self._iterator):  # the others are not ours to close: a file, say
            try:
                self._context.run(self._iterator.close)
            except Exception:  # noqa: BLE001 - the call is over: the log is told
                _log.exception("a generator failed while it was closed")


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Taken:
    """The items of an async iterator, for a worker thread. Once `close` was called there are none, and that is no end."""

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self._items = items
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._is_closed = False

    def __iter__(self) -> Taken:
        return self

    def __next__(self) -> Any:
        if self._is_closed:
            raise _left()
        coming = self._next()
        try:
            waiting = asyncio.run_coroutine_threadsafe(coming, self._loop)
        except RuntimeError:  # the loop is closed
            coming.close()
            raise _left() from None
        try:
            item = waiting.result()
        except CancelledError:
            raise _left() from None
        if item is _END:
            raise StopIteration
        return item

    async def _next(self) -> Any:
        # All that is said of waiting is said on the loop: a thread that just began to wait is not overlooked.
        if self._is_closed:
            raise _left()
        self._task = asyncio.current_task()
        return await anext(self._items, _END)

    def close(self) -> None:
        """The call is over: whoever waits in a thread waits no more."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()


def _left() -> Unavailable:
    return Unavailable("the call is over; what was still to come of its stream is lost")
