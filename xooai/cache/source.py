"""Where a content comes from when it is not in the cache, and whether it was the source that failed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from xooai.errors import NotFound
from xooai.store import Sizes, Store

__all__ = ["Source", "StoreSource", "Watched", "sized"]


class Source(Protocol):
    """What a content is read from: a `Content`, or one whose size is not known yet (None)."""

    @property
    def signature(self) -> str:
        """What it has to be."""

    @property
    def size(self) -> int | None:
        """Bytes."""

    def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """As that of `Content`."""


@dataclass(frozen=True)
class StoreSource:
    """A content of a store. Two of the same store are equal."""

    store: Store
    signature: str
    size: int | None = None

    def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        return self.store.get(self.signature, start, end)


async def sized(source: Source) -> int | None:
    """The size of a content, asked of its store where it is not known; None where that cannot tell. Raises as its `get` does."""
    if source.size is None and isinstance(source, StoreSource) and isinstance(source.store, Sizes):
        size = await source.store.size(source.signature)
        if size is None:
            raise NotFound(f"the store {source.store.name!r} has no {source.signature}")
        return size
    return source.size


class Watched:
    """A content that remembers what its source raised: that is no failure of the cache."""

    def __init__(self, source: Source, size: int) -> None:
        self.signature, self.size = source.signature, size
        self.error: BaseException | None = None
        self._source = source

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        self.error = None
        try:
            async with aclosing(self._source.read(start, end)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except Exception as error:
            self.error = error
            raise
