"""A server of HTTP/3 that answers each request as it is told, by aioquic alone: rejected, refused, cut off, or answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent

__all__ = ["Act", "scripted"]

Act = Literal["reject", "go away", "close", "busy", "late", "cut", "answer"]
_OK = [(b":status", b"200"), (b"content-type", b"application/msgpack")]
REJECTED, CANCELLED, GOAWAY = 0x10B, 0x10C, 7


class _Scripted(QuicConnectionProtocol):
    def __init__(self, *given: Any, script: list[Act], seen: list[dict[bytes, bytes]], **named: Any) -> None:
        super().__init__(*given, **named)
        self._script, self._seen = script, seen
        self._http: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        if self._http is None:
            return
        for found in self._http.handle_event(event):
            if isinstance(found, HeadersReceived):
                self._seen.append(dict(found.headers))
            if isinstance(found, HeadersReceived | DataReceived) and found.stream_ended:
                self._act(found.stream_id, self._script.pop(0))

    def _act(self, stream: int, act: Act) -> None:
        assert self._http is not None
        if act == "reject":
            self._quic.reset_stream(stream, REJECTED)
        elif act == "go away":
            number = encode_uint_var(stream)
            control = self._http._local_control_stream_id
            assert control is not None
            self._quic.send_stream_data(control, bytes([GOAWAY, len(number)]) + number)
        elif act == "close":
            self.close(CANCELLED)
        elif act == "busy":
            self._http.send_headers(stream, [(b":status", b"503"), (b"retry-after", b"0")], True)
        elif act == "late":
            self._http.send_headers(stream, [(b":status", b"504")], True)
        elif act == "cut":
            self._http.send_headers(stream, _OK)
            self._http.send_data(stream, b"\xc4\x05ab", False)
            self.transmit()
            self._quic.reset_stream(stream, CANCELLED)
        else:
            self._http.send_headers(stream, _OK)
            self._http.send_data(stream, b"\xc4\x00", True)
        self.transmit()


@asynccontextmanager
async def scripted(
    certificate: str, key: str, script: Sequence[Act]
) -> AsyncIterator[tuple[str, list[dict[bytes, bytes]]]]:
    """Its URL, and the heads of the requests that have reached it."""
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    configuration.load_cert_chain(certificate, key)
    seen: list[dict[bytes, bytes]] = []
    left = list(script)
    server = await serve(
        "127.0.0.1",
        0,
        configuration=configuration,
        create_protocol=lambda *given, **named: _Scripted(*given, script=left, seen=seen, **named),
    )
    transport = server._transport
    assert transport is not None
    try:
        yield f"quic://127.0.0.1:{transport.get_extra_info('sockname')[1]}", seen
    finally:
        server.close()
        await asyncio.sleep(0)
