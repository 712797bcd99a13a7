"""How a client is told that this server takes no further connections: in one datagram, which costs no handshake.

By aioquic under either library, as its server answers a token that is not valid (`_encode_invalid_token_close` in
aioquic/asyncio/server.py, 1.7).
"""

from __future__ import annotations

from aioquic._buffer import Buffer
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicFrameType, QuicPacketType, QuicProtocolVersion, pull_quic_header
from aioquic.quic.packet_builder import QuicPacketBuilder

__all__ = ["SMALLEST", "refusal"]

SMALLEST = 1200
"""Bytes of a client's first datagram, which every path carries (RFC 9000 14.1): a shorter one could get more than it gave."""
_VERSIONS = frozenset(QuicProtocolVersion) - {QuicProtocolVersion.NEGOTIATION}


def refusal(first: bytes, code: int, reason: str) -> bytes:
    """The answer to the first datagram of a client. Raises ValueError where that is none."""
    header = pull_quic_header(Buffer(data=first))
    if len(first) < SMALLEST or header.packet_type != QuicPacketType.INITIAL or header.version not in _VERSIONS:
        raise ValueError("what came is no first datagram of a client")
    keys = CryptoPair()
    keys.setup_initial(cid=header.destination_cid, is_client=False, version=header.version)
    builder = QuicPacketBuilder(
        host_cid=header.destination_cid,
        is_client=False,
        max_datagram_size=SMALLEST,
        peer_cid=header.source_cid,
        version=header.version,
    )
    builder.start_packet(QuicPacketType.INITIAL, keys)
    told = reason.encode()
    frame = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE)
    frame.push_uint_var(code)
    frame.push_uint_var(QuicFrameType.PADDING)
    frame.push_uint_var(len(told))
    frame.push_bytes(told)
    return builder.flush()[0][0]
