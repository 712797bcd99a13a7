"""Names of connections among several processes at one port: each says whose it is, and has a token that all of them know.

A server chooses the names (connection ids) that its clients send to. The first byte of one is the place of the process; names
that clients choose for their first datagrams are longer (RFC 9000 7.2: 8 bytes at least), so that the two are told apart.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Container

__all__ = ["LONG", "MOST", "SIZE", "Names", "PerSecond", "Resets"]

SIZE = 7  # bytes of a name: one less than the shortest that a client may choose
MOST = 256  # processes: what the first byte tells apart
LONG = 0x80  # of the first byte of a datagram: a long head, as all have that are sent before a connection is made
_FIXED = 0x40
_TOKEN = 16  # bytes (RFC 9000 10.3)
_SMALLEST = 5 + _TOKEN  # bytes of a reset: below, a client takes it for nothing
_USUAL = 43  # of one, where what it answers was longer: as short packets are (RFC 9000 10.3)
_RATE = 1000  # answers a second: as many as a process has connections, and a stranger gets no more out of a server


class PerSecond:
    """So many times a second, something may be done for strangers."""

    def __init__(self) -> None:
        self._since, self._count = 0.0, 0

    def allows(self, now: float) -> bool:
        """Whether it may be done once more; `now` is in seconds."""
        if now - self._since >= 1:
            self._since, self._count = now, 0
        self._count += 1
        return self._count <= _RATE


class Names:
    """Of the connections of one process; `secret` is known to all processes at the port, and to nobody else."""

    def __init__(self, secret: bytes, place: int) -> None:
        self._secret, self.place = secret, place

    def new(self, place: int | None = None) -> bytes:
        """A name for a connection of this process, or of another."""
        return bytes([self.place if place is None else place]) + os.urandom(SIZE - 1)

    def token(self, name: bytes) -> bytes:
        """What shows a client that the one who says that a connection is unknown is its server."""
        return _token(self._secret, name)

    @property
    def key(self) -> bytes:
        """Of the tokens by which clients show their address (RFC 9000 8.1.2): 16 bytes."""
        return hmac.digest(self._secret, b"address", "sha256")[:16]


class Resets:
    """Answers to datagrams of connections that nobody knows any more (RFC 9000 10.3), so many a second."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._rate = PerSecond()

    def answer(self, data: bytes, now: float, places: Container[int]) -> bytes | None:
        """What to send back; None where nothing is to be said. `now` is in seconds.

        Only who answers for the place in a name knows whether its connection is over: told by others, its token would let a
        stranger end it (RFC 9000 21.11). It is smaller than what it answers, so that two who answer each other come to an end.
        """
        size = min(len(data) - 1, _USUAL)
        if size < _SMALLEST or data[0] & LONG or data[1] not in places or not self._rate.allows(now):
            return None
        said = bytearray(os.urandom(size - _TOKEN))
        said[0] = said[0] & ~LONG | _FIXED
        return bytes(said) + _token(self._secret, bytes(data[1 : 1 + SIZE]))


def _token(secret: bytes, name: bytes) -> bytes:
    return hmac.digest(secret, b"reset" + name, "sha256")[:_TOKEN]
