"""How much the cache holds, and what it removes for more: what was not used for longest.

Processes share a count of bytes and contents in a small file, which a lock guards. It is made anew by looking at all contents,
where it is missing and whenever something is removed; so what a process that died has not counted is found out.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from xooai.cache.counts import Counts
from xooai.cache.folder import Folder
from xooai.cache.locks import TOTAL, Locks
from xooai.cache.marks import Marks
from xooai.errors import NotFound, XooaiError
from xooai.signature import check
from xooai.store import Deletes, Lists, Opens, Store, Sweeps

__all__ = ["LOW", "Files", "Held", "Room", "default_limit", "on_disk"]

LARGEST = 10 * 1024**3  # bytes: some thousands of pictures and dozens of videos, which few will miss on a disk of today
SHARE = 10  # at most this part of the disk, where that is less: the disk is there for more than a cache
CONTENTS = 100_000  # to look at them all takes a second or two
LOW = 7 / 8  # how much stays where something has to go: one look at all contents serves for an eighth of them
IDLE = (
    60.0  # seconds without a write, on a disk that is full: whose draft is removed too early is served around the cache
)
BATCH = 100  # contents looked after while a thread is at it
BLOCK = 4096  # bytes that filesystems give to a file at once: of many small contents most is this


class Files(Store, Opens, Deletes, Lists, Sweeps, Protocol):
    """The store below a cache."""


class Held(NamedTuple):
    """What a cache holds: bytes on the disk, and contents."""

    size: int
    number: int


class _Content(NamedTuple):
    used: float
    size: int
    signature: str

    @property
    def digest(self) -> str:
        return check(self.signature)[1]


def default_limit(root: str) -> int:
    """Bytes that a cache may hold where nobody has said how many. Blocks."""
    return min(LARGEST, shutil.disk_usage(root).total // SHARE)


class Room:
    """The room of one cache."""

    def __init__(self, folder: Folder, marks: Marks, locks: Locks, counts: Counts) -> None:
        self._folder, self._marks, self._locks, self._counts = folder, marks, locks, counts
        self._path = os.path.join(folder.root, TOTAL)

    async def add(self, files: Files, size: int, limit: int) -> None:
        """Count a content that is here now, and have others make way: not before, for what only somebody says to be as large.
        Raises what the store below raises.
        """
        if await asyncio.to_thread(self._added_at_once, size, limit):
            return
        async with self._locks.held(TOTAL):
            if not await asyncio.to_thread(self._added, size, limit):
                await self._remove(files, limit)

    async def free(self, files: Files, size: int) -> bool:
        """Remove what dead processes may have left, or contents of so many bytes, for a disk that is full. False where it would
        not be enough: then no content was removed.
        """
        async with self._locks.held(TOTAL):
            if await files.sweep(IDLE) and await asyncio.to_thread(self._free) >= on_disk(size):
                return True
            found = await self._all(files)
            total = sum(content.size for content in found)
            if total + await asyncio.to_thread(self._free) < on_disk(size):
                return False
            return await self._remove_from(files, found, lambda held: held.size > total - on_disk(size)) > 0

    async def clear(self, files: Files) -> Held:
        """Remove all but what is on its way; what there was."""
        async with self._locks.held(TOTAL):
            found = await self._all(files)
            number = await self._remove_from(files, found, lambda _: True)
            left = {content.signature for content in await self._all(files)}
        return Held(sum(content.size for content in found if content.signature not in left), number)

    async def remove(self, files: Files, signature: str) -> None:
        """Remove a content, unless somebody is just bringing it. Raises what the store below raises."""
        digest = check(signature)[1]
        async with self._locks.held(TOTAL):
            try:
                with await files.open(signature) as file:
                    size = on_disk(os.fstat(file.fileno()).st_size)
            except NotFound:
                return
            if await asyncio.to_thread(self._locks.is_held, digest) or not await _is_removed(files, signature):
                return
            await self._marks.remove(digest)
            await asyncio.to_thread(self._subtract, size)

    async def forget(self) -> None:
        """Have all contents looked at before the next one comes: something else than this has changed them."""
        await asyncio.to_thread(self._forget)

    async def _remove(self, files: Files, limit: int) -> None:
        """Where there is more than `limit`, remove what was used least lately, until an eighth of it is free."""
        found, low, number = await self._all(files), int(limit * LOW), int(CONTENTS * LOW)
        if sum(content.size for content in found) <= limit and len(found) < CONTENTS:
            low, number = limit, CONTENTS  # nothing has to go: the count was missing, or wrong
        await self._remove_from(files, found, lambda held: held.size > low or held.number > number)

    async def _remove_from(self, files: Files, found: list[_Content], is_too_much: Callable[[Held], bool]) -> int:
        """Remove contents in this order until it is not too much; how many. Those that somebody is just bringing stay."""
        held = Held(sum(content.size for content in found), len(found))
        before = held.number
        for place in range(0, len(found), BATCH):
            if not is_too_much(held):
                break
            gone: list[str] = []
            for content in await asyncio.to_thread(self._unlocked, found[place : place + BATCH]):
                if is_too_much(held) and await _is_removed(files, content.signature):
                    held = Held(held.size - content.size, held.number - 1)
                    gone.append(content.digest)
            await self._marks.remove(*gone)
        await asyncio.to_thread(self._write, held)
        self._counts.add("evicted", before - held.number)
        return before - held.number

    def _unlocked(self, contents: list[_Content]) -> list[_Content]:
        return [content for content in contents if not self._locks.is_held(content.digest)]

    async def _all(self, files: Files) -> list[_Content]:
        """All contents, what was used least lately first."""
        used = await asyncio.to_thread(self._marks.used)
        found = [
            _Content(used.get(check(entry.signature)[1], entry.modified), on_disk(entry.size), entry.signature)
            async for entry in files.entries()
        ]
        return sorted(found)

    def _added_at_once(self, size: int, limit: int) -> bool:
        """As `_added`; False too where somebody else is at the count."""
        with self._locks.at_once(TOTAL) as is_held:
            return is_held and self._added(size, limit)

    def _added(self, size: int, limit: int) -> bool:
        """Count one more; False where it is too much then, or where there is no count."""
        held = self._read()
        if held is None or held.size + on_disk(size) > limit or held.number >= CONTENTS:
            return False
        self._write(Held(held.size + on_disk(size), held.number + 1))
        return True

    def _subtract(self, size: int) -> None:
        held = self._read()
        if held is not None:
            self._write(Held(max(0, held.size - size), max(0, held.number - 1)))

    def _read(self) -> Held | None:
        try:
            fd = self._folder.file(self._path, os.O_RDONLY)
            try:
                size, number = os.read(fd, 100).split()
            finally:
                os.close(fd)
            return Held(int(size), int(number))
        except (OSError, ValueError):  # who wrote it died while it did
            return None

    def _write(self, held: Held) -> None:
        with suppress(OSError):  # what is missing is counted anew
            fd = self._folder.file(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                os.write(fd, b"%d %d\n" % held)
            finally:
                os.close(fd)

    def _free(self) -> int:
        try:
            return shutil.disk_usage(self._folder.root).free
        except OSError:
            return 0

    def _forget(self) -> None:
        with suppress(OSError):
            os.unlink(self._path)


def on_disk(size: int) -> int:
    """Bytes that a file of this size takes."""
    return -(-size // BLOCK) * BLOCK


async def _is_removed(files: Files, signature: str) -> bool:
    try:
        await files.delete(signature)
    except XooaiError:  # what cannot be removed takes its room for now
        return False
    return True
