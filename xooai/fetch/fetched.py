"""What is being fetched: its size and media type at once, its bytes as they are asked for."""

from __future__ import annotations

from typing import Self

from xooai.errors import DataLoss, too_large
from xooai.fetch.answers import Answer
from xooai.fetch.connection import Connection

__all__ = ["Fetched"]


class Fetched:
    """A content under way, for one reader: chunks of at most 64 KiB, none read from the network before it is asked for.

    DataLoss: it is not whole. Unavailable: it broke off. DeadlineExceeded: the policy's `timeout` has passed.
    ResourceExhausted, reason "size": it is larger than the policy allows. After an error, as after the end, it is closed.
    """

    def __init__(self, connection: Connection, answer: Answer, limit: int, url: str, shown: str) -> None:
        self.url = url
        """Where it came from after all redirects; not to be shown to others, since it may hold secrets."""
        self.size = answer.size
        """Of the whole content in bytes, also where a part is fetched; None where the server does not tell."""
        self.media_type = answer.media_type
        """As the server tells it, without parameters, in lower case; None where it does not."""
        self.etag = answer.etag
        """As the server tells it, with quotes and, where it is weak, `W/`."""
        self.is_range = answer.is_range
        """Whether the server gives parts; where it does not, what comes before a part is read and dropped."""
        self._connection, self._limit, self._shown = connection, limit, shown
        self._skipped, self._left = answer.skipped, answer.length
        self._read = 0
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.chunk()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def read(self) -> bytes:
        """All that is left."""
        return b"".join([chunk async for chunk in self])

    async def chunk(self) -> bytes:
        """The next chunk; none at the end."""
        try:
            while not self._is_closed and self._left != 0:
                chunk = await self._connection.chunk()
                if not chunk:
                    if self.is_range:  # a whole one, the parser has compared with what was announced
                        raise DataLoss(f"{self._shown} ended before the part that its server announced")
                    break
                if chunk := self._wanted(chunk):
                    return chunk
        except BaseException:
            self.close()
            raise
        self.close()
        return b""

    def _wanted(self, chunk: bytes) -> bytes:
        """What of a chunk is before the end of what is wanted, which counts, and not before its beginning."""
        if self._left is not None:
            chunk = chunk[: self._skipped + self._left]
        self._read += len(chunk)
        if self._read > self._limit:
            raise too_large(None, self._limit, self._shown)
        dropped = min(self._skipped, len(chunk))
        self._skipped -= dropped
        chunk = chunk[dropped:]
        if self._left is not None:
            self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        """Close the connection at once. Any number of times."""
        self._is_closed = True
        self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
