"""Receive windows of aioquic that grow with what was read. It knows private fields, as `path_size` and `path_change` do.

aioquic doubles a window when half of it has been received, whether or not anybody reads (`_write_stream_limits`,
`_write_connection_limits` in aioquic/quic/connection.py, 1.7). Here a window is what has been read, and so much more.
"""

from __future__ import annotations

from aioquic.quic.events import QuicEvent, StreamReset
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch

from xooai_quic.adopted import Adopted
from xooai_quic.named import NamedConnection
from xooai_quic.path_size import SizedConnection

__all__ = ["WindowedConnection"]

_STEP = 4  # windows are raised when the peer has used this part of them: often enough that it never waits for it


class WindowedConnection(Adopted, NamedConnection, SizedConnection):
    """A connection whose windows move by `consumed`."""

    _read: int  # bytes of all streams that have been read, or never will be
    _read_by_stream: dict[int, int]

    def adopt(self, streams: int) -> None:
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = streams
        self._read, self._read_by_stream = 0, {}

    @property
    def can_open(self) -> bool:
        """Whether the peer takes another stream now.

        aioquic would hold one back until then. But where its call is given up meanwhile, it tells the peer of that, which closes
        the connection: to a peer that has not allowed it, it is a stream too many (RFC 9000 4.6).
        """
        return bool(self._local_next_stream_id_bidi // 4 < self._remote_max_streams_bidi)

    # In

    def consumed(self, stream_id: int, size: int) -> None:
        """So many bytes of a stream have been read, or are for nobody."""
        self._read += size
        if stream_id in self._streams:
            self._read_by_stream[stream_id] = self._read_by_stream.get(stream_id, 0) + size
        else:
            self._read_by_stream.pop(stream_id, None)

    @property
    def held(self) -> int:
        """Bytes that have come and were not read."""
        return self._local_max_data.used - self._read

    def forget(self, stream_id: int) -> None:
        """Nobody asks for a stream any more."""
        self._read_by_stream.pop(stream_id, None)

    def next_event(self) -> QuicEvent | None:
        event = super().next_event()
        if isinstance(event, StreamReset) and (stream := self._streams.get(event.stream_id)) is not None:
            # What was lost before the reset never comes, though it counts (RFC 9000 4.5).
            self._read += stream.receiver.highest_offset - stream.receiver.starting_offset()
        return event

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        if stream.receiver.is_finished or not stream.max_stream_data_local:
            return
        window = self.configuration.max_stream_data
        wanted = self._read_by_stream.get(stream.stream_id or 0, 0) + window
        if wanted - stream.max_stream_data_local >= window // _STEP:
            stream.max_stream_data_local = wanted
        if stream.max_stream_data_local == stream.max_stream_data_local_sent:
            return
        receiver = stream.receiver
        highest, receiver.highest_offset = receiver.highest_offset, 0  # by which it would be doubled
        try:
            super()._write_stream_limits(builder, space, stream)
        finally:
            receiver.highest_offset = highest

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        limit, window = self._local_max_data, self.configuration.max_data
        wanted = self._read + window
        if wanted - limit.value >= window // _STEP:
            limit.value = wanted
        used, limit.used = limit.used, 0  # by which it would be doubled
        try:
            super()._write_connection_limits(builder, space)
        finally:
            limit.used = used

    # Out

    def send_stream_data(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        super().send_stream_data(stream_id, data, end_stream)
        space = self._spaces.get(Epoch.ONE_RTT)
        if space is not None and space.ack_at is not None:
            space.ack_at = (
                0.0  # what has come is confirmed along with this: in a moment it would take a datagram of its own
            )

    def unsent(self, stream_id: int) -> int:
        """Bytes of a stream that were written and never sent."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.sender.buffer_is_empty:
            return 0
        return sum(part.stop - part.start for part in stream.sender._pending)

    @property
    def is_settled(self) -> bool:
        """Whether all that was sent has arrived."""
        return not self._loss.bytes_in_flight and not any(self.unsent(stream_id) for stream_id in self._streams)
