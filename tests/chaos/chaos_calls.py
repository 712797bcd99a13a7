"""A call under bad conditions, and what has to hold of it whatever happens."""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chaos_program import SHAPES, Ledger

from xooai.errors import XooaiError

__all__ = ["Clock", "ends_well_or_with_an_error", "held_memory", "keeping_time"]

TICK = 0.01  # seconds
OVER = 1.1  # a call ends within its time and a tenth


class Clock:
    """How late the loop itself was at most, as on a machine that has other work: no fault of a call's."""

    late = 0.0

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(TICK)
            self.late = max(self.late, loop.time() - began - TICK)


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
    loop = asyncio.get_running_loop()
    began, error = loop.time(), None
    try:
        await SHAPES[shape](client, name, size, timeout)
    except XooaiError as raised:
        error = raised
    took = loop.time() - began
    assert took < timeout * OVER + 2 * clock.late, f"{name} took {took:.2f} s: {error!r}"
    assert ledger.runs[name] <= 1, f"{name} ran {ledger.runs[name]} times"
    if error is None:
        assert ledger.runs[name] == 1
    return error


def held_memory() -> int:
    """Bytes that this process holds, where the system tells (proc(5)); else 0."""
    known = Path("/proc/self/statm")
    return int(known.read_text().split()[1]) * mmap.PAGESIZE if known.exists() else 0
