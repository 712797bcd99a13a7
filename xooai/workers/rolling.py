"""New workers in place of those that serve, one by one, with no call lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

from xooai.log import logger
from xooai.workers.slots import Slot, Slots
from xooai.workers.spawned import Phase, Worker

__all__ = ["Rolling"]

_LOG = logger("xooai.workers")


class Rolling:
    """Of one server's workers. `spawn` starts one for a place, `drain` tells one to end."""

    def __init__(
        self,
        slots: Slots,
        spawn: Callable[[Slot], Awaitable[Worker | None]],
        drain: Callable[[Worker], None],
        patience: float,
    ) -> None:
        """A worker that is told to end has so many seconds of `patience`."""
        self._slots, self._spawn, self._drain, self._patience = slots, spawn, drain, patience
        self.is_over = False
        """Whether the server ends, and nobody is replaced any more."""
        self.is_under_way = self._is_asked_again = False
        self._successor: Worker | None = None
        """Whose start the others wait for while they are replaced."""

    def again(self) -> None:
        """Begin anew with what is under way: what has changed since is read, too."""
        self._is_asked_again = True
        if self._successor is not None and self._successor.phase is Phase.STARTS:
            self._drain(self._successor)

    async def roll(self) -> bool:
        """Replace each worker once its successor is ready. Whether all are new; where one cannot start the others go on.

        Who begins with it sets `is_under_way`.
        """
        try:
            are_new = await self._each_replaced()
            while self._is_asked_again and not self.is_over:
                self._is_asked_again = False
                are_new = await self._each_replaced()
            return are_new
        finally:
            self.is_under_way = self._is_asked_again = False

    async def _each_replaced(self) -> bool:
        """Whether all are new; not where it is to be begun again."""
        for slot in (*self._slots.isolated, *self._slots.fronts):
            if not await self._replaced(slot) or self.is_over or self._is_asked_again:
                return False
        return True

    async def _replaced(self, slot: Slot) -> bool:
        """Whether a new worker has taken a place; else the old one goes on."""
        new = self._successor = await self._spawn(slot)
        if new is None or not await new.up:
            if self._is_asked_again:
                return False
            _LOG.error("the workers are not replaced: worker %d could not start; those that serve go on", slot.number)
            return False
        old, slot.worker = slot.worker, new
        slot.failures = 0
        if old is not None and old.phase is not Phase.ENDED:
            self._drain(old)
            await asyncio.wait([old.ended], timeout=self._patience)
            old.signal(signal.SIGKILL)
            await old.ended
        return True
