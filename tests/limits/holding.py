"""An executor whose calls are held until a test lets them go, and scenes with its callers."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from time import monotonic
from typing import Any

from xooai import Executor, ResourceExhausted, post, stream
from xooai.layers.limit import Admission, Gate

__all__ = ["PATIENCE", "Holding", "eventually", "refused", "waiting"]

PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run


class Holding(Executor):
    """`seen` are the numbers of the calls that were begun, in their order. They go on when `gate` is open."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.gate = threading.Event()
        self.seen: list[int] = []
        self.found: Gate | None = None

    async def _held(self, x: int) -> int:
        self.seen.append(x)
        if x >= 0:  # others go through
            await eventually(self.gate.is_set)
        return x

    @post(limit=1, queue=3)
    async def one(self, x: int) -> int:
        return await self._held(x)

    @post(limit=1)
    async def heavy(self, x: int, body: bytes) -> int:
        return await self._held(x)

    @post
    async def large(self, size: int) -> bytes:
        return bytes(size)

    @post(limit=1, queue=0)
    async def alone(self, x: int) -> int:
        return await self._held(x)

    @post
    async def any(self, x: int) -> int:
        return await self._held(x)

    @post(limit=8, queue=0)
    def threaded(self, x: int) -> int:
        self.seen.append(x)
        assert self.gate.wait(PATIENCE)
        return x

    @stream(limit=1, queue=0)
    async def many(self, x: int) -> AsyncIterator[int]:
        for number in range(x):
            yield await self._held(number)

    @stream
    async def summed(self, xs: AsyncIterator[int]) -> AsyncIterator[int]:
        """What came so far, at each: a stream whose items pay on both ways."""
        total = 0
        async for x in xs:
            total += x
            yield total

    @stream(limit=1, queue=0)
    def made(self, x: int) -> Iterator[int]:
        yield x


async def eventually(question: Callable[[], bool]) -> None:
    """Wait until it is so."""
    end = monotonic() + PATIENCE
    while not question():
        assert monotonic() < end, "it is not so after all this time"
        await asyncio.sleep(0.002)  # what runs elsewhere tells of nothing


def waiting(works: Holding, on: str = "one") -> int:
    """How many calls of an endpoint wait at its server, where one is under way."""
    if works.found is None:
        path = f"/holding/{on}"
        every = [one for one in gc.get_objects() if isinstance(one, Admission)]
        gates = [one.gates[path] for one in every if path in one.gates]
        works.found = next(gate for gate in gates if gate.running)
    return works.found.waiting


def refused(outcome: object) -> ResourceExhausted:
    assert isinstance(outcome, ResourceExhausted), outcome
    return outcome
