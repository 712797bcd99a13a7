"""A server of large streams in a process of its own, whose memory tests look at: run with the URL to listen at."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator

from xooai import Executor, post, stream

__all__ = ["PART", "Bulk", "part"]

PART = 1024 * 1024  # bytes of an item


def part(number: int, size: int = PART) -> bytes:
    """Content that differs from item to item."""
    return number.to_bytes(8, "big") + bytes(size - 8)


class Bulk(Executor):
    @post
    async def ready(self) -> str:
        return "ready"

    @stream
    async def down(self, n: int, size: int = PART) -> AsyncIterator[bytes]:
        for number in range(n):
            yield part(number, size)

    @stream
    async def up(self, parts: AsyncIterator[bytes]) -> str:
        found = hashlib.sha256()
        async for content in parts:
            found.update(content)
        return found.hexdigest()

    @stream
    async def deaf(self, parts: AsyncIterator[bytes]) -> int:
        await asyncio.sleep(3600)
        return 0


if __name__ == "__main__":
    with Bulk() as bulk:
        print(bulk.start(sys.argv[1])[0], flush=True)
        sys.stdin.read()
