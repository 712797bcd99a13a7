"""What an operator asks of a cache: how much there is, to empty it, to look whether all is right."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from xooai.cache.counts import Counts
from xooai.cache.folder import Folder, Unusable, given_limit
from xooai.cache.room import Held, on_disk
from xooai.cache.shelf import Shelf
from xooai.cache.sweep import sweep
from xooai.cache_place import place
from xooai.signature import check

__all__ = ["Info", "Verified", "clear", "info", "verify"]

T = TypeVar("T")


@dataclass(frozen=True)
class Info:
    """What a cache holds now. What was read from it each process knows of itself alone."""

    root: str
    limit: int | None
    """Bytes; None where there is no cache yet."""

    contents: Held
    corrupt: Held
    brought: int
    """Contents that are on their way."""

    used: tuple[float, float] | None
    """When contents were used last, in seconds since 1970: the one that would go first, and the latest."""


@dataclass(frozen=True)
class Verified:
    """What was found by reading everything."""

    contents: Held
    corrupt: tuple[str, ...]
    """Signatures of what was moved away."""

    unread: tuple[str, ...]
    """What could not be read, and why: it stays."""


def info() -> Info:
    """How much this user's cache holds. Nothing is made where there is nothing. Raises PermissionDenied, Unavailable."""
    return _done(_info, Info(place(), None, Held(0, 0), Held(0, 0), 0, None))


def clear() -> Held:
    """Remove everything but what is on its way; what there was. Who reads a content reads on. Raises as `info`."""
    return _done(_clear, Held(0, 0))


def verify() -> Verified:
    """Read everything, and move away what is not right. Raises as `info`."""
    return _done(_verify, Verified(Held(0, 0), (), ()))


def _done(work: Callable[[Shelf], Awaitable[T]], nothing: T) -> T:
    """Do something with this user's cache, where there is one."""
    folder, limit = Folder(place()), given_limit()
    if not os.path.exists(folder.root):
        return nothing

    async def done() -> T:
        async with aclosing(Shelf(folder, limit, Counts())) as shelf:
            return await work(shelf)

    try:
        return asyncio.run(done())
    except Unusable as trouble:
        raise trouble.error from None


async def _info(shelf: Shelf) -> Info:
    files = await shelf.files()
    sizes = {check(entry.signature)[1]: on_disk(entry.size) async for entry in files.entries()}
    marks = await asyncio.to_thread(shelf.marks.used)
    used = [marks[digest] for digest in sizes if digest in marks]
    return Info(
        root=shelf.folder.root,
        limit=await shelf.limit(),
        contents=Held(sum(sizes.values()), len(sizes)),
        corrupt=await asyncio.to_thread(shelf.corrupt.held),
        brought=await asyncio.to_thread(shelf.locks.count),
        used=(min(used), max(used)) if used else None,
    )


async def _clear(shelf: Shelf) -> Held:
    files = await shelf.files()
    removed = await shelf.room.clear(files)
    corrupt = await asyncio.to_thread(shelf.corrupt.clear)
    await sweep(shelf, files)
    return Held(removed.size + corrupt.size, removed.number + corrupt.number)


async def _verify(shelf: Shelf) -> Verified:
    files = await shelf.files()
    right, corrupt, unread = Held(0, 0), list[str](), list[str]()
    for entry in [entry async for entry in files.entries()]:
        async with shelf.locks.held(check(entry.signature)[1]):
            try:
                if await shelf.is_whole(entry.signature, again=True):
                    right = Held(right.size + on_disk(entry.size), right.number + 1)
                elif shelf.counts.corrupt > len(corrupt):  # else it has been removed meanwhile
                    corrupt.append(entry.signature)
            except Unusable as trouble:
                unread.append(f"{entry.signature}: {trouble}")
    return Verified(right, tuple(corrupt), tuple(unread))
