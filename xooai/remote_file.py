"""What a peer's URL leads to, where the operator lets it be fetched: through the guarded fetcher, and nothing else."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import BinaryIO, cast

from xooai import fetch
from xooai.errors import DataLoss
from xooai.fetch import FetchPolicy

__all__ = ["Fetching", "data", "file"]


@dataclass(frozen=True)
class Fetching:
    """A content at a URL, whose signature is known: a source of the cache, which verifies it."""

    url: str
    signature: str
    size: int | None
    policy: FetchPolicy

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        async with await fetch.open(self.url, self.policy, start, end) as fetched:
            async for chunk in fetched:
                yield chunk


async def data(url: str, size: int | None, policy: FetchPolicy) -> bytes:
    """All of a content that has no signature. Raises what fetching it raises, DataLoss where it has another size."""
    async with await fetch.open(url, policy) as fetched:
        found = await fetched.read()
    _check(len(found), size)
    return found


async def file(url: str, size: int | None, policy: FetchPolicy) -> BinaryIO:
    """The same in a file without a name, at its beginning."""
    found = await asyncio.to_thread(tempfile.TemporaryFile)
    try:
        async with await fetch.open(url, policy) as fetched:
            async for chunk in fetched:
                await asyncio.to_thread(found.write, chunk)
        _check(await asyncio.to_thread(found.tell), size)
        await asyncio.to_thread(found.seek, 0)
    except BaseException:
        found.close()
        raise
    return cast("BinaryIO", found)


def _check(found: int, size: int | None) -> None:
    if size not in (None, found):
        raise DataLoss(f"the content has {found} bytes, size says {size}")
