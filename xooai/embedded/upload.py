"""A content on its way in: bytes come by one call or several, and go to the cache as they come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from xooai.errors import DataLoss, InvalidArgument, Unavailable
from xooai.signature import Hasher, check
from xooai.store import CHUNK, Content

__all__ = ["Upload"]

HELD = 2  # chunks in memory: one on its way to the disk while the next one comes


class Upload:
    """A `Content`, which is put by `keep` while it comes. One call at a time brings some of it."""

    def __init__(self, signature: str, size: int, keep: Callable[[Content], Awaitable[None]]) -> None:
        self.signature, self.size = signature, size
        self.place = 0
        """Bytes that came."""
        self.is_busy = False
        """Whether a call brings some now."""
        self._chunks: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._is_read = False
        self._hasher: Hasher | None = None
        self._keeping = asyncio.ensure_future(keep(self))
        self._keeping.add_done_callback(self._seen)

    @property
    def has_failed(self) -> bool:
        """Whether it cannot be kept, whatever comes."""
        keeping = self._keeping
        return keeping.done() and (keeping.cancelled() or keeping.exception() is not None)

    async def bring(self, chunks: AsyncIterator[bytes]) -> bool:
        """Take the chunks of one call; whether the content is whole now, and kept. Raises DataLoss, InvalidArgument, and what
        keeping it raises: then it is over. Where the call ends early, another one may go on.
        """
        self.is_busy = True
        try:
            async for chunk in chunks:
                if len(chunk) > CHUNK:
                    raise InvalidArgument(f"a chunk has {len(chunk):,} bytes; it has at most {CHUNK:,}")
                if self.place + len(chunk) > self.size:
                    raise InvalidArgument(f"more than the {self.size:,} bytes came that were announced")
                await self._take(chunk)
            if self.place < self.size:
                return False
            await self._finish()
            return True
        finally:
            self.is_busy = False

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """As that of `Content`, once."""
        if self._is_read or start:
            raise Unavailable("what comes by a call can be read only once")
        self._is_read = True
        given = 0
        while given < self.size:
            while not self._chunks:
                await self._change()
            chunk = self._chunks.popleft()
            self._changed.set()
            given += len(chunk)
            yield chunk

    async def aclose(self) -> None:
        """Give up what is not kept yet."""
        self._keeping.cancel()
        await asyncio.wait({self._keeping})

    async def _take(self, chunk: bytes) -> None:
        while len(self._chunks) >= HELD and not self._keeping.done():
            await self._change()
        if self._keeping.done():
            await self._hash(chunk)
        else:
            self._chunks.append(chunk)
            self._changed.set()
        self.place += len(chunk)

    async def _hash(self, *chunks: bytes) -> None:
        """Where the content was here already, nobody has read this one: it is hashed all the same, for who says to have a content
        that he only has the name of would else be given it.
        """
        self._keeping.result()
        if self._is_read:
            raise Unavailable("the content was brought by somebody else meanwhile; send it anew")
        if self._hasher is None:
            self._hasher = Hasher(check(self.signature)[0])
        while self._chunks:
            await asyncio.to_thread(self._hasher.update, self._chunks.popleft())
        for chunk in chunks:
            await asyncio.to_thread(self._hasher.update, chunk)

    async def _finish(self) -> None:
        if self._is_read or not self._keeping.done():
            await asyncio.wait({self._keeping})
        self._keeping.result()
        if not self._is_read:
            await self._hash()
            if self._hasher is None or self._hasher.signature != self.signature:
                raise DataLoss(f"the content is not {self.signature}, which was announced; nothing is stored")

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _seen(self, keeping: asyncio.Future[None]) -> None:
        self._changed.set()
        if not keeping.cancelled():
            keeping.exception()  # who brings the content is told
