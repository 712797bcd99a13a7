"""What the tests of a server's life serve: calls that take as long as they are told to, and a count of those under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xooai import Executor, post, stream


class Lively(Executor):
    """Counts its calls."""

    running = calls = 0

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    @post
    async def under_way(self) -> int:
        return self.running

    @post
    async def count_calls(self) -> int:
        self.calls += 1
        return self.calls

    @post(cache="1h")
    async def count_calls_and_keep(self) -> int:
        return await self.count_calls()

    @post
    async def large(self, size: int) -> bytes:
        return bytes(size)

    @post
    async def now(self) -> float:
        return time.time()

    @post
    async def wait(self, seconds: float) -> float:
        with self._counted():
            await asyncio.sleep(seconds)
            return seconds

    @post
    async def wait_for(self, file: str) -> bool:
        with self._counted():
            while not Path(file).exists():  # noqa: ASYNC110 - it is made by another process
                await asyncio.sleep(0.01)
            return True

    @stream
    async def count(self, to: int, pause: float) -> AsyncIterator[int]:
        with self._counted():
            for number in range(to):
                await asyncio.sleep(pause)
                yield number

    @post
    async def deaf(self) -> None:
        """Ignores its cancellation, however often."""
        with self._counted():
            while True:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)

    @post
    def in_a_thread(self) -> int:
        return 1

    @post
    async def blocked(self) -> None:
        """Waits for a thread that does not end."""
        with self._counted():
            await asyncio.to_thread(time.sleep, 3600)


class Slow(Executor):
    """Takes long until it is ready."""

    @post
    async def read(self) -> int:
        return 1

    async def setup(self) -> None:
        print("setting up", flush=True)
        await asyncio.sleep(3600)


class Failing(Executor):
    """Has something to log."""

    @post
    def fail(self) -> None:
        raise RuntimeError("this goes to the log")

    @post
    def fine(self) -> int:
        return 1
