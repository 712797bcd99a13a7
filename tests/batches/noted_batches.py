"""What the tests of batches share: an executor that notes the batches that it is called with, and runs them when told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from xooai import Executor, NotFound, Text, current, post

__all__ = ["PATIENCE", "Noting", "scene"]

PATIENCE = 20.0  # seconds: what waits longer fails its test instead of stopping the run


def scene(play: Callable[[], Awaitable[None]]) -> None:
    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE):
            await play()

    asyncio.run(patiently())


class Noting(Executor):
    """`batches` are the values that the methods were called with. Those that are `held` wait for `gate`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.batches: list[Any] = []
        self.gate, self.started = threading.Event(), threading.Semaphore(0)
        self.aside = 0
        self.most = 0

    def noted(self, values: list[Any]) -> None:
        self.batches.append(list(values))
        self.started.release()

    def opened(self) -> None:
        assert self.gate.wait(PATIENCE)

    @post(batch_size=4)
    def loud(self, doc: list[Text], mark: str = "!") -> list[Text]:
        """The text in capitals."""
        self.noted([text.read() for text in doc])
        return [Text(value=f"{text.read().upper()}{mark}") for text in doc]

    @post(batch_size=4, batch_wait=60)
    async def doubled(self, x: list[int]) -> list[int]:
        self.noted(x)
        return [2 * one for one in x]

    @post(batch_size=4, batch_wait=0.05)
    def held(self, x: list[int], by: int = 1) -> list[int]:
        self.noted(x)
        self.opened()
        return [one * by for one in x]

    @post(batch_size=4, batch_wait=0)
    async def waiting(self, x: list[int]) -> list[int]:
        self.noted(x)
        try:
            await asyncio.to_thread(self.opened)
        except asyncio.CancelledError:
            self.batches.append("cancelled")
            self.started.release()
            raise
        return x

    @post(batch_size=2, batch_wait=0, batch_concurrency=2)
    async def beside(self, x: list[int]) -> list[int]:
        self.noted(x)
        self.aside += 1
        self.most = max(self.most, self.aside)
        await asyncio.to_thread(self.opened)
        self.aside -= 1
        return x

    @post(batch_size=8)
    def picky(self, x: list[int]) -> list[int | Exception]:
        """An item below 0 is not found, one of 13 fails."""
        self.noted(x)
        return [NotFound(f"no {one}") if one < 0 else ValueError("secret") if one == 13 else one for one in x]

    @post(batch_size=8, batch_split=True)
    def splitting(self, x: list[int]) -> list[int]:
        self.noted(x)
        if 13 in x:
            raise NotFound("there is a 13")
        return x

    @post(batch_size=8)
    def failing(self, x: list[int]) -> list[int]:
        self.noted(x)
        raise NotFound("nothing here")

    @post(batch_size=8)
    def short(self, x: list[int]) -> list[int]:
        return x[1:]

    @post(batch_size=8)
    def wrong(self, x: list[int]) -> list[int]:
        return [one or "none" for one in x]  # type: ignore[misc]

    @post(batch_size=10, batch_wait=60, weight=lambda x: x)
    def weighed(self, x: list[int]) -> list[int]:
        self.noted(x)
        return x

    @post(batch_size=4)
    async def itself(self, x: list[int]) -> list[int]:
        return [await self.apost(on="itself", x=one - 1) + 1 if one else 0 for one in x]

    @post(batch_size=4, batch_wait=60)
    async def told(self, x: list[int]) -> list[str]:
        call = current()
        return [f"{dict(call.metadata)} {call.identity} {call.peer}" for _ in x]

    @post(batch_size=4, cache="10m")
    def kept(self, doc: list[Text]) -> list[int]:
        self.noted([text.read() for text in doc])
        return [len(text.read()) for text in doc]

    @post(batch_size=4, batch_wait=60)
    async def nested(self, x: list[int]) -> list[float | None]:
        return [current().remaining for _ in x]
