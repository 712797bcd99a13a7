"""aioquic under the driver: how it does what both libraries do in their own way."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pylsqpack
from aioquic import tls
from aioquic.asyncio.server import QuicServer
from aioquic.h3 import events as http_events
from aioquic.h3.connection import FrameType, MessageError, ProtocolError, Setting
from aioquic.h3.exceptions import H3Error
from aioquic.quic import events as quic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicConnectionError
from cryptography.hazmat.primitives.serialization import Encoding

from xooai_quic.http3 import Http3
from xooai_quic.library import DATAGRAM_SETTING, Library
from xooai_quic.limits import Limits
from xooai_quic.trust import Trust, check_pinned, check_usage
from xooai_quic.whole import WholeConnection
from xooai_quic.windows import WindowedConnection

__all__ = ["LIBRARY"]


class _Http(Http3, WholeConnection):
    """HTTP/3 without a dynamic table for what comes: a few bytes of one could stand for many (RFC 9204 7.1)."""

    _malformed = MessageError
    _has_gone = False

    def __init__(self, quic: QuicConnection, datagram: int) -> None:
        super().__init__(quic, datagram)
        self._decoder = pylsqpack.Decoder(0, 0)

    def _get_local_settings(self) -> dict[int, int]:
        return {
            Setting.QPACK_MAX_TABLE_CAPACITY: 0,
            Setting.QPACK_BLOCKED_STREAMS: 0,
            Setting.MAX_FIELD_SECTION_SIZE: Limits().head_size,
            DATAGRAM_SETTING: self._datagram,
        }

    def _check_control_frame_type(self, frame_type: int) -> None:
        super()._check_control_frame_type(frame_type)
        if frame_type == FrameType.GOAWAY:  # which it passes over
            self.is_going_away = self._has_gone = True

    def _receive_stream_data(self, event: Any) -> Any:
        found = super()._receive_stream_data(event)
        if self._has_gone:
            self._has_gone = False
            data: bytes = event.data
            if len(data) > 2 and data[0] == FrameType.GOAWAY and data[1] == len(data) - 2:  # as it is sent: alone
                self._gone(data[2:])
        return found

    def forget(self, stream_id: int) -> None:
        WholeConnection.forget(self, stream_id)


def _endpoint(
    loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.DatagramProtocol], sock: socket.socket
) -> Awaitable[tuple[asyncio.DatagramTransport, asyncio.DatagramProtocol]]:
    return loop.create_datagram_endpoint(factory, sock=sock)


def _certified(chain: bytes, key: bytes) -> dict[str, Any]:
    first, *others = tls.load_pem_x509_certificates(chain)
    return {"certificate": first, "certificate_chain": others, "private_key": tls.load_pem_private_key(key)}


def _trusting(configuration: QuicConfiguration, trust: Trust) -> None:
    if trust.is_pinned:
        configuration.verify_mode = ssl.CERT_NONE  # left to `_check`, before anything is sent
    elif trust.file is not None or trust.directory is not None:
        configuration.load_verify_locations(cafile=trust.file, capath=trust.directory)


def _check(quic: Any, trust: Trust, host: str) -> None:
    certificate = quic.tls._peer_certificate
    if trust.is_pinned:
        check_pinned(certificate.public_bytes(Encoding.DER), trust, host)
    else:
        check_usage(certificate)


LIBRARY = Library(
    name="aioquic",
    configuration=QuicConfiguration,
    connection=QuicConnection,
    windowed=WindowedConnection.of,
    http=_Http,
    server=QuicServer,
    endpoint=_endpoint,
    quic_events=quic_events,
    http_events=http_events,
    errors=(QuicConnectionError, H3Error, ProtocolError, ValueError, RuntimeError, AssertionError),
    names=True,
    grants=False,
    certified=_certified,
    trusting=_trusting,
    check=_check,
)
