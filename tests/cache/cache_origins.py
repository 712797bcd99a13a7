"""Where the contents of these tests come from: stores that count, wait, fail and die."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from xooai.cache import Cache
from xooai.content import MemoryContent, key_of
from xooai.errors import Unavailable
from xooai.store import Content
from xooai.testing import MemoryStore

__all__ = ["Bare", "Origin", "files_of", "mark_as_verified", "object_of", "read"]


class Origin(MemoryStore):
    """A store that counts its gets. `gated`: each waits after its first chunk until `released`; `dies` of them break then."""

    def __init__(self, *contents: bytes, gated: bool = False, dies: int = 0) -> None:
        super().__init__(secrets.token_hex())
        self.gets = self.sizes = self.cancelled = 0
        self.reached, self.released = asyncio.Event(), asyncio.Event()
        self.dies = dies
        if not gated:
            self.released.set()
        for data in contents:
            content = MemoryContent(data)
            self._held[content.signature] = (data, 0.0)

    async def size(self, signature: str) -> int | None:
        self.sizes += 1
        return await super().size(signature)

    async def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        self.gets += 1
        async with aclosing(super().get(signature, start, end)) as chunks:
            async for chunk in chunks:
                yield chunk
                self.reached.set()
                try:
                    await self.released.wait()
                except asyncio.CancelledError:
                    self.cancelled += 1
                    raise
                if self.dies:
                    self.dies -= 1
                    raise Unavailable("the origin has died")


class Bare:
    """A store that can put and get, and nothing else."""

    def __init__(self, origin: Origin) -> None:
        self.name, self.url, self._origin = "bare", origin.url, origin

    async def put(self, content: Content, *, durable: bool = False) -> None:
        await self._origin.put(content, durable=durable)

    def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        return self._origin.get(signature, start, end)

    async def aclose(self) -> None:
        await self._origin.aclose()


def object_of(root: Path, signature: str) -> Path:
    """The file of a content."""
    return root / "contents" / key_of(signature)


def mark_as_verified(root: Path, signature: str) -> None:
    """Have a content's file taken for right as it is now."""
    now = object_of(root, signature).stat()
    mark = root / "marks" / signature[7:9] / signature[7:]
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(f"{now.st_size} {now.st_ino} {now.st_mtime_ns} {now.st_ctime_ns}\n")


def files_of(root: Path) -> list[Path]:
    """All that is kept, or was to be: without what is always there."""
    return [path for path in root.rglob("*") if path.is_file() and path.name not in ("CACHEDIR.TAG", "swept", "total")]


async def read(cache: Cache, signature: str, origin: Origin | Bare, *, verify: bool = False) -> bytes:
    """A content by the cache, in one piece."""
    with await cache.get(signature, origin, verify=verify) as file:
        return await asyncio.to_thread(file.read)
