"""Workers beside each other, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from supervised import PATIENCE

from xooai.workers.table import State, Table, unnamed_file

GLANCE = 0.001


def ready(count: int) -> Table:
    """The table of workers that are ready."""
    table = Table(unnamed_file(), count, is_new=True)
    for row in range(count):
        table.tell(row, State.READY)
    return table


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(GLANCE)
