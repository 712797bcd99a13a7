"""The limit of HTTP/3: a bare server of a QUIC library that validates and dumps with pydantic, and does nothing else.

python quic_limit.py LIBRARY CERTIFICATE KEY PORT
"""

import asyncio
import sys
from importlib import import_module
from typing import Any

import uvloop
from pydantic import BaseModel, TypeAdapter


class Document(BaseModel):
    """As that of the other servers."""

    text: str
    count: int
    score: float


class Arguments(BaseModel):
    """What a body holds."""

    doc: Document


def protocol(library: str) -> Any:
    """The protocol of a connection, as the examples of the library write it."""
    asynchronous, events = import_module(f"{library}.asyncio"), import_module(f"{library}.h3.events")
    h3, quic_events = import_module(f"{library}.h3.connection"), import_module(f"{library}.quic.events")
    arguments, dump = TypeAdapter(Arguments), TypeAdapter(Document).dump_json

    class Echo(asynchronous.QuicConnectionProtocol):  # type: ignore[misc, name-defined]
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            self._http: Any = None
            self._paths: dict[int, bytes] = {}
            self._bodies: dict[int, list[bytes]] = {}

        def quic_event_received(self, event: Any) -> None:
            if isinstance(event, quic_events.ProtocolNegotiated):
                self._http = h3.H3Connection(self._quic)
            if self._http is not None:
                for found in self._http.handle_event(event):
                    self._take(found)

        def _take(self, found: Any) -> None:
            if isinstance(found, events.HeadersReceived):
                self._paths[found.stream_id], self._bodies[found.stream_id] = dict(found.headers)[b":path"], []
            elif isinstance(found, events.DataReceived):
                self._bodies[found.stream_id].append(found.data)
            if found.stream_ended:
                self._answer(found.stream_id)

        def _answer(self, stream_id: int) -> None:
            body, path = b"".join(self._bodies.pop(stream_id)), self._paths.pop(stream_id)
            if path == b"/echo/combo":
                body, kind = dump(arguments.validate_json(body).doc), b"application/json"
            else:
                kind = b"image/png"
            headers = [(b":status", b"200"), (b"content-type", kind), (b"content-length", b"%d" % len(body))]
            self._http.send_headers(stream_id, headers)
            self._http.send_data(stream_id, body, True)

    return Echo


async def main(library: str, certificate: str, key: str, port: int) -> None:
    """Serve for ever."""
    made = import_module(f"{library}.quic.configuration").QuicConfiguration(
        is_client=False, alpn_protocols=["h3"], max_datagram_size=16_000, max_datagram_frame_size=65_536
    )
    made.load_cert_chain(certificate, key)
    serve = import_module(f"{library}.asyncio").serve
    await serve("127.0.0.1", port, configuration=made, create_protocol=protocol(library), retry=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    library, certificate, key, port = sys.argv[1:]
    uvloop.run(main(library, certificate, key, int(port)))
