"""The cache on disk: contents found, verified, brought once, and moved away when they are not what their signatures say."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Literal, TypeVar

from xooai.aside import with_file
from xooai.cache.corrupt import Corrupt
from xooai.cache.counts import Counts
from xooai.cache.folder import Folder, Unusable, told
from xooai.cache.locks import Locks
from xooai.cache.marks import Marks, Stamp
from xooai.cache.room import Files, Room, default_limit, on_disk
from xooai.cache.source import Source, Watched, sized
from xooai.cache.spool import Spooled, discard, spooled
from xooai.errors import DataLoss, FailedPrecondition, NotFound, XooaiError, too_large
from xooai.log import logger
from xooai.plugins import open_store
from xooai.signature import Hasher, check
from xooai.store import Content, Deletes, Lists, OnDisk, Opens, StoreOptions, Sweeps

__all__ = ["Shelf"]

T = TypeVar("T")

_log = logger("xooai.cache")
LOOKED_EVERY = (
    60.0  # seconds between two looks at whom the folder belongs to: who can change that is trusted for a minute
)
STEP = 256 * 1024  # bytes read at once, then hashed while they are in the core's own cache
_NO_FILE = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR})
"""What opening tells of a link, a folder or a device where a content belongs."""


class _NoFile(Exception):
    """There is a link, a folder or a device where a content belongs."""


class Shelf:
    """The contents of one cache on disk, for one loop; other loops and processes have their own at the same place."""

    def __init__(self, folder: Folder, limit: int | None, counts: Counts) -> None:
        self.folder, self.counts = folder, counts
        self.marks = Marks(folder)
        self.locks = Locks(folder)
        self.corrupt = Corrupt(folder)
        self.room = Room(folder, self.marks, self.locks, counts)
        self._limit = limit
        self._next_look = 0.0
        self._files: Files | None = None

    async def find(self, signature: str) -> BinaryIO | None:
        """A content that is here and is what it was when it was verified; None otherwise. Raises Unusable."""
        with _told():
            try:
                file = await self._opened(signature)
            except _NoFile:
                return None
            if file is None or await self._is_marked(signature, file):
                return file
            file.close()
            return None

    async def has(self, signature: str) -> bool:
        """Whether something is here under this signature. Raises Unusable."""
        try:
            file = await self._opened(signature)
        except _NoFile:
            return False
        if file is not None:
            file.close()
        return file is not None

    async def bring(self, source: Source, *, again: bool = False) -> None:
        """Have a content here, verified. One that is here and was not verified before, or has to be `again`, is read as a whole;
        one that is not here is fetched. Raises what the source raises, DataLoss where it gives something else, and Unusable.
        """
        with _told():
            await self.files()
            async with self.locks.held(check(source.signature)[1]):
                if not await self.is_whole(source.signature, again=again):
                    self.counts.add("misses")
                    await self._fetch(source)

    async def take(self, content: Content) -> None:
        """Have a content here that somebody brings, unless it is here. Raises what reading it raises, DataLoss, and Unusable."""
        with _told():
            await self._prepare()
            if not await self.is_whole(content.signature):
                await self._put(content if isinstance(content, OnDisk) else Watched(content, content.size))

    async def remove(self, signature: str) -> None:
        """Have a content here no more, unless somebody is just bringing it. Raises Unusable."""
        with _told():
            try:
                await self.room.remove(await self.files(), signature)
            except XooaiError as error:
                raise Unusable(error) from error

    async def is_whole(self, signature: str, *, again: bool = False) -> bool:
        """Whether a content is here and right, verified as a whole where it was not before, or `again`; one that is not right is
        moved away. Raises Unusable.
        """
        algorithm, digest = check(signature)
        with _told():
            try:
                file = await self._opened(signature)
            except _NoFile:
                return await self._move_away(signature, "no file")
            if file is None:
                return False
            try:
                stamp = Stamp.of(file.fileno())
                is_right = not again and await self.marks.is_right(digest, stamp)
            except BaseException:
                file.close()
                raise
            if is_right:  # another process brought it while this one waited
                file.close()
                return True
            found = await with_file(file, lambda file, is_left: _signature(file, algorithm, is_left))
            if found != signature:
                return await self._move_away(signature, found)
            await self.marks.put(digest, stamp)
            return True

    async def files(self) -> Files:
        """The store below; its folder is made and looked at first. Raises Unusable."""
        await self._prepare()
        if self._files is None:
            try:
                store = open_store(self.folder.contents, StoreOptions(name="cache"))
            except XooaiError as error:  # a system without directories as stores
                raise Unusable(error) from error
            if not all(isinstance(store, one) for one in (Opens, Deletes, Lists, Sweeps)):
                raise Unusable(FailedPrecondition(f"the store {store.name!r} cannot do what a cache needs"))
            self._files = store  # type: ignore[assignment] # looked at above
        assert self._files is not None
        return self._files

    async def limit(self) -> int:
        """How many bytes it may hold. Raises Unusable."""
        if self._limit is None:
            await self._prepare()
            self._limit = await self._usable(lambda: default_limit(self.folder.root))
        return self._limit

    async def aclose(self) -> None:
        if self._files is not None:
            await self._files.aclose()

    async def _prepare(self) -> None:
        """Look at the folder, unless that was done within the minute."""
        if time.monotonic() >= self._next_look:
            await self._usable(self.folder.make)
            self._next_look = time.monotonic() + LOOKED_EVERY

    async def _opened(self, signature: str) -> BinaryIO | None:
        """A content as it is here; None where it is not. Raises _NoFile, Unusable."""
        files = await self.files()
        try:
            return await files.open(signature)
        except NotFound:
            return None
        except XooaiError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_FILE:
                raise _NoFile from error
            raise Unusable(error) from error

    async def _is_marked(self, signature: str, file: BinaryIO) -> bool:
        try:
            return await self.marks.is_right(check(signature)[1], Stamp.of(file.fileno()))
        except BaseException:
            file.close()
            raise

    async def _fetch(self, source: Source) -> None:
        size = await sized(source)
        if size is None:
            file = await spooled(source, self.folder.root, await self.limit())
            try:
                await self._put(Spooled(file, source.signature))
            finally:
                discard(file)
        else:
            await self._put(Watched(source, size))

    async def _put(self, content: Content) -> None:
        """Put a content, on a disk that is full by removing others, and mark it: the store below has verified what it wrote."""
        files, limit = await self.files(), await self.limit()
        if on_disk(content.size) > limit:
            raise Unusable(too_large(content.size, limit, "a content that the cache cannot keep"))
        try:
            stamp = await self._written(files, content)
        except Unusable as full:
            if not (full.is_full and await self._freed(files, content.size)):
                raise
            stamp = await self._written(files, content)
        await self.marks.put(check(content.signature)[1], stamp)
        try:
            await self.room.add(files, stamp.size, limit)
        except (
            XooaiError
        ) as error:  # contents that cannot be looked at: where no other makes way, this one may not stay
            with suppress(XooaiError):
                await files.delete(content.signature)
            raise Unusable(error) from error

    async def _freed(self, files: Files, size: int) -> bool:
        try:
            return await self.room.free(files, size)
        except XooaiError as error:  # contents that cannot be looked at
            raise Unusable(error) from error

    async def _written(self, files: Files, content: Content) -> Stamp:
        try:
            await files.put(content)
            with await files.open(content.signature) as file:
                return Stamp.of(file.fileno())
        except DataLoss:
            raise
        except XooaiError as error:
            if isinstance(content, Watched) and content.error is not None:
                raise
            raise Unusable(error) from error

    async def _move_away(self, signature: str, found: str) -> Literal[False]:
        await self.marks.remove(check(signature)[1])
        if await self._usable(lambda: self.corrupt.move(signature)):
            self.counts.add("corrupt")
            _log.warning("the cache had %s, which should be %s: moved to %s", found, signature, self.folder.corrupt)
        await self.room.forget()
        return False

    async def _usable(self, work: Callable[[], T]) -> T:
        """Do something with the cache's folder, in a thread."""
        try:
            with _told():
                return await asyncio.to_thread(work)
        except XooaiError as error:
            raise Unusable(error) from error


@contextmanager
def _told() -> Generator[None, None, None]:
    """Tell what goes wrong with the cache's own files."""
    try:
        yield
    except XooaiError:  # some of which are an OSError too
        raise
    except OSError as error:
        raise Unusable(told(error, "the cache")) from error


def _signature(file: BinaryIO, algorithm: str, is_left: Callable[[], bool]) -> str:
    hasher = Hasher(algorithm)
    buffer = memoryview(bytearray(STEP))
    while not is_left() and (size := file.readinto(buffer)):  # type: ignore[attr-defined]
        hasher.update(buffer[:size])
    return hasher.signature  # which nobody looks at where all have left
