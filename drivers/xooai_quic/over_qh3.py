"""qh3 under the driver: how it does what both libraries do in their own way.

Its windows are within compiled code, and grow with what is received. What bounds them are credits between peers of ours
(`xooai_quic.credits`), and for others a bound of each stream (`Transport.flood`).
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from qh3 import tls
from qh3._hazmat import CryptoError
from qh3.asyncio._transport import create_optimized_datagram_transport
from qh3.asyncio.server import QuicServer
from qh3.h3 import events as http_events
from qh3.h3.connection import FrameType, H3Connection, MessageError, ProtocolError
from qh3.h3.exceptions import H3Error
from qh3.quic import events as quic_events
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection, QuicConnectionError
from qh3.quic.retry import QuicRetryTokenHandler

from xooai_quic.adopted import Adopted
from xooai_quic.credits import CREDIT_SETTING
from xooai_quic.http3 import Http3
from xooai_quic.library import DATAGRAM_SETTING, Library
from xooai_quic.limits import Limits
from xooai_quic.names import Names
from xooai_quic.trust import Trust, check_pinned

__all__ = ["LIBRARY"]

_LONGEST = 4000  # bytes of a header: beyond 4 KiB its encoder fails, or panics, which is no Exception


class _Connection(Adopted, QuicConnection):
    """It takes 100 streams of the peer at once, whatever is asked for."""

    held = 0  # it does not tell

    def consumed(self, stream_id: int, size: int) -> None:
        """Its windows have moved already."""

    def forget(self, stream_id: int) -> None:
        """Nothing is remembered."""

    def unsent(self, stream_id: int) -> int:
        """Bytes of a stream that were written and never sent."""
        return self.get_send_buffer_size(stream_id)

    def enlarge(self, datagram: int) -> None:
        """Its datagrams stay as they are, for want of a way back."""

    def name(self, names: Names) -> None:
        """Its names are made in its core."""
        raise NotImplementedError("qh3 names connections itself")

    def is_reset(self, data: bytes) -> bool:
        """It sees to that itself."""
        return False

    @property
    def can_open(self) -> bool:
        """Whether the peer takes another stream now."""
        return self.get_next_available_stream_id() // 4 < self.max_concurrent_bidi_streams

    @property
    def is_settled(self) -> bool:
        """Whether all that was sent has arrived."""
        core = self._core
        return core is None or not (core.bytes_in_flight or self.get_send_buffer_size())


class _Http(Http3, H3Connection):
    _malformed = MessageError

    def _get_local_settings(self) -> dict[int, int]:
        window = self._quic.configuration.max_stream_data
        return {**super()._get_local_settings(), DATAGRAM_SETTING: self._datagram, CREDIT_SETTING: window}

    def send_headers(self, stream_id: int, headers: list[tuple[bytes, bytes]], end_stream: bool = False) -> None:
        longest = max(len(name) + len(value) for name, value in headers)
        if longest > _LONGEST:
            raise ValueError(f"a header has {longest:,} bytes; {_LONGEST:,} can be sent")
        super().send_headers(stream_id, headers, end_stream)

    def _handle_control_frame(self, frame_type: int, frame_data: bytes) -> list[http_events.H3Event]:
        found = super()._handle_control_frame(frame_type, frame_data)
        if frame_type == FrameType.GOAWAY:
            self._gone(frame_data)
        return found

    def respond(self, stream_id: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.send_headers(stream_id, headers, not body)
        if body:
            self.send_data(stream_id, body, True)

    def forget(self, stream_id: int) -> None:
        super().forget(stream_id)
        self._blocked_stream_map.pop(stream_id, None)


def _configuration(**arguments: Any) -> QuicConfiguration:
    """It does not find out what a path carries: once it has sent larger datagrams, it goes on with them where none arrives."""
    size = Limits().loopback_datagram  # it wants one to be set
    return QuicConfiguration(max_datagram_frame_size=size, probe_datagram_size=False, **arguments)


def _server(*, retry: bool, **arguments: Any) -> QuicServer:
    server = QuicServer(retry=False, **arguments)
    if retry:
        server._retry = _retry()
    return server


@lru_cache(maxsize=1)
def _retry() -> QuicRetryTokenHandler:
    """One for all listeners: each has an RSA key, which takes half a second to make."""
    return QuicRetryTokenHandler()


def _certified(chain: bytes, key: bytes) -> dict[str, Any]:
    made = QuicConfiguration(is_client=False)
    try:
        made.load_cert_chain(chain, key)
    except CryptoError as error:
        raise ValueError(str(error)) from error
    return {name: getattr(made, name) for name in ("certificate", "certificate_chain", "private_key")}


def _trusting(configuration: QuicConfiguration, trust: Trust) -> None:
    configuration.verify_mode = ssl.CERT_NONE  # left to `_check`, before anything is sent


def _check(quic: Any, trust: Trust, host: str) -> None:
    certificate = quic.get_peercert()
    encoded = certificate.public_bytes()
    # One that signs itself may say that it is an authority, as those of openssl do; qh3 takes none of these for a server's.
    if trust.is_pinned or sha256(encoded).digest() in trust.fingerprints:
        check_pinned(encoded, trust, host)
        return
    data = b"" if trust.directory is None else _authorities(trust.directory)
    try:
        tls.verify_certificate(
            certificate, list(quic.get_issuercerts()), cadata=data or None, cafile=trust.file, server_name=host
        )
    except tls.Alert as error:
        raise ValueError(str(error)) from error


def _authorities(directory: str) -> bytes:
    """Those that OpenSSL would find, by their hashes; a directory may hold others, and directories."""
    return b"\n".join(path.read_bytes() for path in sorted(Path(directory).glob("*.0")) if path.is_file())


LIBRARY = Library(
    name="qh3",
    configuration=_configuration,
    connection=QuicConnection,
    windowed=_Connection.of,
    http=_Http,
    server=_server,
    endpoint=create_optimized_datagram_transport,  # many datagrams in one call of the kernel
    quic_events=quic_events,
    http_events=http_events,
    errors=(QuicConnectionError, H3Error, ProtocolError, ValueError, RuntimeError, AssertionError),
    names=False,
    grants=True,
    certified=_certified,
    trusting=_trusting,
    check=_check,
)
