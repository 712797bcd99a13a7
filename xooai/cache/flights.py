"""One go at a piece of work for all who want it: it goes on for those who stay, and ends when nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from types import TracebackType
from typing import Any

from xooai import forks
from xooai.errors import Unavailable

__all__ = ["Flights"]


class _Flight:
    def __init__(self, task: asyncio.Task[None], source: object) -> None:
        self.task, self.source = task, source
        self.waiting = 0
        self.traceback: TracebackType | None = None


class Flights:
    """The work under way on one loop, by name."""

    def __init__(self) -> None:
        self.renew()
        forks.renewed(self)

    def renew(self) -> None:
        """Begin without work: also in the child of a fork, where nobody goes on with that of the parent."""
        self._under_way: dict[str, _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, name: str, source: object, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for the work of this name, begun here where nobody has. Raises what it raised, if it was from the same source:
        who has another one tries that next.
        """
        flight = self._under_way.get(name)
        if flight is None:
            flight = self._under_way[name] = self._begun(name, source, work)
        flight.waiting += 1
        try:
            await asyncio.wait({flight.task})
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._forget(name, flight)
                flight.task.cancel()
        if flight.task.cancelled():
            raise Unavailable("the cache was closed while a content was on its way")
        error = flight.task.exception()
        if error is not None and flight.source == source:
            raise error.with_traceback(flight.traceback)  # without what was added for those before

    def start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin work that nobody waits for, and whose errors are nobody's, unless it is under way."""
        if name not in self._under_way:
            self._under_way[name] = self._begun(name, None, work)

    async def aclose(self) -> None:
        """End all work, and wait for what was left to end."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    def _begun(self, name: str, source: object, work: Callable[[], Coroutine[Any, Any, None]]) -> _Flight:
        # In no caller's context: its deadline is not that of the others.
        task = asyncio.get_running_loop().create_task(work(), context=Context())
        flight = _Flight(task, source)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._done(name, flight))
        return flight

    def _done(self, name: str, flight: _Flight) -> None:
        self._tasks.discard(flight.task)
        self._forget(name, flight)
        if not flight.task.cancelled():
            error = flight.task.exception()  # asked for also where all who waited have left
            flight.traceback = error.__traceback__ if error is not None else None

    def _forget(self, name: str, flight: _Flight) -> None:
        if self._under_way.get(name) is flight:
            del self._under_way[name]
