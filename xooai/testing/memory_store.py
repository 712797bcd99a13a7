"""memory://name: a store within one process, for tests. The store to read before writing one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from xooai.content import MemoryContent, check_range, key_of, verified
from xooai.errors import InvalidArgument, NotFound
from xooai.plugins import hookimpl
from xooai.store import Content, Entry, Opener, Store, StoreOptions

__all__ = ["MemoryStore", "xooai_store"]

_places: dict[str, dict[str, tuple[bytes, float]]] = {}
"""Place → signature → content and time, for as long as the process lives or it is cleared."""


class MemoryStore:
    """Contents at a place that all stores of this process share by its name; with sizes, deleting, listing and copying."""

    def __init__(self, place: str, name: str = "") -> None:
        self.name = name or "memory"
        self.url = f"memory://{place}"
        self._held = _places.setdefault(place, {})

    async def put(self, content: Content, *, durable: bool = False) -> None:
        key_of(content.signature)  # where it is none, nothing is read
        if content.signature in self._held:
            return
        async with aclosing(verified(content)) as chunks:
            parts = [chunk async for chunk in chunks]
        self._held.setdefault(content.signature, (b"".join(parts), time.time()))

    async def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        check_range(start, end)
        async with aclosing(MemoryContent(self._found(signature)[0], signature).read(start, end)) as chunks:
            async for chunk in chunks:
                yield chunk
                await asyncio.sleep(0)  # others have their turn, as where there is something to wait for

    async def size(self, signature: str) -> int | None:
        key_of(signature)
        held = self._held.get(signature)
        return None if held is None else len(held[0])

    async def delete(self, signature: str) -> None:
        key_of(signature)
        self._held.pop(signature, None)

    async def entries(self) -> AsyncGenerator[Entry, None]:
        for signature, (data, modified) in list(self._held.items()):
            yield Entry(signature, len(data), modified)

    async def copy_from(self, other: Store, signature: str) -> bool:
        if not isinstance(other, MemoryStore):
            return False
        self._held.setdefault(signature, other._found(signature))
        return True

    def clear(self) -> None:
        """Forget all contents of the place."""
        self._held.clear()

    async def aclose(self) -> None:
        """Nothing to let go of: the contents belong to the place."""

    def _found(self, signature: str) -> tuple[bytes, float]:
        key_of(signature)
        try:
            return self._held[signature]
        except KeyError:
            raise NotFound(f"the store {self.name!r} has no {signature}") from None


class _MemoryStores:
    def open(self, url: str, options: StoreOptions) -> Store:
        place = url.partition("://")[2].strip("/")
        if not place:
            raise InvalidArgument(f"{url!r} names nothing; it is written memory://name")
        if options.storage_options:
            unknown = ", ".join(sorted(options.storage_options))
            raise InvalidArgument(f"unknown storage_options for memory://: {unknown}; it has none")
        return MemoryStore(place, options.name)


@hookimpl
def xooai_store(scheme: str) -> Opener | None:
    """The stores of memory://."""
    return _MemoryStores() if scheme == "memory" else None
