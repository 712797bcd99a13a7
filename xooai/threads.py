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

from xooai import forks
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
        self._loop = weakref.ref(loop)  # the loops are the keys of a weak dictionary, whose values must not hold them
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._woken = False

    def put(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        """Called in a worker thread."""
        self._done.append((future, result, error))
        if not self._woken:
            self._woken = True
            loop = self._loop()
            try:
                if loop is not None:
                    loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._woken = False
                self._done.clear()

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
        self._size, self._queue_limit = size, queue_limit
        self.renew()
        forks.renewed(self)

    def renew(self) -> None:
        """Begin without threads and without work: also in the child of a fork, where the threads are gone."""
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._state = _State(self._size)
        self._returns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Return] = weakref.WeakKeyDictionary()

    async def run(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Call `function(**arguments)` in a thread. What is cancelled before it began is never run. Raises ResourceExhausted."""
        queue = self._queue
        if queue.qsize() >= self._queue_limit:
            raise ResourceExhausted(
                f"{self._queue_limit:,} calls are waiting for a thread already; come back later", retry_after=1
            )
        loop = asyncio.get_running_loop()
        back = self._returns.get(loop)
        if back is None:
            back = self._returns[loop] = _Return(loop)
        future: asyncio.Future[Any] = loop.create_future()
        queue.put((back, future, contextvars.copy_context(), function, arguments))
        self._state.start_where_needed(queue)
        return await future

    def leave(self, function: Callable[[], None]) -> None:
        """Call a function that raises nothing in a thread; nobody waits for it. Never refused: it ends what was taken in."""
        loop = asyncio.get_running_loop()
        self._queue.put((_Return(loop), loop.create_future(), contextvars.copy_context(), function, {}))
        self._state.start_where_needed(self._queue)

    def close(self) -> None:
        """End the threads once they are done with what they are at; new work starts new ones."""
        if self._state.count:
            self._queue.put(None)  # one for all: each passes it on

    def join(self, timeout: float) -> None:
        """Wait for the threads to end, each at most `timeout` seconds: a handler that does not return cannot be ended."""
        for thread in self._state.running():
            thread.join(timeout)


class _State:
    """What the threads of one pool share.

    `idle` threads wait for work, or have just got some and not said so yet: hence each looks once more when it has.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self.idle = 0
        self.threads: set[Thread] = set()
        self._lock = Lock()

    def start_where_needed(self, queue: SimpleQueue[Work | None]) -> None:
        """Start a thread when nobody is there for what is in the queue."""
        if queue.qsize() > self.idle and self.count < self.size:
            self._start(queue)

    def _start(self, queue: SimpleQueue[Work | None]) -> None:
        with self._lock:
            if self.count >= self.size:
                return
            self.count += 1
            thread = Thread(target=_work, args=(self, queue), name="xooai-worker", daemon=True)
            self.threads.add(thread)
            thread.start()  # under the lock: who finds it in the set may join it

    def running(self) -> list[Thread]:
        with self._lock:
            return list(self.threads)

    def waits(self, by: int) -> None:
        with self._lock:
            self.idle += by

    def ended(self, thread: Thread) -> int:
        """Count a thread out; how many are left."""
        with self._lock:
            self.count -= 1
            self.threads.discard(thread)
            return self.count


def _next(state: _State, queue: SimpleQueue[Work | None]) -> Work | None:
    """The next piece of work; None to end. Raises Empty when none came for long."""
    try:
        return queue.get_nowait()
    except Empty:
        pass
    state.waits(1)
    try:
        return queue.get(timeout=IDLE)
    finally:
        state.waits(-1)
        state.start_where_needed(queue)


def _work(state: _State, queue: SimpleQueue[Work | None]) -> None:
    is_closing = False
    try:
        while (work := _next(state, queue)) is not None:
            _do(*work)
            del work  # nothing of a call outlives it here
        is_closing = True
    except Empty:
        pass
    if state.ended(current_thread()) and is_closing:
        queue.put(None)
    else:
        state.start_where_needed(queue)  # put just while this thread gave up waiting


def _do(
    back: _Return,
    future: asyncio.Future[Any],
    context: contextvars.Context,
    function: Callable[..., Any],
    arguments: dict[str, Any],
) -> None:
    if future.cancelled():
        return
    try:
        result = context.run(function, **arguments)
    except Exception as error:  # noqa: BLE001 - handed to the caller, who waits for it
        back.put(future, None, _raisable(error))
    except BaseException as error:  # noqa: BLE001 - as above: sys.exit() in a handler ends its call, not the server
        back.put(future, None, _failed(error))
    else:
        back.put(future, result, None)


def _raisable(error: Exception) -> Exception:
    return _failed(error) if isinstance(error, StopIteration) else error  # no future takes that one


def _failed(error: BaseException) -> RuntimeError:
    failure = RuntimeError(f"the handler raised {error!r}")
    failure.__cause__ = error
    return failure
