"""Where a new connection goes among several processes at one port, and what is said to clients of connections that have ended.

A client has to show that it has its address (Retry, RFC 9000 8.1.2) and sends again to the name that it is told: so that name
can be of the process with the least to do.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

from aioquic._buffer import Buffer
from aioquic.quic.packet import QuicPacketType, encode_quic_retry, pull_quic_header
from aioquic.quic.retry import QuicRetryTokenHandler
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from xooai_quic.names import LONG, SIZE, Names, Resets

__all__ = ["Placing", "Tokens"]


class Tokens(QuicRetryTokenHandler):
    """Tokens that one process gives and another takes."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)


class Placing:
    """For one socket of a process, before its library's server has a look. `least` gives the place with the least to do."""

    def __init__(
        self, routing: Any, names: Names, resets: Resets, least: Callable[[], int], others: Sequence[Container[bytes]]
    ) -> None:
        """`others` have the names of connections at the other addresses of the process, now and later."""
        self._known: dict[bytes, Any] = routing._protocols
        self._others = others
        self._versions: list[int] = routing._configuration.supported_versions
        self._tokens: Tokens = routing._retry
        self._names, self._resets, self._least = names, resets, least
        self._places = (names.place,)

    def answer(self, data: bytes, address: Any, now: float) -> tuple[bool, bytes | None]:
        """Whether a datagram is seen to hereby, and what to send back."""
        if not data[0] & LONG:
            name = bytes(data[1 : 1 + SIZE])
            if name in self._known:
                return False, None
            if any(name in known for known in self._others):  # its token would let a stranger end it (RFC 9000 21.11)
                return True, None
            return True, self._resets.answer(data, now, self._places)
        if bytes(data[6 : 6 + data[5]]) in self._known:
            return False, None
        try:
            head = pull_quic_header(Buffer(data=data), host_cid_length=SIZE)
        except ValueError:
            return True, None
        if head.packet_type != QuicPacketType.INITIAL or head.token or head.version not in self._versions:
            return False, None
        name = self._names.new(self._least())
        token = self._tokens.create_token(
            address=address,
            original_destination_connection_id=head.destination_cid,
            retry_source_connection_id=name,
            now=now,
        )
        return True, encode_quic_retry(
            version=head.version,
            source_cid=name,
            destination_cid=head.source_cid,
            original_destination_cid=head.destination_cid,
            retry_token=token,
        )
