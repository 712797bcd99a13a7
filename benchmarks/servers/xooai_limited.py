"""An executor in xooai that can answer 160 calls a second: 8 at a time, of 50 ms each, and 16 wait."""

import asyncio

from xooai import Executor, post


class Limited(Executor):
    """Takes 50 ms."""

    @post(limit=8, queue=16)
    async def nap(self) -> float:
        """Sleep."""
        await asyncio.sleep(0.05)
        return 0.05
