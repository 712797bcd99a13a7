"""A content in a file that has no name: read once, verified, gone when it is closed. For what the cache cannot keep."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import IO, BinaryIO, cast

from xooai.aside import in_thread
from xooai.cache.folder import Unusable, told
from xooai.cache.source import Source, checked
from xooai.content import file_chunks
from xooai.errors import XooaiError, too_large

__all__ = ["Spooled", "chunks_of", "discard", "spooled"]


async def spooled(source: Source, folder: str | None, limit: int | None = None) -> BinaryIO:
    """A content in a file of its own, at its beginning, in `folder`, or where it cannot be there, where the system has such.
    It belongs to the caller. Raises what the source raises, DataLoss, and Unusable where there is no room, or more than `limit`.
    """
    what = f"the disk for a content of {'unknown size' if source.size is None else f'{source.size:,} bytes'}"
    try:
        file = await in_thread(lambda: _temporary(folder), lambda file: file.close())
    except OSError as error:
        raise Unusable(told(error, what)) from error
    try:
        async with aclosing(checked(source)) as chunks:
            size = 0
            async for chunk in chunks:
                size += len(chunk)
                if limit is not None and size > limit:
                    raise Unusable(too_large(None, limit, "a content that the cache cannot keep"))
                await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(file.seek, 0)
    except BaseException as error:
        discard(file)
        if isinstance(error, OSError) and not isinstance(error, XooaiError):
            raise Unusable(told(error, what)) from error
        raise
    return cast(BinaryIO, file)


def discard(file: IO[bytes]) -> None:
    """Have a thread close a file, when the one that may be at work on it has stopped: to free what it took may take time."""
    asyncio.get_running_loop().run_in_executor(None, _close, file)


def _temporary(folder: str | None) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError:  # a cache that may not be used, or is not there
        return tempfile.TemporaryFile()


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # of one that has no room for what is still to be written
        file.close()


class Spooled:
    """A content that was spooled, to be put: a store reads it from its file."""

    def __init__(self, file: BinaryIO, signature: str) -> None:
        self.signature, self.size = signature, os.fstat(file.fileno()).st_size
        self._file = file

    def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        return chunks_of(self._file, start, end)


async def chunks_of(file: BinaryIO, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
    """The bytes of a file that its owner may close while a thread is about to read: its descriptor is another file's then."""
    own = [os.dup(file.fileno())]
    try:
        async with aclosing(file_chunks(own.pop, start, end)) as chunks:
            async for chunk in chunks:
                yield chunk
    finally:
        with suppress(IndexError):  # a thread has taken it
            os.close(own.pop())
