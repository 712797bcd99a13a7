"""Worker threads for `def` handlers: woken without holding the interpreter's lock, and one wake-up of the loop for many results.

A ThreadPoolExecutor costs a lock, a condition and a wake-up of the loop for each call: less than half as many calls a second.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock, Thread, current_thread, get_ident
from typing import Any

from xooai import forks, sync
from xooai.bell import Bell, make
from xooai.errors import ResourceExhausted
from xooai.tally import queue

__all__ = ["Offer", "Threads"]

SIZE = min(32, (os.cpu_count() or 1) + 4)  # as the standard library's own pool: models that release the lock overlap
QUEUE_LIMIT = 1024  # calls waiting for a thread; one more is refused, so that memory and waiting stay bounded
IDLE = 5.0  # seconds after which a thread without work ends
AT_ONCE = 16  # calls in a row that may end before the loop's next turn; the next one sees who else is there
LENT = 256  # threads more, for those whose own call waits for others: each has a stack
ALONE = 4  # turns in a row with one call, from which on a call is taken for the only one


class _Work:
    """One call: what to do, and what came of it."""

    __slots__ = ("arguments", "back", "context", "error", "function", "future", "is_done", "is_left", "result", "waits")

    def __init__(self, back: _Return, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        self.back, self.function, self.arguments = back, function, arguments
        self.context = contextvars.copy_context()
        self.future: asyncio.Future[Any] | None = None
        self.is_done = self.is_left = False
        self.waits: Future[Any] | None = None
        """What its thread waits for, see `xooai.sync.Work`."""
        self.result: Any = None
        self.error: BaseException | None = None

    def do(self) -> None:
        """Called in a worker thread."""
        if self.future is not None and self.future.cancelled():
            return
        sync.lending.work = self
        try:
            self.result = self.context.run(self.function, **self.arguments)
        except Exception as error:  # noqa: BLE001 - handed to the caller, who waits for it
            self.error = _raisable(error)
        except BaseException as error:  # noqa: BLE001 - as above: sys.exit() in a handler ends its call, not the server
            self.error = _failed(error)
        self._tell_back()

    def leave(self) -> None:
        """Nobody waits for it any more: nor does it for others."""
        self.is_left = True  # before looking: who begins to wait looks in the other order
        waits = self.waits
        if waits is not None:
            waits.cancel()

    def fail(self, error: Exception) -> None:
        """It cannot be done."""
        self.error = error
        self._tell_back()

    def _tell_back(self) -> None:
        sync.lending.work = None
        self.is_done = True  # before it is put: the loop looks in the other order
        self.back.put(self)

    def take(self) -> Any:
        """What came of it, for a caller that never waited."""
        if self.error is not None:
            raise self.error
        return self.result

    def tell(self) -> None:
        """Give what came of it to the caller who waits, if one does."""
        future = self.future
        if future is None or future.done():
            return
        if self.error is None:
            future.set_result(self.result)
        else:
            future.set_exception(self.error)


class Offer:
    """Work for whoever comes to it first: a thread of a pool, or who offers it and does it himself once it is taken."""

    __slots__ = ("_free", "_tell", "_work", "context", "error", "state")

    def __init__(self, work: Callable[[], None], tell: Callable[[Offer], None], context: contextvars.Context) -> None:
        """A thread does the work in this context, and then calls `tell`."""
        self._work, self._tell, self.context = work, tell, context
        self._free = [True]  # emptied by who takes it: no two can
        self.error: BaseException | None = None
        self.state: _State | None = None

    def take(self) -> bool:
        """Whether it was still to be had."""
        try:
            return self._free.pop()
        except IndexError:
            return False

    def do(self) -> None:
        """Called in a worker thread."""
        assert self.state is not None
        self.state.is_rung = False
        if self.state.work:
            self.state.wake()
        if self.take():
            try:
                self.context.run(self._work)
            except BaseException as error:  # noqa: BLE001 - handed to who offers, who waits for it
                self.error = error
            self._tell(self)

    def fail(self, error: Exception) -> None:
        """No thread can be had: who offers it comes to it in his turn."""


class _Return:
    """The way to the threads and back for one loop: calls gather for one turn, results while it has not woken up yet."""

    __slots__ = ("__weakref__", "_at_once", "_done", "_is_ringing", "_loop", "_singles", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)  # the loops are the keys of a weak dictionary, whose values must not hold them
        self._done: deque[_Work] = deque()
        self._woken = self._is_ringing = False
        self._singles = 0  # turns in a row that had one call only
        self._at_once = 0

    def put(self, work: _Work) -> None:
        """Called in a worker thread."""
        self._done.append(work)
        if not self._woken:
            self._woken = True
            loop = self._loop()
            try:
                if loop is not None:
                    loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._woken = False
                self._done.clear()

    def send(self, state: _State, loop: asyncio.AbstractEventLoop) -> None:
        """Called in the loop, with work in the queue: wake a thread at once for a lone call, else for all calls of this turn."""
        if self._is_ringing:
            return
        if self._singles >= ALONE and self._at_once < AT_ONCE:
            self._at_once += 1
            self._wake(state)
        else:
            self._at_once = 0
            self._is_ringing = True
            loop.call_soon(self._ring, state)

    def _ring(self, state: _State) -> None:
        self._is_ringing = False
        self._singles = self._singles + 1 if len(state.work) <= 1 else 0
        self._wake(state)

    def _wake(self, state: _State) -> None:
        """Wake threads, and take what is done by the time that this one goes on: it need not be woken for that."""
        if self._woken:
            state.wake()
            return
        self._woken = True
        try:
            state.wake()
        finally:
            self._deliver()

    def leave(self) -> None:
        """Tell the loop nothing any more: it is the parent's, in the child of a fork."""
        self._woken = True
        self._done.clear()

    def _deliver(self) -> None:
        self._woken = False  # before looking: what is put from here on wakes the loop again
        while self._done:
            self._done.popleft().tell()


