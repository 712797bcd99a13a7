"""A worker that ends among calls: which of them it takes with it, and how soon that is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from supervised import Program
from worker_load import Call, Load, Notes, ended, stays
from worker_program import Faulty

from xooai import Unavailable, XooaiError

__all__ = ["LOST", "REPLACED", "Lost", "at_a_worker", "lost_among_calls", "stays"]

# Seconds that are promised for two free cores; on a machine that has something else to do they do not hold.
LOST = 1.0
"""Until a call on a worker that has ended fails."""
REPLACED = 2.0
"""Until another worker is ready in its place."""
RATE = 20  # calls a second
CLIENTS = 20  # each with a connection
SECONDS = 0.5  # that a call takes: some ten are under way

Fault = Callable[[Faulty], Awaitable[object]]
"""What a client has happen to the worker that it is connected to."""


async def at_a_worker(client: Faulty, on: str) -> None:
    """Have the worker of a connection do something that ends it."""
    with suppress(XooaiError):
        await client.apost(on=on, metadata=stays())


@dataclass
class Lost:
    """A worker that has ended among calls."""

    load: Load
    pid: str
    when: float
    replaced: float
    """Seconds until another one was ready."""

    def takes_its_own(self, notes: Notes) -> None:
        """Just the calls that were at it have failed, within the promised time, and none has run twice."""
        failed = {call.id: (call, error) for call, error in self.load.failed}
        cut_off = notes.cut_off(self.pid)
        assert cut_off
        assert cut_off <= failed.keys()
        assert len(failed) + len(self.load.answered) == len(self.load.calls)
        assert set(notes.times.values()) == {1}
        for call, error in failed.values():
            assert isinstance(error, Unavailable)
            assert call.ended - max(call.began, self.when) < LOST
            self._was_at_it(call, error, call.id in cut_off)

    def takes_none_that_may_run_again(self, notes: Notes) -> None:
        """All calls have been answered: those that were at it run once more, elsewhere, and no others."""
        cut_off = notes.cut_off(self.pid)
        assert cut_off
        assert not self.load.failed
        twice = {id for id, times in notes.times.items() if times > 1}
        assert cut_off <= twice
        assert twice - cut_off <= {call.id for call in self.load.calls if call.door == self.pid}
        assert max(notes.times.values()) == 2

    def _was_at_it(self, call: Call, error: Unavailable, ran_there: bool) -> None:
        if call.door == self.pid:  # it had the connection, and whatever came by it
            assert call.began < self.when + LOST
            assert error.details in ({}, {"reason": "worker_lost"})
        else:  # another had passed it on
            assert ran_there
            assert error.details == {"reason": "worker_lost"}


def lost_among_calls(program: Program, driver: int, fault: Fault, on: str = "work", lasting: float = 5.0) -> Lost:
    """Calls at the promised rate for some seconds, among which a worker has a fault, ends, and is replaced."""
    url = program.urls[driver]

    async def main() -> Lost:
        load = Load(url, RATE, CLIENTS, on, seconds=SECONDS)
        await load.connected()
        running = asyncio.create_task(load.run(lasting))
        await asyncio.sleep(1)
        async with Faulty.at(url, retry=0) as client:
            dying = asyncio.create_task(ended(set(await client.apost(on="asked"))))
            await asyncio.sleep(0)  # it looks from now on
            await fault(client)
            pid, when = await dying
        await asyncio.to_thread(program.until, "is ready after")
        replaced = time.monotonic() - when
        await running
        await load.over()
        return Lost(load, pid, when, replaced)

    return asyncio.run(main())
