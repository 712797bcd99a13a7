"""A content elsewhere as a file that can seek: fetched where it is read, and nowhere else."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from xooai.errors import DataLoss

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["ranged"]

BLOCK = 1024 * 1024  # bytes fetched at once: a few ms of a fast network, and many times what asking for them costs

Read = Callable[[int, int], AsyncGenerator[bytes, None]]
Wait = Callable[[Coroutine[Any, Any, bytes]], bytes]


def ranged(read: Read, size: int, wait: Wait) -> BinaryIO:
    """A file of `size` bytes that `read(start, end)` gives; `wait` runs a coroutine to its end in the thread that reads."""
    return cast("BinaryIO", io.BufferedReader(_Ranged(read, size, wait), BLOCK))


class _Ranged(io.RawIOBase):
    def __init__(self, read: Read, size: int, wait: Wait) -> None:
        self._read, self._size, self._wait = read, size, wait
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = offset + (0, self._place, self._size)[whence]
        if place < 0:
            raise ValueError(f"no place before the beginning: {place}")
        self._place = place
        return place

    def tell(self) -> int:
        return self._place

    def readall(self) -> bytes:
        """All that is left, asked for once: what this would inherit asks for every 8 KiB."""
        if self.closed:
            raise ValueError("this file is closed")
        if self._place >= self._size:
            return b""
        data = self._wait(self._fetched(self._place, self._size))
        self._place = self._size
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if self.closed:
            raise ValueError("this file is closed")
        view = memoryview(buffer).cast("B")
        end = min(self._place + len(view), self._size)
        if end <= self._place:
            return 0
        data = self._wait(self._fetched(self._place, end))
        view[: len(data)] = data
        self._place = end
        return len(data)

    async def _fetched(self, start: int, end: int) -> bytes:
        parts: list[bytes] = []
        came = 0
        async with aclosing(self._read(start, end)) as chunks:
            async for chunk in chunks:
                came += len(chunk)
                if came > end - start:
                    break
                parts.append(chunk)
        if came != end - start:
            raise DataLoss(f"{end - start:,} bytes from {start:,} on were asked for, {came:,} came")
        return b"".join(parts)
