"""A process that reads a content by a cache: `cache_program.py ROOT SIGNATURE ORIGIN [gate]`.

The origin is a directory store; each get of it adds a line to ORIGIN.gets. With `gate` a get says "reached" on stdout after its
first chunk, and goes on when stdin has a line.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from xooai.cache import Cache
from xooai.plugins import open_store
from xooai.signature import sign_file
from xooai.store import Content, Store


class Origin:
    """A directory store whose gets are counted by all processes together."""

    name, url = "origin", ""

    def __init__(self, place: str, is_gated: bool) -> None:
        self._store: Store = open_store(place)
        self._gets, self._is_gated = Path(f"{place}.gets"), is_gated

    async def put(self, content: Content, *, durable: bool = False) -> None:
        await self._store.put(content, durable=durable)

    async def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        with self._gets.open("a") as file:
            file.write("get\n")
        async with aclosing(self._store.get(signature, start, end)) as chunks:
            async for chunk in chunks:
                yield chunk
                if self._is_gated:
                    self._is_gated = False
                    print("reached", flush=True)
                    await asyncio.to_thread(sys.stdin.readline)

    async def aclose(self) -> None:
        await self._store.aclose()


async def main(root: str, signature: str, place: str, *more: str) -> None:
    async with aclosing(Cache(root)) as cache:
        size = 8 << 20
        print("reading", flush=True)
        with await cache.get(signature, Origin(place, "gate" in more), size=size) as file:
            found, _ = sign_file(file)
        print("right" if found == signature else "wrong", cache.counts.around, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
