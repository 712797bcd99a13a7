"""A coroutine that goes on where who waits for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

__all__ = ["Going"]


class Going:
    """Runs a coroutine in turns of who waits for it. As a task of its own it would make a round trip a quarter dearer."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._waits_for: asyncio.Future[Any] | None = None

    async def end(self) -> Any:
        """What it returns; raises what it raises. Cancelled, this may be called again."""
        while True:
            waits_for = self._waits_for
            if waits_for is not None and not waits_for.done():
                waiter = waits_for.get_loop().create_future()
                waits_for.add_done_callback(partial(_wake, waiter))
                await waiter
            try:
                waits_for = self._waits_for = self._coroutine.send(None)
            except StopIteration as returned:
                return returned.value
            if waits_for is not None:
                waits_for._asyncio_future_blocking = False  # as a task says that it has seen what is awaited

    def cancel(self) -> None:
        """Go on no more."""
        if self._waits_for is not None:
            self._waits_for.cancel()


def _wake(waiter: asyncio.Future[None], _: object) -> None:
    if not waiter.done():
        waiter.set_result(None)
