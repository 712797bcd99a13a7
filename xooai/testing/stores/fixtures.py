"""What the tests of a store stand on: the store, what it says of itself, and contents that do what the tests need."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, ClassVar

import pytest

from xooai.content import MemoryContent
from xooai.errors import NotFound
from xooai.signature import sign
from xooai.store import Store

__all__ = ["Broken", "Fixtures", "Gated", "Once", "Open", "bytes_of", "got", "is_there"]

Open = Callable[[], Store]
"""Opens the store under test: each time another object, at the same place."""


class Fixtures:
    """What a store says of itself, as attributes and a fixture of its test class."""

    large: ClassVar[int] = 12 * 1024 * 1024 + 1
    """Bytes of a large content: more than what goes in one piece."""

    secrets: ClassVar[tuple[str, ...]] = ()
    """What its options hold that nobody may see."""

    patience: ClassVar[float] = 60.0
    """Seconds for one test: what hangs fails its test instead of stopping the run."""

    @pytest.fixture
    def open_store(self) -> Open:
        """Open the store under test, at a place that is empty when the test begins."""
        raise NotImplementedError("the tests of a store have a fixture `open_store`; see xooai.testing.StoreTests")


def bytes_of(size: int, seed: int = 0) -> bytes:
    """Bytes that look like none before them, the same each time: as a compressed picture."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size)


async def got(store: Store, signature: str, start: int = 0, end: int | None = None) -> bytes:
    """What a store gives, in one piece."""
    async with aclosing(store.get(signature, start, end)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def is_there(store: Store, signature: str) -> bool:
    """Whether a store gives a content."""
    try:
        await got(store, signature)
    except NotFound:
        return False
    return True


class Once(MemoryContent):
    """A content that counts how often it is read."""

    reads = 0

    def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        self.reads += 1
        return super().read(start, end)


class Gated:
    """A content that waits in the middle of its bytes until it is let go on."""

    def __init__(self, data: bytes) -> None:
        self.signature, self.size = sign(data), len(data)
        self.reached, self.released = asyncio.Event(), asyncio.Event()
        self._data = data

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        middle = self.size // 2
        async for chunk in MemoryContent(self._data, self.signature).read(start, middle):
            yield chunk
        self.reached.set()
        await self.released.wait()
        async for chunk in MemoryContent(self._data, self.signature).read(max(start, middle), end):
            yield chunk

    async def reach(self, putting: asyncio.Future[None]) -> None:
        """Wait until it is at its middle. Raises what the put raises that ends before."""
        reaching = asyncio.ensure_future(self.reached.wait())
        both: set[asyncio.Future[Any]] = {reaching, putting}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if putting.done():
            reaching.cancel()
            putting.result()


class Broken:
    """A content that announces what it does not give: other bytes, fewer, more; or it fails with `error` after them."""

    def __init__(self, announced: bytes, given: bytes, error: Exception | None = None) -> None:
        self.signature, self.size = sign(announced), len(announced)
        self._given, self._error = given, error

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        async for chunk in MemoryContent(self._given).read(start, end):
            yield chunk
        if self._error is not None:
            raise self._error
