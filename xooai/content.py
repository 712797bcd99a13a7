"""Contents as stores take and give them: from memory or a file, under which key, in which range, checked while they are read."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import BinaryIO

from xooai.errors import DataLoss, InvalidArgument, NotFound, PermissionDenied, Unavailable, XooaiError
from xooai.file_chunks import check_range, file_chunks
from xooai.signature import Hasher, check, sign, sign_file
from xooai.store import CHUNK, Content

__all__ = ["FileContent", "MemoryContent", "Verifier", "check_range", "file_chunks", "key_of", "verified"]

OFF_THE_LOOP = (
    128 * 1024
)  # bytes in a chunk that a thread hashes: to go there and back takes as long as to hash this much


def key_of(signature: str) -> str:
    """Where a content is below a store's prefix: `ab/cd/` and the digest, and nothing of a user. Raises InvalidArgument."""
    _, digest = check(signature)  # the one algorithm there is; another one has to have a folder of its own
    return f"{digest[:2]}/{digest[2:4]}/{digest}"


async def verified(content: Content) -> AsyncGenerator[bytes, None]:
    """All of a content, then DataLoss where it was another: a store publishes only after this has ended."""
    checking = Verifier(content)
    async with aclosing(content.read()) as chunks:
        async for chunk in chunks:
            if len(chunk) < OFF_THE_LOOP:
                checking.update(chunk)
            else:
                await asyncio.to_thread(checking.update, chunk)
            yield chunk
    checking.end()


class Verifier:
    """Looks whether what is read of a content is what its signature was made from. Raises DataLoss, for too much at once."""

    __slots__ = ("_hasher", "_signature", "_size")

    def __init__(self, content: Content) -> None:
        self._signature, self._size = content.signature, content.size
        self._hasher = Hasher(check(content.signature)[0])

    def update(self, chunk: bytes | memoryview) -> None:
        self._hasher.update(chunk)
        if self._hasher.size > self._size:
            raise DataLoss(f"the content has more than the {self._size:,} bytes that it should have; nothing is stored")

    def end(self) -> None:
        if self._hasher.size < self._size:
            raise DataLoss(f"the content ended after {self._hasher.size:,} of {self._size:,} bytes; nothing is stored")
        if self._hasher.signature != self._signature:
            raise DataLoss(
                f"the content is {self._hasher.signature}, it should be {self._signature}; nothing is stored"
            )


class MemoryContent:
    """Bytes, to be put."""

    def __init__(self, data: bytes, signature: str | None = None) -> None:
        self.signature, self.size = sign(data) if signature is None else signature, len(data)
        self._data = memoryview(data)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        check_range(start, end)
        stop = self.size if end is None else min(end, self.size)
        for place in range(start, stop, CHUNK):
            yield bytes(self._data[place : min(place + CHUNK, stop)])


class FileContent:
    """A regular file, to be put: its signature and size are known, or made by `of`."""

    def __init__(self, path: str | os.PathLike[str], signature: str, size: int) -> None:
        self.signature, self.size = signature, size
        self._path = path

    @classmethod
    async def of(cls, path: str | os.PathLike[str]) -> FileContent:
        """The content of a file as it is now, which is read once for this. Raises NotFound, PermissionDenied, Unavailable."""

        def signed() -> tuple[str, int]:
            with _translated(), open(_regular(path), "rb", buffering=0) as file:
                return sign_file(file)

        return cls(path, *await asyncio.to_thread(signed))

    def open(self) -> BinaryIO:
        with _translated():
            return open(_regular(self._path), "rb", buffering=0)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        with _translated():
            async with aclosing(file_chunks(lambda: _regular(self._path), start, end)) as chunks:
                async for chunk in chunks:
                    yield chunk


def _regular(path: str | os.PathLike[str]) -> int:
    """A descriptor of a regular file; others, such as a pipe, may never end, and are not waited for."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidArgument("what is to be put is no regular file")
    return fd


@contextmanager
def _translated() -> Iterator[None]:
    """Tell what goes wrong with the file that is put; its path may be nothing for a peer."""
    try:
        yield
    except XooaiError:  # some of which are an OSError too
        raise
    except FileNotFoundError as error:
        raise NotFound("the file that is to be put is not there") from error
    except PermissionError as error:
        raise PermissionDenied("the file that is to be put may not be read") from error
    except OSError as error:
        raise Unavailable(f"the file that is to be put cannot be read: {error.strerror}") from error
