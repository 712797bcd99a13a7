"""The branches of one run: a task for each that is ready beside another, made once that one waits; else there is none.

A task costs as much as two calls in this process, and most handlers of such calls end without having waited.
"""

from __future__ import annotations

from asyncio import TaskGroup
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from types import TracebackType, coroutine
from typing import Any

from xooai.done import DONE
from xooai.sync import driven

__all__ = ["Branches", "before_waiting", "going_on"]


class Branches:
    """As a TaskGroup, which is made with its first task."""

    _group: TaskGroup | None = None

    def start(self, branch: Coroutine[Any, Any, None], context: Context) -> None:
        """Run a branch in a task of its own."""
        if self._group is None:
            self._group = TaskGroup()
            driven(self._group.__aenter__())  # which does not wait
        self._group.create_task(branch, context=context)

    def __aenter__(self) -> Awaitable[None]:
        return DONE

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Awaitable[None]:
        return DONE if self._group is None else self._group.__aexit__(kind, error, trace)


@coroutine
def before_waiting(work: Coroutine[Any, Any, None], tell: Callable[[], None]) -> Generator[Any, Any, None]:
    """Await `work`, in this task; `tell` is called when it waits for the first time."""
    try:
        waited = work.send(None)
    except StopIteration:
        return
    tell()
    yield from going_on(work, waited)


@coroutine
def going_on(work: Coroutine[Any, Any, Any], waited: Any) -> Generator[Any, Any, Any]:
    """Await `work`, which was begun, and waits for this."""
    try:
        while True:
            try:
                given = yield waited
            except BaseException as error:  # noqa: BLE001 - the work is told, as it would be without this
                waited = work.throw(error)
            else:
                waited = work.send(given)
    except StopIteration as ended:
        return ended.value
