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
BEAT = 5.0  # seconds between two signs of life of who holds a lock: its file's time
PATIENCE = 30.0  # seconds without one: a process that is stopped keeps nobody longer, and to bring a content twice does no harm


class _Busy(Exception):
    """Somebody else holds a lock: `beat` is another one after each sign of life."""

    def __init__(self, fd: int) -> None:
        status = os.fstat(fd)
        self.beat = status.st_ino, status.st_mtime_ns


class Locks:
    """The locks of one cache, by names that are no user's."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._held: set[int] = set()
        self._stuck: tuple[int, int] | None = None
        forks.renewed(self)

    @asynccontextmanager
    async def held(self, name: str) -> AsyncGenerator[None, None]:
        """Wait for a lock and hold it. Nobody waits where its holder shows no sign of life, or where the filesystem has no locks,
        or no room for one.
        """
        path = os.path.join(self._folder.locks, name)
        fd = await self._taken(path)
        if fd is None:
            yield
            return
        self._held.add(fd)
        beating = asyncio.get_running_loop().create_task(_beat(path))
        try:
            yield
            await asyncio.to_thread(self._end, fd, path)  # a disk may be slow to remove a file
        finally:
            beating.cancel()
            self._end(fd, path)

    @contextmanager
    def at_once(self, name: str) -> Generator[bool, None, None]:
        """Hold a lock where nobody else does, for a moment; whether it is held. Blocks, and does not wait."""
        path = os.path.join(self._folder.locks, name)
        try:
            fd = self._attempt(path)
        except (OSError, _Busy):
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
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            _let_go(fd)
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
                with suppress(OSError, _Busy):
                    if os.lstat(path).st_mtime <= time.time() - older:
                        _free(self._attempt(path), path)

    def renew(self) -> None:
        """In the child of a fork the descriptors are copies, by which a lock of the parent's would outlive it."""
        held, self._held = self._held, set()
        for fd in held:
            with suppress(OSError):
                os.close(fd)

    def _end(self, fd: int, path: str) -> None:
        """Let go of a lock, once."""
        try:
            self._held.remove(fd)
        except KeyError:
            return
        _free(fd, path)

    async def _taken(self, path: str) -> int | None:
        delay, seen, end = (
            FIRST,
            self._stuck,
            0.0,
        )  # whom one has not waited for any more, the next does not wait for at all
        while True:
            try:
                fd = await in_thread(lambda: self._attempt(path), lambda fd: _free(fd, path))
            except _Busy as busy:
                if busy.beat != seen:
                    seen, end = busy.beat, time.monotonic() + PATIENCE
                elif time.monotonic() >= end:
                    self._stuck = seen
                    return None
            except OSError:
                return None  # whether the cache works at all is seen when it is written to
            else:
                return fd
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, LAST)

    def _attempt(self, path: str) -> int:
        """A descriptor that holds the lock. Raises _Busy where another one does."""
        while True:
            fd = self._folder.file(path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(fd), os.lstat(path)):
                        os.utime(fd)
                        return fd
            except BlockingIOError:
                try:
                    raise _Busy(fd) from None
                finally:
                    os.close(fd)
            except BaseException:
                _let_go(fd)
                raise
            _let_go(fd)  # of a file that its last holder removed: the next attempt makes another


async def _beat(path: str) -> None:
    """Show that the holder of a lock lives, until cancelled."""
    while True:
        await asyncio.sleep(BEAT)
        with suppress(OSError):
            await asyncio.to_thread(os.utime, path, follow_symlinks=False)


def _free(fd: int, path: str) -> None:
    """Let go of a lock, and remove its file while it is still ours; that of the count, which everybody needs, stays."""
    if not path.endswith(TOTAL):
        with suppress(OSError):
            os.unlink(path)
    _let_go(fd)


def _let_go(fd: int) -> None:
    """Unlock and close: a child forked meanwhile, which may live for long, has a copy that would keep the lock."""
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)
    with suppress(OSError):
        os.close(fd)
