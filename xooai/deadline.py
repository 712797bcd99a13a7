"""Deadlines of calls under way: one sweep for the far ones, a timer of its own for a near one.

asyncio.timeout costs a call a third of its time; most deadlines are far away and never come.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, TypeVar

from xooai.errors import DeadlineExceeded

__all__ = ["part_of", "passed", "within"]

NEAR = 2.0  # seconds: below, the sweep would be late by more than a few per cent
TICK = 0.05  # seconds between two sweeps

T = TypeVar("T")


class _Scope:
    """One deadline of one task."""

    __slots__ = ("expired", "task", "timer", "when")

    def __init__(self, task: asyncio.Task[Any], when: float) -> None:
        self.task = task
        self.when = when
        self.timer: asyncio.TimerHandle | None = None
        self.expired = False

    def expire(self) -> None:
        self.expired = True
        self.task.cancel()


class _Deadlines:
    """The deadlines under way on one loop."""

    __slots__ = ("__weakref__", "_far", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._far: set[_Scope] = set()
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, task: asyncio.Task[Any], timeout: float) -> _Scope:
        scope = _Scope(task, self._loop.time() + timeout)
        if timeout < NEAR:
            scope.timer = self._loop.call_later(timeout, scope.expire)
            return scope
        self._far.add(scope)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK, self._sweep)
        return scope

    def leave(self, scope: _Scope) -> None:
        if scope.timer is not None:
            scope.timer.cancel()
        else:
            self._far.discard(scope)

    def _sweep(self) -> None:
        now = self._loop.time()
        for scope in [scope for scope in self._far if scope.when <= now]:
            self._far.discard(scope)
            scope.expire()
        self._timer = self._loop.call_later(TICK, self._sweep) if self._far else None


_BY_LOOP: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Deadlines] = weakref.WeakKeyDictionary()


async def within(timeout: float, function: Callable[[Any], Awaitable[T]], argument: Any) -> T:
    """Await `function(argument)` for at most `timeout` seconds. Raises DeadlineExceeded; what has no time left is not started."""
    if timeout <= 0:
        raise passed(timeout)
    task = asyncio.current_task()
    assert task is not None
    loop = task.get_loop()
    deadlines = _BY_LOOP.get(loop)
    if deadlines is None:
        known = [
            other for reference in _BY_LOOP.keyrefs() if (other := reference()) is not None
        ]  # other threads add some
        for closed in [other for other in known if other.is_closed()]:  # their timers hold them
            _BY_LOOP.pop(closed, None)
        deadlines = _BY_LOOP[loop] = _Deadlines(loop)
    cancelling = task.cancelling()
    scope = deadlines.enter(task, timeout)
    try:
        return await function(argument)
    except asyncio.CancelledError:
        # Ours alone, and not that of somebody who cancelled the task at the same time.
        if scope.expired and task.cancelling() - 1 <= cancelling:
            raise passed(timeout) from None
        raise
    finally:
        deadlines.leave(scope)
        if scope.expired:
            task.uncancel()


async def part_of(
    timeout: float | None, function: Callable[[Any], Awaitable[T]], argument: Any
) -> tuple[T, float | None]:
    """Await `function(argument)` as one part of what has to end within `timeout` seconds (None: whenever it ends).

    Returns its result and the seconds left for the other parts. Raises DeadlineExceeded.
    """
    if timeout is None:
        return await function(argument), None
    began = monotonic()
    result = await within(timeout, function, argument)
    return result, timeout - (monotonic() - began)


def passed(timeout: float) -> DeadlineExceeded:
    """The one error about time."""
    return DeadlineExceeded(
        f"the time allowed for the call ({timeout:.3g} s) has passed" if timeout > 0 else "the call had no time left"
    )
