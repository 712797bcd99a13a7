"""What the HTTP/3 of both libraries lacks: they are akin, down to the private names that this knows (aioquic 1.7, qh3 2.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from xooai_quic.known import Known

__all__ = ["Http3"]

_GOAWAY = b"\x07\x08"  # the frame's type, and its length: the number of a stream in eight bytes (RFC 9114 7.2.6)
_EIGHT_BYTES = 3 << 62  # how an integer begins that has so many (RFC 9000 16)
_TABLE_SIZE = 1  # QPACK_MAX_TABLE_CAPACITY (RFC 9204 5)
_BLOCKED = 7  # QPACK_BLOCKED_STREAMS
_MOST_TABLE = 4096  # bytes of a table that is kept for a peer, which may ask for any size: what most ask for
_MOST_BLOCKED = 16  # streams that may wait for entries of it: what aioquic takes itself


class Http3:
    """In front of a library's `H3Connection` among the bases of a class."""

    is_going_away = False
    """Whether the peer takes no further requests."""
    on_malformed: Callable[[int, str], None]
    """Called with a stream whose request or answer is none, and why: it is over, and no other (RFC 9114 4.1.2)."""
    on_going_away: Callable[[int], None]
    """Called with the first stream whose request the peer says that it has not begun with (RFC 9114 5.2)."""
    known: Known
    """Where heads of requests are remembered, by who does."""
    _malformed: ClassVar[type[Exception]]
    """What the library raises for such a message, to end the whole connection."""
    _datagram: int
    """Bytes of a datagram that this side takes."""
    _quic: Any
    _stream: dict[int, Any]
    _local_control_stream_id: int | None

    def __init__(self, quic: Any, datagram: int) -> None:
        self._datagram = datagram
        super().__init__(quic)  # type: ignore[call-arg]  # the library's

    def go_away(self, stream_id: int) -> None:
        """Tell the peer that requests from this stream on are not answered."""
        frame = _GOAWAY + (stream_id | _EIGHT_BYTES).to_bytes(8, "big")
        self._quic.send_stream_data(self._local_control_stream_id, frame)

    def buffered(self, stream_id: int) -> int:
        """Bytes of a frame that is not whole yet."""
        stream = self._stream.get(stream_id)
        return 0 if stream is None else len(stream.buffer)

    def forget(self, stream_id: int) -> None:
        """A stream was given up by this side."""
        self._stream.pop(stream_id, None)

    def _gone(self, frame_data: bytes) -> None:
        """The peer has told with which requests it does not begin."""
        self.is_going_away = True
        stream_id = _integer(frame_data)
        if stream_id is not None:
            self.on_going_away(stream_id)

    def _receive_stream_data(self, event: Any) -> Any:
        try:
            return super()._receive_stream_data(event)  # type: ignore[misc]  # the library's
        except self._malformed as error:
            if event.stream_id & 2:  # found while something came that is not of one message
                raise
            self.on_malformed(event.stream_id, getattr(error, "reason_phrase", ""))
            return []

    def _validate_settings(self, settings: dict[int, int]) -> None:
        super()._validate_settings(settings)  # type: ignore[misc]  # the library's
        # A part of a larger table cannot be used: how entries are counted goes by the size that was offered (RFC 9204 4.5.1.1).
        if settings.get(_TABLE_SIZE, 0) > _MOST_TABLE:
            settings[_TABLE_SIZE] = 0
        settings[_BLOCKED] = min(settings.get(_BLOCKED, 0), _MOST_BLOCKED)


def _integer(data: bytes) -> int | None:
    """The number that a frame consists of (RFC 9000 16); None where it is another."""
    if not data or len(data) != 1 << (data[0] >> 6):
        return None
    return int.from_bytes(data, "big") & ((1 << (8 * len(data) - 2)) - 1)
