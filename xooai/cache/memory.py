"""Small contents in memory, for who reads them whole: what was not read for longest goes first."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["LARGEST", "Memory"]

LARGEST = 1024 * 1024  # bytes of a content: to read a larger one from its file costs little beside what is done with it
LIMIT = 64 * 1024 * 1024  # bytes of all of them: 64 of the largest, some thousands of usual pictures scaled for a model
EACH = 300  # bytes that an entry takes beside its content


class Memory:
    """Of one cache."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def get(self, signature: str) -> bytes | None:
        """A content, where it is here."""
        data = self._held.get(signature)
        if data is not None:
            self._held.move_to_end(signature)
        return data

    def put(self, signature: str, data: bytes) -> None:
        """Keep a content that is right; a large one is not kept."""
        if len(data) > LARGEST or signature in self._held:
            return
        self._held[signature] = data
        self._size += len(data) + EACH
        while self._size > self._limit:
            _, oldest = self._held.popitem(last=False)
            self._size -= len(oldest) + EACH
