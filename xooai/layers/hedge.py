"""A second attempt beside a slow one, for calls that may run twice: the first answer counts, and the other one is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from math import isfinite
from numbers import Real
from typing import Any, TypeVar

from xooai.errors import InvalidArgument, XooaiError
from xooai.layers.retry import Retries, is_of_the_moment
from xooai.tally import count

__all__ = ["checked", "raced"]

T = TypeVar("T")


def checked(hedge: Any) -> float:
    """The seconds after which a second attempt begins. Raises InvalidArgument."""
    if not isinstance(hedge, Real) or isinstance(hedge, bool) or not isfinite(hedge) or hedge <= 0:
        raise InvalidArgument(
            f"hedge={repr(hedge)[:80]} is not after how many seconds a second attempt begins, such as 0.05"
        )
    return float(hedge)


async def raced(attempt: Callable[[int], Coroutine[Any, Any, T]], hedge: float, retries: Retries) -> T:
    """What the first attempt to end well gives, `attempt(0)` or after `hedge` seconds `attempt(1)`.

    A second one takes a token of the budget, so that no more than about every tenth call has one. What another attempt would
    not change is raised at once.
    """
    tasks = [asyncio.create_task(attempt(0))]
    taken: asyncio.Task[T] | None = None
    try:
        _, waiting = await asyncio.wait(tasks, timeout=hedge)
        if waiting and retries.take():
            tasks.append(asyncio.create_task(attempt(1)))
            waiting.add(tasks[1])
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            final = [task for task in done if _is_final(task)]
            if final or not waiting:
                taken = min(final or done, key=_has_failed)
                return taken.result()
        return tasks[0].result()
    finally:
        if len(tasks) > 1:
            count("hedges", "second" if taken is tasks[1] else "first")
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


def _is_final(task: asyncio.Task[Any]) -> bool:
    error = task.exception()
    return not isinstance(error, XooaiError) or not is_of_the_moment(error)


def _has_failed(task: asyncio.Task[Any]) -> bool:
    """Whether another one of those that end together is worth more."""
    return task.exception() is not None
