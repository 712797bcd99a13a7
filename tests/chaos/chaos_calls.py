"""A call under bad conditions, and what has to hold of it whatever happens."""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

from chaos_program import SHAPES, Ledger

from xooai.errors import XooaiError

__all__ = ["Clock", "ends_well_or_with_an_error", "held_memory", "keeping_time"]

TICK = 0.01  # seconds
OVER = 1.1  # a call ends within its time and a tenth


class Clock:
    """Seconds in which an event loop could do its work: while the loop or the whole machine is elsewhere, it stands still.

    So does a deadline's error come late on a machine that has other work, which is no fault of a call's.
    """

    def __init__(self) -> None:
        self.late = 0.0
        """Seconds for which it has stood still."""
        self._due = monotonic() + TICK

    def now(self) -> float:
        """To be compared with one another, and with `monotonic()` less `late`."""
        return min(monotonic(), self._due) - self.late

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(self._due - monotonic())
            now = monotonic()
            self.late += max(0.0, now - self._due)
            self._due = now + TICK


@asynccontextmanager
async def keeping_time() -> AsyncIterator[Clock]:
    clock = Clock()
    watching = asyncio.create_task(clock.watch())
    try:
        yield clock
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def ends_well_or_with_an_error(
    client: Ledger, ledger: Ledger, shape: str, name: str, size: int, timeout: float, clock: Clock
) -> XooaiError | None:
    """Make a call by this name: it gives the right bytes or one of our errors, in its time, and has run once at most."""
    began, error = clock.now(), None
    try:
        await SHAPES[shape](client, name, size, timeout)
    except XooaiError as raised:
        error = raised
    took = clock.now() - began
    assert took < timeout * OVER, f"{name} took {took:.2f} s: {error!r}"
    assert ledger.runs[name] <= 1, f"{name} ran {ledger.runs[name]} times"
    if error is None:
        assert ledger.runs[name] == 1
    return error


def held_memory() -> int:
    """Bytes that this process holds, where the system tells (proc(5)); else 0."""
    known = Path("/proc/self/statm")
    return int(known.read_text().split()[1]) * mmap.PAGESIZE if known.exists() else 0
