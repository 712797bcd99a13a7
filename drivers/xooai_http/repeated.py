"""A head that comes again: on a kept connection both sides send the same bytes each time, but for the length of the body.

Reading, checking and understanding a head is half of what a small call costs; done once, it holds for the same bytes.
"""

from __future__ import annotations

import re
from typing import Generic, Self, TypeVar

__all__ = ["Repeated"]

_SIZE = 2048  # bytes of a head that is remembered, one a connection: longer ones are rare
_DIGITS = 10  # of a length: more than what comes in one piece can have
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)\r\n", re.IGNORECASE)


T = TypeVar("T")


class Repeated(Generic[T]):
    """The bytes of a head around its length, and their `meaning`."""

    __slots__ = ("_after", "_before", "_start", "meaning")

    def __init__(self, before: bytes, after: bytes, meaning: T) -> None:
        self._before = before
        self._start = len(before)
        self._after = after
        self.meaning = meaning

    @classmethod
    def of(cls, data: bytes, meaning: T) -> Self | None:
        """Remember the head of a message that was parsed and found plain; None unless `data` is just that."""
        end = data.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(data, 0, end) if end <= _SIZE else None
        if length is None or end + int(length[1]) != len(data):
            return None
        return cls(data[: length.start(1)], data[length.end(1) : end], meaning)

    def body_of(self, data: bytes) -> bytes | None:
        """The body, when `data` is one whole message with this head; None says: parse it."""
        if not data.startswith(self._before):
            return None
        start = self._start
        end = data.find(b"\r", start, start + _DIGITS + 1)
        digits = data[start:end] if end > 0 else b""
        if not digits.isdigit() or not data.startswith(self._after, end):
            return None
        begin = end + len(self._after)
        return data[begin:] if begin + int(digits) == len(data) else None
