"""A content in a file that has no name: read once, verified, gone when it is closed. For what the cache cannot keep."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import IO, BinaryIO, cast

from xooai.aside import in_thread
from xooai.cache.folder import told
from xooai.cache.source import Source
from xooai.content import file_chunks
from xooai.errors import DataLoss, XooaiError, too_large
from xooai.signature import Hasher, check

__all__ = ["Spooled", "spooled"]


UNKNOWN = 10 * 1024**3  # bytes of a content whose size nobody tells: a source without an end must not fill the disk


async def spooled(source: Source, folder: str | None) -> BinaryIO:
    """A content in a file of its own, at its beginning, in `folder`, or where it cannot be there, where the system has such.
    It belongs to the caller. Raises what the source raises, DataLoss, and ResourceExhausted where there is no room.
    """
    algorithm, _ = check(source.signature)
    what = f"the disk for a content of {'unknown size' if source.size is None else f'{source.size:,} bytes'}"
    try:
        file = await in_thread(lambda: _temporary(folder), lambda file: file.close())
    except OSError as error:
        raise told(error, what) from error
    most = UNKNOWN if source.size is None else source.size
    try:
        hasher = Hasher(algorithm)
        async with aclosing(source.read()) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(_append, file, hasher, chunk)
                if hasher.size > most:
                    raise _too_much(source)
        await asyncio.to_thread(file.seek, 0)
    except XooaiError:
        file.close()
        raise
    except OSError as error:
        file.close()
        raise told(error, what) from error
    except BaseException:
        file.close()
        raise
    if hasher.signature != source.signature or source.size not in (None, hasher.size):
        file.close()
        raise DataLoss(f"the content is {hasher.signature}, {hasher.size:,} bytes; it should be {source.signature}")
    return cast(BinaryIO, file)


def _too_much(source: Source) -> XooaiError:
    if source.size is None:
        return too_large(None, UNKNOWN, "a content of unknown size")
    return DataLoss(f"the content has more than the {source.size:,} bytes that it should have")


def _temporary(folder: str | None) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError:  # a cache that may not be used, or is not there
        return tempfile.TemporaryFile()


def _append(file: IO[bytes], hasher: Hasher, chunk: bytes) -> None:
    hasher.update(chunk)
    file.write(chunk)


class Spooled:
    """A content that was spooled, to be put: a store reads it from its file."""

    def __init__(self, file: BinaryIO, signature: str) -> None:
        self.signature, self.size = signature, os.fstat(file.fileno()).st_size
        self._file = file

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        async with aclosing(file_chunks(lambda: os.dup(self._file.fileno()), start, end)) as chunks:
            async for chunk in chunks:
                yield chunk
