"""The rules of a WebSocket: from bytes to messages and back, no input or output (RFC 6455, on the sans-IO half of websockets).

Nothing is compressed: items are small, or media that are compressed already; it would take a window of memory a connection,
and a few bytes could unpack to anything.
"""

from __future__ import annotations

from collections.abc import Iterable

from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from xooai.errors import InvalidArgument
from xooai_http.limits import Refused

__all__ = ["Messages"]

_REASON = 123  # bytes of a close's reason (5.5)
_NO_TEXT = 1007  # 7.4.1
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class Messages:
    """The server's end of one WebSocket. What a method gives as bytes is to be written."""

    def __init__(self, url: bytes, headers: Iterable[tuple[bytes, bytes]], limit: int) -> None:
        """`limit` bounds a message, on what its frames announce. Raises Refused for a request that is no handshake."""
        given = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
        self._protocol = ServerProtocol(state=State.OPEN, max_size=limit)
        self._response = self._protocol.accept(Request(url.decode("latin-1"), given))
        if self._protocol.handshake_exc is not None:
            raise Refused(InvalidArgument(f"this is no handshake of a WebSocket: {self._protocol.handshake_exc}"))
        self._part: bytearray | None = None  # of a message in fragments
        self._is_text = False
        self.is_broken = False
        """Whether it was closed because a rule or a limit was broken: the client's answer is not waited for."""

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed."""
        return self._protocol.state is State.OPEN

    @property
    def is_deaf(self) -> bool:
        """Whether nothing more is to be heard: the client has closed, or broke a rule."""
        return self._protocol.eof_sent

    @property
    def has_begun(self) -> bool:
        """Whether a part of a message has come."""
        return self._part is not None or bool(self._protocol.reader.buffer)

    @property
    def held(self) -> int:
        """Bytes of that part."""
        return len(self._part or b"") + len(self._protocol.reader.buffer)

    def accept(self, subprotocol: str | None) -> bytes:
        if subprotocol is not None:
            self._response.headers["Sec-WebSocket-Protocol"] = subprotocol
        return self._response.serialize()

    def read(self, data: bytes) -> list[str | bytes]:
        """The messages that are whole now; `answers` has what is to be said to the rest."""
        self._protocol.receive_data(data)
        found: list[str | bytes] = []
        for frame in self._protocol.events_received():
            if isinstance(frame, Frame) and frame.opcode in _DATA and not self.is_broken:
                self._take(frame, found)
        self.is_broken = self.is_broken or self._protocol.parser_exc is not None
        return found

    def _take(self, frame: Frame, found: list[str | bytes]) -> None:
        data = bytes(frame.data)
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        if not frame.fin or self._part is not None:
            self._part = self._part or bytearray()
            self._part += data
            if not frame.fin:
                return
            data, self._part = bytes(self._part), None
        try:
            found.append(data.decode() if self._is_text else data)
        except UnicodeDecodeError:
            self._break(_NO_TEXT, "a message of text is not UTF-8")

    def answers(self) -> list[bytes]:
        """To pings, to a close, to what breaks a rule; each a frame."""
        return self._protocol.data_to_send()

    def message(self, content: str | bytes) -> bytes:
        if isinstance(content, str):
            self._protocol.send_text(content.encode())
        else:
            self._protocol.send_binary(content)
        return self._said()

    def ping(self) -> bytes:
        self._protocol.send_ping(b"")
        return self._said()

    def close(self, code: int, reason: str) -> bytes:
        self._protocol.send_close(code, _cut(reason))
        return self._said()

    def fail(self, code: int, reason: str) -> bytes:
        """Close, and hear nothing more."""
        self._break(code, reason)
        return self._said()

    def _break(self, code: int, reason: str) -> None:
        if not self._protocol.eof_sent:
            self._protocol.fail(code, _cut(reason))
        self.is_broken = True
        self._part = None

    def _said(self) -> bytes:
        return b"".join(self._protocol.data_to_send())


def _cut(reason: str) -> str:
    return reason.encode()[:_REASON].decode(errors="ignore")
