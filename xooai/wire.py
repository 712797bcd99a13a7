"""Frames on a stream of bytes, for calls that stream over a transport without messages of its own: no input or output.

A frame is a byte that says what it is (0: an item, 1: the end), four bytes with the length of what follows (big-endian), and
that. The end of a reply holds how the call went, as the JSON of a problem; that of a request is empty. What stops without an
end was cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from xooai.errors import InvalidArgument, too_large

__all__ = ["END", "END_LIMIT", "ITEM", "FrameReader", "frame", "head"]

ITEM, END = 0, 1
_HEAD = Struct(">BI")
END_LIMIT = 64 * 1024  # bytes of an outcome: ours are far below
LARGE = 64 * 1024  # bytes from which on a frame is gathered in parts: less is copied in less time than that takes


def frame(kind: int, content: bytes) -> bytes:
    """The bytes of one frame."""
    return _HEAD.pack(kind, len(content)) + content


def head(kind: int, length: int) -> bytes:
    """What a frame with a content of this length begins with: for a large one, which is not copied for the sake of it."""
    return _HEAD.pack(kind, length)


class FrameReader:
    """Takes bytes as they come, gives whole frames. `limit` bounds the content of one, judged before it is there."""

    __slots__ = ("_buffer", "_gathered", "_limit", "_parts", "is_over", "missing")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._parts: list[bytes | memoryview] = []
        self._gathered = 0
        self._limit = limit
        self.missing = 0
        """Bytes that a large frame still lacks: they are gathered as they come, and put together once."""
        self.is_over = False
        """Whether the end has come."""

    @property
    def buffered(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._buffer) + self._gathered

    def feed(self, data: bytes | memoryview) -> Iterator[tuple[int, bytes]]:
        """The frames that are whole now: kind and content. To be gone through to its end.

        Raises InvalidArgument and ResourceExhausted, behind the frames before what is wrong.
        """
        if self.missing:
            part = memoryview(data)[: self.missing]
            self._gather(part)
            if self.missing:
                return
            data = memoryview(data)[len(part) :]
            yield ITEM, self._whole()
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _HEAD.size:
            kind, length = _HEAD.unpack_from(buffer, at)
            self._check(kind, length)
            end = at + _HEAD.size + length
            if len(buffer) < end:
                if length > LARGE:
                    self.missing = length
                    self._gather(memoryview(bytes(buffer[at + _HEAD.size :])))
                    at = len(buffer)
                break
            content = bytes(buffer[at + _HEAD.size : end])
            self.is_over = kind == END
            at = end
            yield kind, content
        if self.is_over and len(buffer) > at:
            raise InvalidArgument("there is something behind the end of the stream")
        del buffer[:at]

    def _gather(self, part: memoryview) -> None:
        self._parts.append(part if part.readonly else bytes(part))  # what is lent may change
        self._gathered += len(part)
        self.missing -= len(part)

    def _whole(self) -> bytes:
        content = b"".join(self._parts)
        self._parts.clear()
        self._gathered = 0
        return content

    def _check(self, kind: int, length: int) -> None:
        if self.is_over:
            raise InvalidArgument("there is something behind the end of the stream")
        if kind not in (ITEM, END):
            raise InvalidArgument(f"a frame of the stream begins with {kind}; it is 0 for an item and 1 for the end")
        limit = self._limit if kind == ITEM else min(self._limit, END_LIMIT)
        if length > limit:
            raise too_large(length, limit, "a frame of the stream")
