"""Contents by signature, kept on this machine: fetched once, verified, shared by all processes of a user."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import BinaryIO, TypeVar

from xooai.aside import with_file
from xooai.cache.counts import Counts
from xooai.cache.flights import Flights
from xooai.cache.folder import Folder, Unusable, given_limit, told
from xooai.cache.memory import LARGEST, Memory
from xooai.cache.shelf import Shelf
from xooai.cache.source import FromStore, Source, checked
from xooai.cache.spool import chunks_of, spooled
from xooai.cache.sweep import HOUR, sweep_when_due
from xooai.cache_place import place
from xooai.errors import DataLoss, FailedPrecondition, Unavailable, XooaiError
from xooai.log import logger
from xooai.signature import check, sign
from xooai.store import Content, Store
from xooai.timed import found_here

__all__ = ["Cache"]

ATTEMPTS = 4  # in a row others fail to fetch a content, or it is removed before its reader has it open: then it goes on like that

T = TypeVar("T")

WARNED_EVERY = 60.0  # seconds: of a full disk every reader would tell

_log = logger("xooai.cache")


class Cache:
    """A cache at a folder, for one loop: `root`, or what XOOAI_CACHE says, or the platform's own. Opening it makes nothing.

    Who reads is served also where the cache cannot be used, from the source, and a warning tells why.
    """

    def __init__(self, root: str | None = None, *, limit: int | None = None) -> None:
        """`limit` is in bytes: at most that much is kept, or what XOOAI_CACHE_LIMIT says, or 10 GiB or a tenth of the disk."""
        self.counts = Counts()
        folder = Folder(_place() if root is None else os.path.abspath(root))
        self._shelf = Shelf(folder, given_limit() if limit is None else limit, self.counts)
        self._memory = Memory()
        self._flights = Flights()
        self._next_warning = 0.0
        self._next_sweep = 0.0

    async def open(self, source: Source, *, verify: bool = False) -> BinaryIO:
        """A content as a file that can seek and has a `fileno`, verified; it belongs to the caller, and stays readable when the
        cache removes it. Where it is here, nothing is fetched, and with `verify` it is read as a whole once more. Raises what
        reading the source raises, DataLoss where that gives something else, ResourceExhausted where it has no room at all.
        """
        try:
            return await self._kept(source, verify)
        except Unusable as trouble:
            self._around(trouble)
            folder = self._shelf.folder.root if trouble.is_size else None  # its disk may be full, or fail
        try:
            return await spooled(source, folder)
        except Unusable as trouble:
            raise trouble.error from trouble.__cause__

    async def get(self, signature: str, store: Store, *, size: int | None = None, verify: bool = False) -> BinaryIO:
        """As `open`, of a content in a store, which is asked for its size where that is not known."""
        return await self.open(FromStore(store, signature, size), verify=verify)

    async def read(self, source: Source) -> bytes:
        """All of a content; small ones stay in memory. Raises as `open`, and needs no room on the disk."""
        check(source.signature)
        data = self._memory.get(source.signature)
        if data is not None:
            self.counts.add("hits")
            found_here()
            return _of_size(data, len(data), source)
        data = await self._read(source)
        self._memory.put(source.signature, data)
        return data

    async def stream(self, source: Source) -> AsyncGenerator[bytes, None]:
        """All of a content, in chunks; for who needs no file. Raises as `open`. Where the cache cannot take it, it comes from its
        source as it is read there, in no more memory than that, and DataLoss only at its end.
        """
        is_begun = False
        try:
            async with aclosing(_chunks(await self._kept(source, False))) as chunks:
                async for chunk in chunks:
                    is_begun = True
                    yield chunk
            return
        except Unusable as trouble:
            if is_begun:
                raise trouble.error from trouble.__cause__
            self._around(trouble)
        async with aclosing(checked(source)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def put(self, content: Content) -> None:
        """Have a content here that its caller has, verified while it is read; where it is here it is not read. Nobody waits for
        another who brings the same. Raises DataLoss, what reading it raises, and ResourceExhausted where it cannot be kept.
        """
        check(content.signature)
        self._sweep()
        file = await self.find(content.signature)
        if file is not None:
            file.close()
            return
        try:
            await self._shelf.take(content)
        except Unusable as trouble:
            self._tell(trouble)
            raise trouble.error from trouble

    async def remove(self, signature: str) -> None:
        """Have a content here no more, where nobody brings it just now; who reads it reads on. What hinders that is logged."""
        try:
            await self._shelf.remove(signature)
        except Unusable as trouble:
            self._tell(trouble)

    async def limit(self) -> int:
        """How many bytes it may hold. Raises what hinders its use."""
        try:
            return await self._shelf.limit()
        except Unusable as trouble:
            raise trouble.error from trouble

    @property
    def folder(self) -> Folder:
        """Where it is: for what else is kept beside it."""
        return self._shelf.folder

    async def find(self, signature: str) -> BinaryIO | None:
        """A content as a file, where it is here; None where it would have to be fetched, or verified as a whole."""
        check(signature)
        try:
            return await self._shelf.find(signature)
        except Unusable as trouble:
            self._tell(trouble)
            return None

    async def has(self, signature: str) -> bool:
        """Whether a content is here, verified or not."""
        check(signature)
        if self._memory.get(signature) is not None:
            return True
        try:
            return await self._shelf.has(signature)
        except Unusable:
            return False

    async def aclose(self) -> None:
        """End what is on its way. Any number of times."""
        await self._flights.aclose()
        await self._shelf.aclose()

    async def _kept(self, source: Source, verify: bool) -> BinaryIO:
        """A content from disk, fetched where it is not there. Raises Unusable."""
        signature = source.signature
        check(signature)
        self._sweep()
        for attempt in range(ATTEMPTS):
            if not (verify and attempt == 0):
                file = await self._shelf.find(signature)
                if file is not None:
                    if attempt == 0:
                        self.counts.add("hits")
                        found_here()
                    return _sized(file, source)
            await self._flights.join(signature, source, lambda: self._shelf.bring(source, again=verify))
        raise Unusable(
            Unavailable(f"{ATTEMPTS} times in a row, others failed to fetch a content, or it was removed at once")
        )

    async def _read(self, source: Source) -> bytes:
        try:
            for verify in (False, True):
                file = await self._kept(source, verify)
                data, is_right = await with_file(file, lambda file, _: _whole(file, source.signature))
                if is_right:
                    return data
        except Unusable as trouble:
            self._around(trouble)
        except XooaiError:  # some of which are an OSError too
            raise
        except OSError as error:
            self._around(Unusable(told(error, "the cache")))
        async with aclosing(checked(source)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    def _sweep(self) -> None:
        """Have what dead processes left removed, beside what else is done. What hinders that is told when it hinders a reader."""
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + HOUR
            self._flights.start("sweep", lambda: sweep_when_due(self._shelf))

    def _around(self, trouble: Unusable) -> None:
        self.counts.add("around")
        self._tell(trouble)

    def _tell(self, trouble: Unusable) -> None:
        """Warn of what is wrong with the cache, now and then; that a content is larger than it is nothing wrong."""
        if time.monotonic() >= self._next_warning and not trouble.is_size:
            self._next_warning = time.monotonic() + WARNED_EVERY
            _log.warning("contents are served around the cache at %s: %s", self._shelf.folder.root or "-", trouble)


def _place() -> str:
    try:
        return place()
    except FailedPrecondition:  # which whoever reads is warned of
        return ""


def _whole(file: BinaryIO, signature: str) -> tuple[bytes, bool]:
    """All of a file, and whether it is right, which is soon seen of a small one: it will be in memory for long."""
    data = file.read()
    return data, len(data) > LARGEST or sign(data) == signature


async def _chunks(file: BinaryIO) -> AsyncGenerator[bytes, None]:
    """All of a file of the cache, which is closed. Raises Unusable."""
    try:
        with file:
            async with aclosing(chunks_of(file)) as chunks:
                async for chunk in chunks:
                    yield chunk
    except OSError as error:
        raise Unusable(told(error, "the cache")) from error


def _sized(file: BinaryIO, source: Source) -> BinaryIO:
    try:
        return _of_size(file, os.fstat(file.fileno()).st_size, source)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError) and not isinstance(error, XooaiError):
            raise Unusable(told(error, "the cache")) from error
        raise


def _of_size(found: T, size: int, source: Source) -> T:
    if source.size not in (None, size):
        raise DataLoss(f"{source.signature} has {size:,} bytes, it should have {source.size:,}")
    return found
