"""The calls of one node: made anew where that is allowed, and for each item of a list some at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from xooai.call import remaining
from xooai.errors import ResourceExhausted, Unavailable, XooaiError
from xooai.flow.budget import Budget
from xooai.flow.failure import is_for_others
from xooai.layers.repeated import By, outer
from xooai.layers.retry import Retries
from xooai.lazy import lazy

if TYPE_CHECKING:
    from xooai.layers import hedge as hedges
else:
    hedges = lazy("xooai.layers.hedge")  # few nodes have one

__all__ = ["EACH", "Limits", "attempted", "for_each"]

EACH = 32  # calls of one node at a time: as many as a server batches, and few enough for one that is shared
_PAUSE = 0.1  # seconds before a node's second attempt, doubled each time
_PATIENCE = 30.0  # seconds: whom a server asks to wait for longer learns that at once, and keeps no caller waiting


class Limits(msgspec.Struct, frozen=True):
    """Of one node: seconds for a call, and how many times it is made anew where its server is away or has too much to do."""

    timeout: float | None = None
    retry: int = 0
    hedge: float | None = None
    """Seconds after which a call is made a second time, beside the first."""
    retries: Retries | None = None
    """The budget of second attempts, where there are any."""

    @property
    def are_none(self) -> bool:
        return self.timeout is None and not self.retry and self.hedge is None


async def attempted(
    call: Callable[[float | None], Awaitable[Any]],
    limits: Limits,
    room: AbstractAsyncContextManager[Any],
    budget: Budget,
) -> Any:
    """What a call gives, which is told the seconds that it may take.

    It is made again, after a pause, where its server is away or has too much to do and `retry` allows it. While it runs, and
    not in a pause, it takes one place of the `room`. Raises XooaiError.
    """
    if limits.are_none:
        async with room:
            return await call(None)
    if limits.hedge is not None:
        call = partial(_hedged, call, limits, budget)
    end = None if limits.timeout is None else monotonic() + limits.timeout
    if not limits.retry:
        async with room:
            return await call(_left(end))
    with outer(By.ALL):
        for attempt in range(limits.retry):
            try:
                async with room:
                    return await call(_left(end))
            except (Unavailable, ResourceExhausted) as error:
                pause, left = _pause(error, attempt), remaining(_left(end))
                if pause is None or (left is not None and pause >= left):
                    raise
            await asyncio.sleep(pause)
            budget.take(1)
        async with room:
            return await call(_left(end))


async def _hedged(
    call: Callable[[float | None], Awaitable[Any]], limits: Limits, budget: Budget, left: float | None
) -> Any:
    """A call, with a second one beside it where it is slow; both have the place of one."""
    assert limits.hedge is not None
    assert limits.retries is not None
    end = None if left is None else monotonic() + left

    async def attempt(number: int) -> Any:
        budget.take(number)
        return await call(_left(end))

    reply = await hedges.raced(attempt, limits.hedge, limits.retries)
    limits.retries.earn()
    return reply


async def for_each(items: Collection[Any], call: Callable[[Any], Awaitable[Any]]) -> list[Any]:
    """Call for each item, some at a time: the replies in their order. The first error ends all, and is raised."""
    replies: list[Any] = [None] * len(items)
    waiting = iter(enumerate(items))
    failures: list[BaseException] = []

    async def work() -> None:
        task = asyncio.current_task()
        for place, item in waiting:
            try:
                replies[place] = await call(item)
            except BaseException as error:
                if is_for_others(error, task):
                    raise
                failures.append(error)
                raise _Ended from error

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(EACH, len(items))):
                group.create_task(work())
    except BaseExceptionGroup:
        if not failures:
            raise
    if failures:
        raise failures[0]
    return replies


class _Ended(Exception):
    """One item has failed: its group ends. A group takes a CancelledError for a task that somebody cancelled."""


def _left(end: float | None) -> float | None:
    return None if end is None else end - monotonic()


def _pause(error: XooaiError, attempt: int) -> float | None:
    """Seconds until a call is worth making anew; None where it is not."""
    if isinstance(error, ResourceExhausted) and error.reason != "load":
        return None
    asked = error.details.get("retry_after")  # of a server that sets up, too
    if not isinstance(asked, int | float):
        return float(_PAUSE * 2**attempt)
    return asked if 0 <= asked <= _PATIENCE else None
