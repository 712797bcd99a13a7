"""A QUIC connection with HTTP/3 on it: events, and the streams that they are for.

The same for both sides, which subclass it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from xooai_quic.credits import CREDIT_SETTING, GRANT, START, Grants
from xooai_quic.datagrams import Datagrams
from xooai_quic.library import DATAGRAM_SETTING, Http, Library, Quic
from xooai_quic.limits import Transport
from xooai_quic.stream import Stream

__all__ = ["CANCELLED", "FAILED", "LOAD", "MALFORMED", "NO_ERROR", "REFUSED", "REJECTED", "Connection"]

# RFC 9114 8.1, and RFC 9000 20.1 for the one that refuses a connection
NO_ERROR, FAILED, LOAD, REJECTED, CANCELLED, MALFORMED = 0x100, 0x102, 0x107, 0x10B, 0x10C, 0x10E
REFUSED = 0x2


class Connection(Datagrams):
    """`datagram` is what this side takes at once, told to peers of ours."""

    http: Http | None = None

    def __init__(self, library: Library, quic: Quic, limits: Transport, datagram: int) -> None:
        super().__init__(quic)
        self.library = library
        self.limits = limits
        self.streams: dict[int, Stream] = {}
        self.written = 0
        """Bytes of all bodies that this side has written."""
        self.is_lost = False
        """Whether nothing can be sent or received any more."""
        self._datagram = datagram
        self._has_settings = False
        self._grants = Grants()
        self._credit = limits.window  # that the peer gives each stream; what any takes until it has told
        self._granting: int | None = None  # the stream on which this side grants
        self._writers: set[Stream] = set()  # those that wait for room
        events, http = library.quic_events, library.http_events
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.StreamDataReceived: self._on_stream,
            events.StreamReset: self._on_stream,
            events.StopSendingReceived: self._on_stream,
            events.ProtocolNegotiated: lambda _: self.on_negotiated(),
            events.HandshakeCompleted: lambda _: self.on_ready(),
            events.ConnectionTerminated: lambda _: self._on_terminated(),
            events.ConnectionIdIssued: lambda event: self._connection_id_issued_handler(event.connection_id),
            events.ConnectionIdRetired: lambda event: self._connection_id_retired_handler(event.connection_id),
        }
        self._head, self._data = http.HeadersReceived, http.DataReceived
        # What the library's server sets (`QuicServer.datagram_received`).
        self._connection_id_issued_handler: Callable[[bytes], None] = lambda cid: None
        self._connection_id_retired_handler: Callable[[bytes], None] = lambda cid: None
        self._connection_terminated_handler: Callable[[], None] = lambda: None

    # What a side does in its own way.

    def on_negotiated(self) -> None:
        """Both sides speak HTTP/3; they do not know each other yet."""

    def on_ready(self) -> None:
        """The peer is known."""

    def on_lost(self, reason: str) -> None:
        """The connection has ended."""

    def new_stream(self, stream_id: int) -> Stream | None:
        """The peer begins a stream; None where it may not, or has done so: words may still come of one that is over."""
        return None

    def on_going_away(self, stream_id: int) -> None:
        """The peer has not begun with requests from this stream on, and will not."""

    # Events

    def speak(self) -> None:
        """Begin with HTTP/3."""
        self.http = self.library.http(self.quic, self._datagram)
        self.http.on_malformed = self._on_malformed
        self.http.on_going_away = self.on_going_away

    def process(self) -> None:
        quic, handlers = self.quic, self._handlers
        while (event := quic.next_event()) is not None:
            handler = handlers.get(type(event))
            if handler is not None:
                handler(event)
        closing = quic.closing
        if closing is not None and not self.is_lost:
            self._lose(closing)

    def _on_stream(self, event: Any) -> None:
        if self.is_lost:  # by an event before this one
            return
        stream_id, http = event.stream_id, self.http
        size = len(event.data) if hasattr(event, "data") else 0
        if stream_id & 2 or http is None:  # in one direction: what HTTP/3 needs for itself
            self._on_control(event, size)
            return
        stream = self.streams.get(stream_id) or self._begin(stream_id)
        if stream is None:
            self._pass_over(event, size)
            return
        body = 0
        for found in http.handle_event(event):
            if stream.is_over:  # by what came before in the same event: the rest is for nobody
                break
            if type(found) is self._data:
                body += len(found.data)
                stream.on_data(found.data, found.stream_ended)
            elif type(found) is self._head:
                stream.on_head(found.headers, found.stream_ended)
        if size > body:
            self.quic.consumed(stream_id, size - body)
        if stream.is_over:
            self.quic.forget(stream_id)
        elif not size and not isinstance(event, self.library.quic_events.StreamDataReceived):
            stream.on_left(event.error_code, isinstance(event, self.library.quic_events.StreamReset))
        elif http.buffered(stream_id) > self.limits.buffer:
            self.close(LOAD)

    def _on_malformed(self, stream_id: int, reason: str) -> None:
        if (stream := self.streams.get(stream_id)) is not None:
            stream.on_malformed(reason)

    def _on_control(self, event: Any, size: int) -> None:
        if self.http is None:
            return
        self.quic.consumed(event.stream_id, size)
        self.http.handle_event(event)
        if self.http.buffered(event.stream_id) > self.limits.buffer:
            self.close(LOAD)
        if size:
            for stream_id, granted in self._grants.feed(event.stream_id, event.data):
                if (stream := self.streams.get(stream_id)) is not None:
                    stream.granted = granted
        if self._is_last(event):
            self.quic.forget(event.stream_id)
            self._grants.forget(event.stream_id)
        settings = self.http.received_settings
        if settings and not self._has_settings:
            self._has_settings = True
            self._settle(settings)

    def _settle(self, settings: Mapping[int, int]) -> None:
        """Do as the peer wants."""
        self._credit = settings.get(CREDIT_SETTING, sys.maxsize)
        if DATAGRAM_SETTING in settings:
            datagram = min(settings[DATAGRAM_SETTING], self._datagram)
            if datagram > self.limits.datagram:
                self.quic.enlarge(datagram)
            if self.library.grants:
                self._granting = self.quic.get_next_available_stream_id(is_unidirectional=True)
                self.quic.send_stream_data(self._granting, START)

    def _begin(self, stream_id: int) -> Stream | None:
        stream = self.new_stream(stream_id)
        if stream is not None:
            self.streams[stream_id] = stream
        return stream

    def _pass_over(self, event: Any, size: int) -> None:
        """What comes of a stream that is over for this side."""
        self.quic.consumed(event.stream_id, size)
        if self._is_last(event):
            self.quic.forget(event.stream_id)

    def _is_last(self, event: Any) -> bool:
        """Whether nothing more comes on the stream of an event."""
        return getattr(event, "end_stream", False) or isinstance(event, self.library.quic_events.StreamReset)

    # Streams

    def sent(self) -> None:
        for stream in [stream for stream in self._writers if self.has_room(stream)]:
            self._writers.discard(stream)
            stream.may_write()

    def has_room(self, stream: Stream) -> bool:
        """Whether a stream may send: all was sent but for a little, and the peer has read all but its window."""
        if self.is_lost:
            return True
        return stream.written - stream.granted < self._credit and self.quic.unsent(stream.id) <= self.limits.unsent

    def consumed(self, stream: Stream, size: int) -> None:
        """A part of a body has been read."""
        if self.is_lost:
            return
        self.quic.consumed(stream.id, size)
        stream.taken += size
        if self._granting is not None and stream.taken - stream.told >= self.limits.window // 4 and not stream.is_whole:
            stream.told = stream.taken
            self.quic.send_stream_data(self._granting, GRANT.pack(stream.id, stream.taken))
        self.flush_soon()

    def wait_for_room(self, stream: Stream) -> None:
        """Call `stream.may_write()` once it has room."""
        self._writers.add(stream)

    def drop(self, stream: Stream, *, reset: int | None = None, stop: int | None = None) -> None:
        """A stream is over for this side; where it is not over by itself, tell the peer by these error codes."""
        if self.streams.pop(stream.id, None) is None or self.is_lost:
            return
        self._writers.discard(stream)
        http, quic = self.http, self.quic
        try:
            if reset is not None:
                quic.reset_stream(stream.id, reset)
            if stop is not None:
                quic.stop_stream(stream.id, stop)
        except self.library.errors:
            pass  # it is over for the peer, too
        if http is not None and (reset is not None or not stream.is_whole):
            http.forget(stream.id)
        quic.forget(stream.id)
        self.flush_soon()

    # Ending

    def broken(self) -> None:
        if self.is_lost:  # it cannot even send its end: nothing more is heard of it
            self.abandon()
            self._connection_terminated_handler()
        self.close(FAILED)

    def close(self, code: int, reason: str = "") -> None:
        """Tell the peer that this is the end, and the streams."""
        if self.is_lost:
            return
        # With the number of a frame it is QUIC's own close, the only one that may come before the handshake has ended.
        self.quic.close(code, 0 if code == REFUSED else None, reason)
        self._lose(reason or "this side has closed the connection")
        self.flush_soon()

    def _lose(self, reason: str) -> None:
        self.is_lost = True
        streams = list(self.streams.values())
        self.streams.clear()
        self._writers.clear()
        for stream in streams:
            stream.on_lost(reason)
        self.on_lost(reason)

    def _on_terminated(self) -> None:
        self._connection_terminated_handler()
        if not self.is_lost:
            self._lose("nothing came for too long, or the process that answered has ended")
