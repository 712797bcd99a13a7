"""Where a content comes from when it is not in the cache, and whether it was the source that failed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from xooai.errors import DataLoss, NotFound, Unavailable, XooaiError, too_large
from xooai.signature import Hasher, check
from xooai.store import Sizes, Store

__all__ = ["FromStore", "Source", "Watched", "checked", "sized"]


UNKNOWN = 10 * 1024**3  # bytes of a content whose size nobody tells: a source without an end must not fill the disk


class Source(Protocol):
    """What a content is read from: a `Content`, or one whose size is not known yet (None)."""

    @property
    def signature(self) -> str:
        """What it has to be."""

    @property
    def size(self) -> int | None:
        """Bytes."""

    def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """As that of `Content`. An OSError that is none of ours is told as Unavailable."""


@dataclass(frozen=True)
class FromStore:
    """A content of a store. Two of the same store are equal."""

    store: Store
    signature: str
    size: int | None = None

    def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        return self.store.get(self.signature, start, end)


async def sized(source: Source) -> int | None:
    """The size of a content, asked of its store where it is not known; None where that cannot tell. Raises as its `get` does."""
    if source.size is None and isinstance(source, FromStore) and isinstance(source.store, Sizes):
        size = await source.store.size(source.signature)
        if size is None:
            raise NotFound(f"the store {source.store.name!r} has no {source.signature}")
        return size
    return source.size


async def _read(source: Source, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
    """What a source gives. What the system tells it must not be taken for what it tells the cache."""
    try:
        async with aclosing(source.read(start, end)) as chunks:
            async for chunk in chunks:
                yield chunk
    except XooaiError:  # some of which are an OSError too
        raise
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise Unavailable(f"the source of {source.signature} does not work: {why}") from error


async def checked(source: Source) -> AsyncGenerator[bytes, None]:
    """All of a content, then DataLoss where it was another. Raises ResourceExhausted for one without a size that does not end."""
    hasher, most = Hasher(check(source.signature)[0]), UNKNOWN if source.size is None else source.size
    async with aclosing(_read(source)) as chunks:
        async for chunk in chunks:
            if hasher.size + len(chunk) > most:
                raise _too_much(source)
            hasher.update(chunk)
            yield chunk
    if hasher.signature != source.signature or source.size not in (None, hasher.size):
        raise DataLoss(f"the content is {hasher.signature}, {hasher.size:,} bytes; it should be {source.signature}")


def _too_much(source: Source) -> XooaiError:
    if source.size is None:
        return too_large(None, UNKNOWN, "a content of unknown size")
    return DataLoss(f"the content has more than the {source.size:,} bytes that it should have")


class Watched:
    """A content that remembers what its source raised: that is no failure of the cache."""

    def __init__(self, source: Source, size: int) -> None:
        self.signature, self.size = source.signature, size
        self.error: BaseException | None = None
        self._source = source

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        self.error = None
        try:
            async with aclosing(_read(self._source, start, end)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except Exception as error:
            self.error = error
            raise
