"""Blocking views of async code: one private loop in a thread of its own, started on first use.

It also works inside a running loop and in a notebook. On a loop that serves one of our listeners it would block every other
call, so there it refuses.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextvars import Context
from typing import Any, Protocol, TypeVar

from xooai import forks
from xooai.errors import FailedPrecondition, Unavailable
from xooai.log import logger

__all__ = [
    "Pool",
    "Work",
    "close_remote",
    "drive",
    "driven",
    "leave",
    "lending",
    "refuse_on_serving_loop",
    "result",
    "run",
    "serving",
    "start",
    "step",
]

_LOG = logger("xooai")
T = TypeVar("T")
CLOSE_LIMIT = 5.0  # seconds for closing connections: it waits for nobody, so more means a blocked loop

serving: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
"""The loops that serve one of our listeners."""


class _Portal:
    """The private loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        forks.renewed(self)

    def renew(self) -> None:
        """Begin without a loop, in the child of a fork."""
        forks.LEFT.append(self._loop)
        self._loop, self._lock = None, threading.Lock()

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_forever, args=(self._loop,), name="xooai-loop", daemon=True).start()
            return self._loop


def _forever(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while True:  # a task that raises KeyboardInterrupt or SystemExit ends the loop's run: the other calls on it go on
        try:
            loop.run_forever()
        except BaseException:  # noqa: BLE001 - its task has it, too
            _LOG.warning("a task stopped the loop of blocking calls, which goes on", exc_info=True)


_portal = _Portal()


class Pool(Protocol):
    """Whose threads may wait here for others of them."""

    def lend(self) -> Callable[[], None] | None:
        """Allow one thread more, in the place of this one, until what is returned is called; None where there are too many."""


class Work(Protocol):
    """What a thread of a pool does. Where `is_left`, who had wanted it is gone, and what it `waits` for is cancelled."""

    waits: Future[Any] | None
    is_left: bool


class _Lending(threading.local):
    pool: Pool | None = None
    work: Work | None = None


lending = _Lending()
"""The pool that this thread is of, and what it does."""


def refuse_on_serving_loop(what: str, instead: str) -> None:
    """Raise FailedPrecondition on a thread whose loop serves: blocking it would stop every other call."""
    loop = asyncio._get_running_loop()
    if loop is not None and loop in serving:
        raise FailedPrecondition(f"{what} would block the loop that serves; use: await {instead}")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the private loop and wait for it, as `result` does. An interrupt (Ctrl-C) cancels it."""
    loop = _portal.loop()
    if asyncio._get_running_loop() is loop:
        work.close()
        raise FailedPrecondition("a blocking call was made on xooai's own loop; use the async form")
    future: Future[T] = asyncio.run_coroutine_threadsafe(work, loop)
    lent = None if lending.pool is None else lending.pool.lend()
    try:
        return result(future)
    except BaseException:
        future.cancel()
        raise
    finally:
        if lent is not None:
            lent()


def result(future: Future[T], timeout: float | None = None) -> T:
    """Wait for what another thread does. Where a handler waits here, in its thread, and has lost its caller, that is cancelled:
    once, as with a task, so that it may clean up. Raises Unavailable then, and TimeoutError.
    """
    here = lending.work
    if here is None:
        return future.result(timeout)
    here.waits = future
    if here.is_left:  # after it is told what is waited for: whoever leaves looks in the other order
        future.cancel()
    try:
        return future.result(timeout)
    except CancelledError:
        if not here.is_left:
            raise
        lending.work = None  # told: what it waits for from here on is its own affair
        raise Unavailable("the call is over: who made it has left, or its time has passed") from None
    finally:
        here.waits = None


def start(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Run a coroutine on the private loop beside whoever asks for it, without his deadline and call."""
    return Context().run(asyncio.run_coroutine_threadsafe, work, _portal.loop())


def leave(closing: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run on the private loop what lets go of something there, at any time and in any thread: while garbage is collected too.

    Waited for only where that stops no loop; not run where the program ends, and its loops with it.
    """
    if sys.is_finalizing():
        return
    future = asyncio.run_coroutine_threadsafe(closing(), _portal.loop())
    if asyncio._get_running_loop() is None:
        future.result(timeout=CLOSE_LIMIT)


def drive(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits, in this very thread and without a loop."""
    for _ in work.__await__():  # a loop takes its end as it is, where send(None) has an exception made of it
        work.close()
        raise RuntimeError("a call that was to run without a loop waited for something")


def driven(work: Coroutine[Any, Any, T]) -> T:
    """As `drive`, of one that gives something."""
    found: list[T] = []
    drive(_into(found, work))
    return found[0]


async def _into(found: list[T], work: Coroutine[Any, Any, T]) -> None:
    found.append(await work)


class _Closable(Protocol):
    def loops(self) -> list[asyncio.AbstractEventLoop]: ...

    async def aclose(self) -> None: ...


def close_remote(remote: _Closable) -> None:
    """Close the links of a client on every loop that runs elsewhere; one whose loop is closed is gone already."""
    for loop in remote.loops():
        if loop.is_running() and loop is not asyncio._get_running_loop():
            asyncio.run_coroutine_threadsafe(remote.aclose(), loop).result(timeout=CLOSE_LIMIT)


def step(work: Coroutine[Any, Any, Any]) -> Any:
    """Wait for the next reply of a `stream()`, wherever its iterator has got to."""
    try:
        refuse_on_serving_loop("a step of stream()", "anext() of astream(...)")
    except FailedPrecondition:
        work.close()
        raise
    return run(work)
