"""Locks between processes, by files: who is killed frees what it held."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress

from xooai import forks
from xooai.aside import in_thread
from xooai.cache.folder import Folder

if sys.platform != "win32":  # where there are no directories as stores, thus no cache
    import fcntl

__all__ = ["TOTAL", "Locks"]

TOTAL = "total"
"""The name of the lock of how much there is; all others are digests."""

FIRST, LAST = (
    0.002,
    0.1,
)  # seconds between two attempts, growing: a small content is there soon, a large one may take minutes
PATIENCE = 600.0  # seconds: who holds a lock for longer is taken for stuck, and to bring a content twice does no harm


class Locks:
    """The locks of one cache, by names that are no user's."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._held: set[int] = set()
        forks.renewed(self)

    @asynccontextmanager
    async def held(self, name: str) -> AsyncGenerator[None, None]:
        """Wait for a lock and hold it. Where the filesystem has no locks, or no room for one, nobody waits."""
        path = os.path.join(self._folder.locks, name)
        fd = await self._taken(path)
        if fd is not None:
            self._held.add(fd)
        try:
            yield
        finally:
            if fd is not None and fd in self._held:
                self._held.discard(fd)
                _free(fd, path)

    @contextmanager
    def at_once(self, name: str) -> Generator[bool, None, None]:
        """Hold a lock where nobody else does, for a moment; whether it is held. Blocks, and does not wait."""
        path = os.path.join(self._folder.locks, name)
        try:
            fd = self._attempt(path)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            _free(fd, path)

    def is_held(self, name: str) -> bool:
        """Whether somebody holds a lock. Blocks."""
        try:
            fd = self._folder.file(os.path.join(self._folder.locks, name), os.O_RDWR)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(fd)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def count(self) -> int:
        """How many contents are locked: those on their way. Blocks."""
        try:
            names = os.listdir(self._folder.locks)
        except OSError:
            return 0
        return sum(self.is_held(name) for name in names if name != TOTAL)

    def sweep(self, older: float) -> None:
        """Remove the files of locks that nobody holds and that were made `older` seconds ago. Blocks."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self._folder.locks):
                path = os.path.join(self._folder.locks, name)
                with suppress(OSError):
                    if os.lstat(path).st_mtime <= time.time() - older:
                        _free(self._attempt(path), path)

    def renew(self) -> None:
        """In the child of a fork the descriptors are copies, by which a lock of the parent's would outlive it."""
        held, self._held = self._held, set()
        for fd in held:
            with suppress(OSError):
                os.close(fd)

    async def _taken(self, path: str) -> int | None:
        delay, end = FIRST, time.monotonic() + PATIENCE
        while True:
            try:
                fd = await in_thread(lambda: self._attempt(path), lambda fd: _free(fd, path))
            except BlockingIOError:
                if time.monotonic() > end:
                    return None
            except OSError:
                return None  # whether the cache works at all is seen when it is written to
            else:
                return fd
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, LAST)

    def _attempt(self, path: str) -> int:
        """A descriptor that holds the lock. Raises BlockingIOError where another one does."""
        while True:
            fd = self._folder.file(path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(fd), os.lstat(path)):
                        return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # of a file that its last holder removed: the next attempt makes another


def _free(fd: int, path: str) -> None:
    """Let go of a lock, and remove its file while it is still ours; that of the count, which everybody needs, stays."""
    if not path.endswith(TOTAL):
        with suppress(OSError):
            os.unlink(path)
    with suppress(OSError):
        os.close(fd)
