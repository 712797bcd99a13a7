"""An executor with an endpoint of every streaming shape, on the loop and in threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar

from xooai import Executor, NotFound, Text, current, stream

NOTE: ContextVar[str] = ContextVar("note", default="nothing")
PATIENCE = 20  # seconds
BLOCK = bytes(100_000)


class Talker(Executor):
    """`said` tells what happened, `closed` is set when a stream's own clean-up has run."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.said: list[str] = []
        self.made = 0
        self.running = threading.Event()
        self.closed = threading.Event()
        self.go_on = threading.Event()

    # One request, many replies

    @stream
    async def count(self, n: int, start: int = 0) -> AsyncIterator[int]:
        try:
            for number in range(start, start + n):
                self.made += 1
                yield number
        finally:
            self.said.append("closed")
            self.closed.set()

    @stream
    def steps(self, n: int, start: int = 0) -> Iterator[int]:
        try:
            for number in range(start, start + n):
                self.made += 1
                yield number
        finally:
            self.said.append("closed")
            self.closed.set()

    @stream
    async def blocks(self) -> AsyncIterator[bytes]:
        while True:
            self.made += 1
            yield BLOCK

    @stream
    def blocks_in_thread(self) -> Iterator[bytes]:
        while True:
            self.made += 1
            yield BLOCK

    @stream
    async def listed(self, n: int) -> AsyncIterator[int]:
        return self.count(n)

    @stream
    async def maybe(self) -> AsyncIterator[int | None]:
        for item in (1, None, 2, None):
            yield item

    @stream
    async def hang(self) -> AsyncIterator[int]:
        try:
            yield 1
            self.running.set()
            await asyncio.sleep(PATIENCE)
        finally:
            self.closed.set()

    @stream
    def stick(self) -> Iterator[int]:
        try:
            yield 1
            self.running.set()
            self.go_on.wait(PATIENCE)
            yield 2
        finally:
            self.closed.set()

    @stream
    async def fail(self, n: int, ours: bool = True) -> AsyncIterator[int]:
        for number in range(n):
            yield number
        raise NotFound("no more of these") if ours else ValueError("secret")

    @stream
    def fail_in_thread(self, n: int, ours: bool = True) -> Iterator[int]:
        yield from range(n)
        raise NotFound("no more of these") if ours else ValueError("secret")

    @stream
    async def wrong(self) -> AsyncIterator[int]:
        yield 1
        yield "two"  # type: ignore[misc]

    # Many requests, one reply

    @stream
    async def total(self, xs: AsyncIterator[int], scale: int = 1) -> int:
        return scale * sum([x async for x in xs])

    @stream
    def joined(self, xs: Iterator[Text], glue: str = " ") -> Text:
        return Text(value=glue.join(x.read() for x in xs))

    @stream
    async def first(self, xs: AsyncIterator[int]) -> int:
        return await anext(xs)

    @stream
    async def first_text(self, xs: AsyncIterator[Text]) -> Text:
        return await anext(xs)

    @stream
    def keep(self, xs: Iterator[int]) -> int:
        """Takes all, and says whether it was told that this is all."""
        try:
            taken = 0
            for _ in xs:
                taken += 1
                self.running.set()
            self.said.append(f"kept {taken}")
            return taken
        except Exception as error:
            self.said.append(type(error).__name__)
            raise
        finally:
            self.closed.set()

    @stream
    async def slow(self, xs: AsyncIterator[bytes]) -> int:
        self.running.set()
        await asyncio.to_thread(self.go_on.wait, PATIENCE)
        return sum([len(x) async for x in xs])

    # Both

    @stream
    async def chat(self, xs: AsyncIterator[Text]) -> AsyncIterator[Text]:
        async for x in xs:
            yield Text(value=x.read().upper())

    @stream
    def chat_in_thread(self, xs: Iterator[Text]) -> Iterator[Text]:
        for x in xs:
            yield Text(value=x.read().upper())

    @stream
    async def echo(self, xs: AsyncIterator[Text]) -> AsyncIterator[Text]:
        async for x in xs:
            yield x

    @stream
    async def greet(self, xs: AsyncIterator[str]) -> AsyncIterator[str]:
        yield "who?"
        async for x in xs:
            yield f"hello {x}"

    @stream
    async def refuse(self, xs: AsyncIterator[int]) -> AsyncIterator[int]:
        yield await anext(xs)
        raise NotFound("enough")

    # What is around a call

    @stream
    def noting(self, n: int) -> Iterator[str]:
        token = NOTE.set(current().metadata.get("note", "none"))
        try:
            for _ in range(n):
                time.sleep(0.001)  # more than one hop of threads makes at once
                yield NOTE.get()
        finally:
            NOTE.reset(token)
            self.closed.set()

    @stream
    async def left(self) -> AsyncIterator[float]:
        while True:
            yield current().remaining or 0
            await asyncio.sleep(0.001)

    @stream
    async def nested(self, n: int) -> AsyncIterator[float]:
        async for item in self.astream("left"):
            yield item
            n -= 1
            if n <= 0:
                return
