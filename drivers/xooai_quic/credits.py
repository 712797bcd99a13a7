"""Credits between peers of ours: how a side that cannot hold back its transport's windows bounds what is on its way to it.

Such a side tells in its HTTP/3 settings how many bytes of a body may come beyond what it has granted, and grants on a stream
of its own in one direction, which peers of others pass over (RFC 9114 6.2 and 7.2.4). A grant is the number of a stream and the
bytes of its body that have been read, of eight bytes each, big-endian. Pure state, no input or output.
"""

from __future__ import annotations

from struct import Struct

__all__ = ["CREDIT_SETTING", "GRANT", "START", "Grants"]

CREDIT_SETTING = 0x786F6F63  # "xooc"
START = b"\xb8oog"  # the type of the stream, as four bytes of a variable-length integer (RFC 9000 16)
GRANT = Struct(">QQ")


class Grants:
    """Reads the grants of a peer, on whichever of its streams they come."""

    def __init__(self) -> None:
        self._starts: dict[int, bytes] = {}  # of streams that are not known yet: of three bytes at most
        self._stream: int | None = None
        self._rest = b""

    def feed(self, stream_id: int, data: bytes) -> list[tuple[int, int]]:
        """The grants in what has come on a stream in one direction: stream and bytes."""
        if stream_id != self._stream:
            if not self._begins(stream_id, data):
                return []
            data = self._starts.pop(stream_id)[len(START) :]
        self._rest += data
        whole = len(self._rest) // GRANT.size * GRANT.size
        found = list(GRANT.iter_unpack(self._rest[:whole]))
        self._rest = self._rest[whole:]
        return found

    def forget(self, stream_id: int) -> None:
        """A stream has ended."""
        self._starts.pop(stream_id, None)

    def _begins(self, stream_id: int, data: bytes) -> bool:
        start = self._starts.get(stream_id, b"")
        if len(start) >= len(START):  # another stream, known as such
            return False
        self._starts[stream_id] = start = start + data
        if self._stream is None and start[: len(START)] == START:
            self._stream = stream_id
            return True
        self._starts[stream_id] = start[: len(START)]
        return False
