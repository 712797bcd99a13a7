"""An executor with endpoints of every shape that counts how often each call has run, and calls that check its answers."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from xooai import Executor, post, stream

__all__ = ["PATIENCE", "SHAPES", "Ledger"]

PATIENCE = 60.0  # seconds: what waits longer fails its test instead of stopping the run
BLOCKS = 8  # items of a stream


def block(number: int, size: int) -> bytes:
    """Content that differs from block to block."""
    return hashlib.sha256(b"%d" % number).digest() * (size // 32) + bytes(size % 32)


class Ledger(Executor):
    """None of its endpoints is idempotent: `runs` counts the executions of each call by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: Counter[str] = Counter()
        self.running = 0
        self._lock = threading.Lock()

    @contextmanager
    def counted(self, call: str) -> Iterator[None]:
        with self._lock:
            self.runs[call] += 1
            self.running += 1
        try:
            yield
        finally:
            with self._lock:
                self.running -= 1

    @post
    async def turn(self, call: str, content: bytes) -> bytes:
        with self.counted(call):
            await asyncio.sleep(0)
            return content[::-1]

    @post
    def turn_in_thread(self, call: str, content: bytes) -> bytes:
        with self.counted(call):
            return content[::-1]

    @stream
    async def blocks(self, call: str, n: int, size: int) -> AsyncIterator[bytes]:
        with self.counted(call):
            for number in range(n):
                yield block(number, size)

    @stream
    def blocks_in_thread(self, call: str, n: int, size: int) -> Iterator[bytes]:
        with self.counted(call):
            for number in range(n):
                yield block(number, size)

    @stream
    async def digest(self, call: str, parts: AsyncIterator[bytes]) -> str:
        with self.counted(call):
            found = hashlib.sha256()
            async for part in parts:
                found.update(part)
            return found.hexdigest()

    @stream
    async def turned(self, call: str, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        with self.counted(call):
            async for part in parts:
                yield part[::-1]


# A call of each shape: its answer is checked, so that only a whole one is a success.


async def _parts(size: int) -> AsyncIterator[bytes]:
    for number in range(BLOCKS):
        yield block(number, size // BLOCKS)


async def turn(client: Ledger, call: str, size: int, timeout: float) -> None:
    content = block(1, size)
    assert await client.apost(on="turn", call=call, content=content, timeout=timeout) == content[::-1]


async def blocks(client: Ledger, call: str, size: int, timeout: float) -> None:
    given = client.astream("blocks", call=call, n=BLOCKS, size=size // BLOCKS, timeout=timeout)
    assert [item async for item in given] == [part async for part in _parts(size)]


async def digest(client: Ledger, call: str, size: int, timeout: float) -> None:
    wanted = hashlib.sha256(b"".join([part async for part in _parts(size)])).hexdigest()
    assert await client.astream("digest", call=call, parts=_parts(size), timeout=timeout) == wanted


async def turned(client: Ledger, call: str, size: int, timeout: float) -> None:
    given = client.astream("turned", call=call, parts=_parts(size), timeout=timeout)
    assert [item async for item in given] == [part[::-1] async for part in _parts(size)]


Caller = Callable[[Ledger, str, int, float], Coroutine[Any, Any, None]]

SHAPES: dict[str, Caller] = {"unary": turn, "server": blocks, "client": digest, "both": turned}
"""What makes a call of each shape: with so many bytes of content, and so much time. Raises what the call ends with."""
