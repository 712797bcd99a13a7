"""HTTP/3 on aioquic, short for what is whole: a request that comes in one piece, a response that goes as one.

aioquic reads and checks every head anew. Without a dynamic table (RFC 9204 3.2.2) the same bytes are the same fields, so those
of a head that it has read, and found right, are known when they come again.
"""

from __future__ import annotations

from typing import Any

from aioquic.h3.connection import FrameType, H3Connection, H3Stream, HeadersState, encode_frame
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.events import StreamDataReceived

from xooai_quic.known import Known

__all__ = ["WholeConnection"]

Headers = list[tuple[bytes, bytes]]


class WholeConnection(H3Connection):
    """To be given a decoder without a dynamic table."""

    def __init__(self, quic: Any) -> None:
        self._heard: set[int] = set()
        """Streams whose request came as a known one: aioquic has no state of them."""
        self.known = Known()
        super().__init__(quic)

    def handle_event(self, event: Any) -> list[Any]:
        if type(event) is not StreamDataReceived or not event.end_stream or event.stream_id & 3 or self._is_client:
            self._take_up(getattr(event, "stream_id", -1))
            return super().handle_event(event)
        stream_id = event.stream_id
        if stream_id in self._stream or self._is_done or (parts := split(event.data)) is None:
            return super().handle_event(event)
        block, body = parts
        known = self.known.get(block)
        if known is None or known[1] not in (None, len(body)):
            found = super().handle_event(event)
            if found and type(found[0]) is HeadersReceived:
                self.known.remember(block, found[0].headers)
            return found
        self._heard.add(stream_id)
        head = HeadersReceived(known[0], stream_id, not body)
        return [head, DataReceived(body, stream_id, True)] if body else [head]

    def _take_up(self, stream_id: int) -> None:
        """Have aioquic go on with a stream, as if it had read the request."""
        if stream_id in self._heard:
            self._heard.discard(stream_id)
            stream = self._stream[stream_id] = H3Stream(stream_id)
            stream.headers_recv_state = HeadersState.AFTER_HEADERS
            stream.receiving_ended = True

    def send_headers(self, stream_id: int, headers: Headers, end_stream: bool = False) -> None:
        self._take_up(stream_id)
        super().send_headers(stream_id, headers, end_stream)

    def respond(self, stream_id: int, headers: Headers, body: bytes) -> None:
        """Send a whole response."""
        if stream_id not in self._heard:
            self.send_headers(stream_id, headers, not body)
            if body:
                self.send_data(stream_id, body, True)
            return
        self._heard.discard(stream_id)
        sent = encode_frame(FrameType.HEADERS, self._encode_headers(stream_id, headers))
        self._quic.send_stream_data(stream_id, sent + encode_frame(FrameType.DATA, body) if body else sent, True)

    def _encode_headers(self, stream_id: int, headers: Headers) -> bytes:
        told, block = self._encoder.encode(stream_id, headers)
        if told:  # to the decoder's table: mostly nothing, for which aioquic would still put its stream in the queue
            assert self._local_encoder_stream_id is not None
            self._encoder_bytes_sent += len(told)
            self._quic.send_stream_data(self._local_encoder_stream_id, told)
        return block

    def forget(self, stream_id: int) -> None:
        """A stream was given up by this side."""
        self._heard.discard(stream_id)
        self._stream.pop(stream_id, None)


def split(data: bytes) -> tuple[bytes, bytes] | None:
    """The field section and the body of a message in one HEADERS frame and at most one DATA frame (RFC 9114 7.2), else None."""
    head = _frame(data, 0, FrameType.HEADERS)
    if head is None:
        return None
    start, end = head
    if end == len(data):
        return data[start:end], b""
    body = _frame(data, end, FrameType.DATA)
    if body is None or body[1] != len(data) or body[0] == body[1]:
        return None
    return data[start:end], data[body[0] :]


def _frame(data: bytes, at: int, kind: int) -> tuple[int, int] | None:
    """Where the payload of a frame begins and ends; None where it is of another kind, or not all there."""
    if at + 2 > len(data) or data[at] != kind:
        return None
    first = data[at + 1]
    size = 1 << (first >> 6)  # of the length, a variable-length integer (RFC 9000 16)
    start = at + 1 + size
    if start > len(data):
        return None
    end = start + (int.from_bytes(data[at + 1 : start], "big") & (1 << (8 * size - 2)) - 1)
    return (start, end) if end <= len(data) else None