class Threads:
    """A bounded pool of daemon threads, started as calls come and ended when idle or closed. On Linux each has two files."""

    def __init__(self, size: int = SIZE, queue_limit: int = QUEUE_LIMIT) -> None:
        self._size, self._queue_limit = size, queue_limit
        self._state = _State(size)
        self._returns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Return] = weakref.WeakKeyDictionary()
        forks.renewed(self)
        queue("threads", self)

    @property
    def waiting(self) -> int:
        """Calls that no thread has taken yet."""
        return len(self._state.work)

    def renew(self) -> None:
        """Begin without threads and without work, in the child of a fork: what is here is the parent's."""
        self._state.leave()
        for back in self._returns.values():
            back.leave()
        self._state, self._returns = _State(self._size), weakref.WeakKeyDictionary()

    def allow(self, size: int) -> None:
        """Have `size` threads at most, where that is more than before."""
        self._size = max(self._size, size)
        self._state.allow(self._size)

    async def run(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Call `function(**arguments)` in a thread. What is cancelled before it began is never run; what waits by `sync.run` is
        told Unavailable there. Raises ResourceExhausted.
        """
        state = self._state
        if len(state.work) >= self._queue_limit:
            raise ResourceExhausted(
                f"{self._queue_limit:,} calls are waiting for a thread already; come back later", retry_after=1
            )
        loop = asyncio.get_running_loop()
        back = self._returns.get(loop)
        if back is None:
            back = self._returns[loop] = _Return(loop)
        work = _Work(back, function, arguments)
        state.work.append(work)
        back.send(state, loop)
        if work.is_done:
            return work.take()
        work.future = loop.create_future()  # what is done from here on is told in the loop's own thread, thus later
        try:
            return await work.future
        except asyncio.CancelledError:
            work.leave()
            raise

    def offer(self, offer: Offer) -> None:
        """Have a thread do this, unless who offers it does before. One thread is woken for many: until it comes, nobody else is.

        For a pool of such work alone: who has something else to do does not come for what is offered.
        """
        if not offer._free:
            return
        state = offer.state = self._state
        state.work.append(offer)
        if not state.is_rung:
            state.is_rung = True
            state.wake()

    def spare(self, offer: Offer) -> None:
        """Forget an offer that was taken by who made it."""
        with suppress(ValueError):  # a thread has come to it, or none was offered it
            self._state.work.remove(offer)

    def leave(self, function: Callable[[], None]) -> None:
        """Call a function that raises nothing in a thread; nobody waits for it. Never refused: it ends what was taken in."""
        self._state.work.append(_Work(_Return(asyncio.get_running_loop()), function, {}))
        self._state.wake()

    def close(self) -> None:
        """End the threads once they are done with what they are at; new work starts new ones."""
        self._state.close()

    def join(self, timeout: float) -> None:
        """Wait for the threads to end, each at most `timeout` seconds: a handler that does not return cannot be ended."""
        for thread in self._state.running():
            thread.join(timeout)


class _State:
    """What the threads of one pool share."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._count = self._lent = 0
        self._threads: set[Thread] = set()
        self._bells: dict[int, Bell] = {}
        self._lock = Lock()
        self._closings = 0  # a thread that began before the last one ends when there is no work
        self._is_left = False
        self.work: deque[_Work | Offer] = deque()
        self.is_rung = False  # whether a thread was woken for what is offered, and has not come
        self._idle: list[Bell] = []  # the one that was busy last is woken first: the others may end

    def allow(self, size: int) -> None:
        self._size = size

    def lend(self) -> Callable[[], None] | None:
        """Allow one thread more while one of them waits, which may be for a call that needs one: see `xooai.sync.Pool`."""
        with self._lock:
            if self._lent >= LENT:
                return None
            self._lent += 1
        self.wake()
        return self._given_back

    def _given_back(self) -> None:
        with self._lock:
            self._lent -= 1

    def wake(self) -> None:
        """Have a thread for each piece of work, as far as there may be: those idle, then new ones."""
        wanted = len(self.work)
        while wanted and self.work:
            try:
                bell = self._idle.pop()
            except IndexError:
                break
            bell.ring()  # lets that thread run, on a busy machine at once: it may have done all there is to do
            wanted -= 1
        while wanted and self.work and self._count < self._size + self._lent and self._start():
            wanted -= 1

    def _start(self) -> bool:
        """Start a thread, unless there are enough; whether the system gave one. Without any, what waits has failed."""
        with self._lock:
            if self._count >= self._size + self._lent:
                return False
            thread = Thread(target=self._live, args=(self._closings,), name="xooai-worker", daemon=True)
            self._threads.add(thread)
            self._count += 1
            try:
                thread.start()  # under the lock: who finds it in the set may join it
            except (RuntimeError, MemoryError) as error:
                self._threads.discard(thread)
                self._count -= 1
                if self._count:
                    return False  # those that there are do the work in their turn
                refused = error
            else:
                return True
        while self.work:
            self.work.popleft().fail(ResourceExhausted(f"no thread can be started: {refused}", retry_after=1))
        return False

    def running(self) -> list[Thread]:
        with self._lock:
            return list(self._threads)

    def close(self) -> None:
        self._closings += 1
        while self._idle:
            try:
                self._idle.pop().ring()
            except IndexError:  # woken by somebody else
                return

    def leave(self) -> None:
        """Do nothing more in the child of a fork, which has the parent's bells: none may be rung, or waited at, there."""
        self._is_left = True
        self.work.clear()
        self._idle.clear()
        for bell in self._bells.values():
            bell.close()

    def _live(self, born: int) -> None:
        """Do what is to be done, until there has been nothing for long; `born` is how often the pool had been closed before."""
        bell: Bell | None = None
        sync.lending.pool = self
        try:
            while not self._is_left:
                try:
                    work = self.work.popleft()
                except IndexError:
                    if self._closings != born:
                        break
                    bell = self._rest(bell or self._bell(), born)
                    if bell is None:
                        break
                    continue
                work.do()
                del work  # nothing of a call outlives it here
        finally:
            if not self._is_left:
                self._ended()
        self.wake()  # for what was put just while this thread gave up waiting

    def _rest(self, bell: Bell, born: int) -> Bell | None:
        """Wait for work. The bell for the next time; None where there was nothing for long."""
        self.is_rung = False  # before looking: what is offered from here on wakes a thread again
        self._idle.append(bell)
        if not self.work and self._closings == born and bell.wait(IDLE):
            return bell
        try:
            self._idle.remove(bell)  # there was work before the bell was there, or none for long
        except ValueError:  # somebody has taken it and rings it now, or later: then it is spent
            return bell if bell.wait(0) else self._bell()
        return bell if self.work else None

    def _bell(self) -> Bell:
        """A new bell for this thread, in the place of one that it had."""
        bell = self._bells[get_ident()] = make()
        return bell

    def _ended(self) -> None:
        with self._lock:
            self._bells.pop(get_ident(), None)
            self._count -= 1
            self._threads.discard(current_thread())


def _raisable(error: Exception) -> Exception:
    return _failed(error) if isinstance(error, StopIteration) else error  # no future takes that one


def _failed(error: BaseException) -> RuntimeError:
    failure = RuntimeError(f"the handler raised {error!r}")
    failure.__cause__ = error
    return failure
