"""What a content's file was when it was verified, and when it was used last: a small file for each content.

A file whose size, inode and times are those of then is taken to be what it was: the times change with every write, and also
when somebody sets them back, and a file that a power cut left short has another size. What a disk changes by itself does not
show there; reading with `verify` shows it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from xooai.cache.folder import Folder

__all__ = ["Marks", "Stamp"]

USED_EVERY = 60.0  # seconds: a use within the same minute is not recorded, which would be a write for each read
KNOWN_LIMIT = 10_000  # marks in memory, some 3 MB; beyond, all are read from their files again


class Stamp(NamedTuple):
    """What a file is, as far as it shows without reading it. Times in nanoseconds since 1970."""

    size: int
    inode: int
    modified: int
    changed: int

    @classmethod
    def of(cls, fd: int) -> Stamp:
        status = os.fstat(fd)
        return cls(status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


class Marks:
    """The marks of one cache."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._known: dict[str, tuple[Stamp, float]] = {}

    async def is_right(self, digest: str, stamp: Stamp) -> bool:
        """Whether a file is what it was when it was verified, by any process; then this counts as a use of it."""
        known, until = self._known.get(digest, (None, 0.0))
        if known == stamp and time.monotonic() < until:
            return True
        if not await asyncio.to_thread(self._is_right, digest, stamp):
            self._known.pop(digest, None)
            return False
        self._know(digest, stamp)
        return True

    async def put(self, digest: str, stamp: Stamp) -> None:
        """Say that a file has been verified. Where that cannot be written, it holds for this process."""
        await asyncio.to_thread(self._write, digest, stamp)
        self._know(digest, stamp)

    async def remove(self, *digests: str) -> None:
        """Say nothing of files any more."""
        for digest in digests:
            self._known.pop(digest, None)
        await asyncio.to_thread(self._remove, digests)

    def used(self) -> dict[str, float]:
        """When each content was used last, in seconds since 1970, by its digest. Blocks."""
        found, now = {}, time.time()
        for folder in _listed(self._folder.marks):
            for entry in _listed(folder.path):
                with suppress(OSError):
                    when = entry.stat(follow_symlinks=False).st_mtime
                    found[entry.name] = min(when, now)
                    if when > now:  # by a clock that was ahead: it would seem to be the latest until the clock is there
                        os.utime(entry.path, follow_symlinks=False)
        return found

    def _know(self, digest: str, stamp: Stamp) -> None:
        if len(self._known) >= KNOWN_LIMIT:
            self._known.clear()
        self._known[digest] = stamp, time.monotonic() + USED_EVERY

    def _path(self, digest: str) -> str:
        return os.path.join(self._folder.marks, digest[:2], digest)

    def _is_right(self, digest: str, stamp: Stamp) -> bool:
        try:
            fd = self._folder.file(self._path(digest), os.O_RDONLY)
            try:
                is_right = os.read(fd, 200) == _written(stamp)
                if is_right:
                    with suppress(OSError):  # of a disk that may only be read
                        os.utime(fd)
            finally:
                os.close(fd)
        except OSError:
            return False
        return is_right

    def _write(self, digest: str, stamp: Stamp) -> None:
        with suppress(OSError):
            fd = self._folder.file(self._path(digest), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                os.write(fd, _written(stamp))
            finally:
                os.close(fd)

    def _remove(self, digests: Iterable[str]) -> None:
        for digest in digests:
            with suppress(OSError):
                os.unlink(self._path(digest))


def _written(stamp: Stamp) -> bytes:
    return " ".join(map(str, stamp)).encode() + b"\n"


def _listed(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError:
        return []
