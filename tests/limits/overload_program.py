"""A server that can do 160 calls a second: `overload_program.py URL`. Prints where it serves, and ends with its stdin."""

from __future__ import annotations

import asyncio
import sys

from xooai import Executor, current, post


class Napping(Executor):
    def __init__(self) -> None:
        super().__init__()
        self._morning = asyncio.Event()

    @post(limit=8, queue=16)
    async def sleep(self) -> None:
        """Until all are woken."""
        await self._morning.wait()

    @post
    async def wake(self) -> None:
        self._morning.set()

    @post(limit=8, queue=16)
    async def nap(self) -> float:
        """Take 50 ms; return the seconds that were left of the call when it began."""
        left = current().remaining
        await asyncio.sleep(0.05)
        return -1.0 if left is None else left


if __name__ == "__main__":
    certificate = sys.argv[2] if len(sys.argv) > 2 else None
    with Napping() as napping:
        print(napping.start(sys.argv[1], certificate=certificate)[0], flush=True)
        sys.stdin.read()
