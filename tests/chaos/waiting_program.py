"""Executors whose endpoints wait, in every shape, on the loop and in threads, and tell how they ended; or pass calls on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from chaos_program import PATIENCE

from xooai import Executor, NotFound, current, post, stream

__all__ = ["ONWARD", "Relay", "Waiting"]

STEP = 0.02  # seconds between two items of a generator in a thread: its hops, at which it sees that its client has left


class Waiting(Executor):
    """`begun` and `ended` say when each handler did, by the name of its endpoint; `deadlines` which it had."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.deadlines: dict[str, float] = {}
        self.sums: list[int] = []
        """What `all_of` has given, where it had all."""
        self.release = threading.Event()
        self.running = 0
        self._lock = threading.Lock()

    @contextmanager
    def noted(self) -> Iterator[None]:
        call = current()
        name = call.endpoint.name
        if call.remaining is not None:
            self.deadlines[name] = time.monotonic() + call.remaining
        with self._lock:
            self.begun[name] = time.monotonic()
            self.running += 1
        try:
            yield
        finally:
            with self._lock:
                self.ended[name] = time.monotonic()
                self.running -= 1

    def close(self) -> None:
        self.release.set()

    @post
    async def wait(self) -> None:
        with self.noted():
            await asyncio.sleep(PATIENCE)

    @post
    def wait_in_thread(self) -> None:
        with self.noted():
            self.release.wait(PATIENCE)

    @post
    async def ready(self) -> str:
        return "ready"

    @post
    async def fail(self) -> None:
        raise NotFound("it is not here")

    @stream
    async def fail_streaming(self, items: AsyncIterator[int]) -> AsyncIterator[int]:
        async for item in items:
            yield item
            raise NotFound("it is not here")

    @stream
    async def silent(self) -> AsyncIterator[int]:
        with self.noted():
            yield 0
            await asyncio.sleep(PATIENCE)

    @stream
    def ticking_in_thread(self) -> Iterator[int]:
        with self.noted():
            for number in range(round(PATIENCE / STEP)):
                yield number
                time.sleep(STEP)

    @stream
    async def all_of(self, items: AsyncIterator[int]) -> int:
        with self.noted():
            self.sums.append(sum([item async for item in items]))
            return self.sums[-1]

    @stream
    def all_of_in_thread(self, items: Iterator[int]) -> int:
        with self.noted():
            return sum(items)

    @stream
    async def each(self, items: AsyncIterator[int]) -> AsyncIterator[int]:
        with self.noted():
            async for item in items:
                yield item

    @stream
    def each_in_thread(self, items: Iterator[int]) -> Iterator[int]:
        with self.noted():
            yield from items


ONWARD = {"pass_on": "wait", "pass_on_in_thread": "wait_in_thread", "pass_on_streaming": "silent"}
"""Which endpoint of `Waiting` an endpoint of `Relay` calls."""


class Relay(Executor):
    """Each endpoint works for `work` seconds, and then calls the endpoint `onward` names of the next executor: `width` times at
    once, with what is left of its time. `begun`, `ended` and `left` are times by the endpoint's name.
    """

    def __init__(
        self, following: Any, onward: dict[str, str], work: float = 0.0, width: int = 1, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.following, self.onward, self.work, self.width = following, onward, work, width
        self.left: dict[str, float | None] = {}
        self.ended: dict[str, float] = {}

    @contextmanager
    def noted(self) -> Iterator[str]:
        call = current()
        name = call.endpoint.name
        self.left[name] = call.remaining
        try:
            yield self.onward[name]
        finally:
            self.ended[name] = time.monotonic()

    @post
    async def pass_on(self) -> None:
        with self.noted() as onward:
            await asyncio.sleep(self.work)
            await asyncio.gather(*(self.following.apost(on=onward) for _ in range(self.width)))

    @post
    def pass_on_in_thread(self) -> None:
        with self.noted() as onward:
            time.sleep(self.work)
            self.following.post(on=onward)

    @stream
    async def pass_on_streaming(self) -> AsyncIterator[int]:
        with self.noted() as onward:
            await asyncio.sleep(self.work)
            async for item in self.following.astream(onward):
                yield item
