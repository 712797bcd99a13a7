"""Worker threads for `def` handlers: one queue, and one wake-up of the loop for many results.

A ThreadPoolExecutor costs a lock, a condition and a wake-up of the loop for each call: less than half as many calls a second.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import weakref
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread
from typing import Any

from xooai.errors import ResourceExhausted

__all__ = ["Threads"]

SIZE = min(32, (os.cpu_count() or 1) + 4)  # as the standard library's own pool: models that release the lock overlap
QUEUE_LIMIT = 1024  # calls waiting for a thread; one more is refused, so that memory and waiting stay bounded
IDLE = 5.0  # seconds after which a thread without work ends

Work = tuple["_Return", "asyncio.Future[Any]", contextvars.Context, Callable[..., Any], dict[str, Any]]


class _Return:
    """The way back to one loop: results gather while it has not woken up yet."""

    __slots__ = ("_done", "_loop", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._woken = False

    def put(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        """Called in a worker thread."""
        self._done.append((future, result, error))
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

    def _deliver(self) -> None:
        self._woken = False  # before looking: what is put from here on wakes the loop again
        while self._done:
            future, result, error = self._done.popleft()
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


class Threads:
    """A bounded pool of daemon threads, started as calls come and ended when idle or closed."""

    def __init__(self, size: int = SIZE, queue_limit: int = QUEUE_LIMIT) -> None:
        self._size = size
        self._queue_limit = queue_limit
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._state = _State()
        self._returns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Return] = weakref.WeakKeyDictionary()

    async def run(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Call `function(**arguments)` in a thread. What is cancelled before it began is never run. Raises ResourceExhausted."""
        if self._queue.qsize() >= self._queue_limit:
            raise ResourceExhausted(f"{self._queue_limit:,} calls are waiting for a thread already; come back later", retry_after=1)
        loop = asyncio.get_running_loop()
        back = self._returns.get(loop)
        if back is None:
            back = self._returns[loop] = _Return(loop)
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.put((back, future, contextvars.copy_context(), function, arguments))
        state = self._state
        if not state.idle and state.count < self._size:
            state.start(self._queue)
        return await future

    def close(self) -> None:
        """End the threads once they are done with what they are at; new work starts new ones."""
        for _ in range(self._state.count):
            self._queue.put(None)

    def join(self, timeout: float) -> None:
        """Wait for the threads to end, each at most `timeout` seconds: a handler that does not return cannot be ended."""
        for thread in list(self._state.threads):
            thread.join(timeout)


class _State:
    """What the threads of one pool share."""

    def __init__(self) -> None:
        self.count = 0
        self.idle = 0
        self.threads: set[Thread] = set()
        self._lock = Lock()

    def start(self, queue: SimpleQueue[Work | None]) -> None:
        with self._lock:
            self.count += 1
            thread = Thread(target=_work, args=(self, queue), name="xooai-worker", daemon=True)
            self.threads.add(thread)
        thread.start()

    def ended(self, thread: Thread) -> None:
        with self._lock:
            self.count -= 1
            self.threads.discard(thread)


def _next(state: _State, queue: SimpleQueue[Work | None]) -> Work | None:
    try:
        return queue.get_nowait()
    except Empty:
        pass
    state.idle += 1
    try:
        return queue.get(timeout=IDLE)
    except Empty:
        return None
    finally:
        state.idle -= 1


def _work(state: _State, queue: SimpleQueue[Work | None]) -> None:
    while (work := _next(state, queue)) is not None:
        back, future, context, function, arguments = work
        if future.cancelled():
            continue
        try:
            back.put(future, context.run(function, **arguments), None)
        except BaseException as error:  # noqa: BLE001 - handed to the caller, who waits for it
            back.put(future, None, error)
        del work, back, future, context, function, arguments  # nothing of a call outlives it here
    state.ended(current_thread())
    if queue.qsize():  # put just while this thread gave up waiting
        state.start(queue)
