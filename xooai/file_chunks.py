"""A regular file in chunks, read by threads as they are asked for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from threading import Lock

from xooai.errors import InvalidArgument
from xooai.store import CHUNK

__all__ = ["check_range", "file_chunks"]

LAST = 2**63 - 1  # what systems count bytes of files with
AT_ONCE = 4  # chunks read while a thread is at it: to go there and back costs as much as to read a quarter of one


def check_range(start: int, end: int | None) -> None:
    """Raise InvalidArgument for what is no range. What lies beyond the end of a content is one, as with slices."""
    if start < 0 or (end is not None and end < start):
        raise InvalidArgument(f"no range: from {start} up to {end}; it is 0 <= start <= end, or no end")
    if start > LAST:
        raise InvalidArgument(f"no range: it begins beyond {LAST}, where no file and no object has a byte")


async def file_chunks(opened: Callable[[], int], start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
    """The bytes of a file from `start` up to `end`. `opened` runs in a thread, and gives a descriptor that belongs to this."""
    check_range(start, end)
    reading = _Reading(opened, start, end)
    try:
        while chunks := await asyncio.to_thread(reading.next):
            for chunk in chunks:
                yield chunk
    finally:
        reading.close()


class _Reading:
    """A file under reading, by one thread at a time. What is closed while a thread is at it, that thread closes."""

    def __init__(self, opened: Callable[[], int], start: int, end: int | None) -> None:
        self._opened, self._place, self._end = opened, start, end
        self._fd: int | None = None
        self._lock = Lock()
        self._is_closing = False

    def next(self) -> list[bytes]:
        """The next chunks; none at the end."""
        try:
            with self._lock:
                return [] if self._is_closing else self._read()
        finally:
            if self._is_closing:
                self.close()

    def _read(self) -> list[bytes]:
        if self._fd is None:
            self._fd = self._opened()
            if self._place > os.fstat(self._fd).st_size:  # where a filesystem may refuse to go
                return []
            os.lseek(self._fd, self._place, os.SEEK_SET)
        chunks: list[bytes] = []
        while len(chunks) < AT_ONCE:
            size = CHUNK if self._end is None else min(CHUNK, self._end - self._place)
            chunk = os.read(self._fd, size) if size > 0 else b""
            if not chunk:
                break
            chunks.append(chunk)
            self._place += len(chunk)
        return chunks

    def close(self) -> None:
        self._is_closing = True
        if self._lock.acquire(blocking=False):  # else the thread that has it looks once more when it is done
            fd, self._fd = self._fd, None
            self._lock.release()
            if fd is not None:
                os.close(fd)
