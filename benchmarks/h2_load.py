"""Load on a gRPC server: calls side by side on one connection, each made again, or given its next message, on its answer.

A client of grpcio costs as much as the server does. This one knows of HTTP/2 (RFC 9113) and gRPC
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) what a server has to be told, and of its answers
whether the message is the one expected and whether the stream ended, which it does without a message where a call fails.
"""

import socket
import time
from struct import Struct

from exchanges import Exchange
from load import PATIENCE, WARM_UP, AnswerError, Sample

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
LARGEST = 2**31 - 1
WINDOW = 65535  # bytes that may be sent before the server allows more
HEAD = Struct(">IBI")  # the length and the type of a frame in the first, its flags, its stream
REFUSED = b"\0\0\0\7"  # of a call that has not run: grpcio counts those that have just ended for a moment longer
SIZE = 256 * 1024


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    """Return one frame."""
    return HEAD.pack(len(content) << 8 | kind, flags, stream) + content


def message(content: bytes) -> bytes:
    """Return one message of gRPC."""
    return b"\0" + len(content).to_bytes(4, "big") + content


def literal(start: bytes, value: str) -> bytes:
    """Return a header that is remembered (RFC 7541, 6.2.1), without Huffman's code."""
    return start + bytes([len(value)]) + value.encode()


def name(text: str) -> bytes:
    """Return the start of a header whose name is not in the static table."""
    return b"\x40" + bytes([len(text)]) + text.encode()


class Connection:
    """One connection with `calls` under way. `end` is the part of a request behind its first message."""

    def __init__(self, port: int, exchange: Exchange, reply: bytes, calls: int) -> None:
        self.count = 0
        """Answers so far."""
        self.is_ending = False
        """Whether no call, and no message, is to be begun any more."""
        self.working = 0
        self._reply = message(reply)
        self._body = message(exchange.body)
        self._opening = message(exchange.opening) if exchange.opening else b""
        self._stream = 1
        self._room = WINDOW
        self._waiting: list[int] = []  # streams whose next message has no room yet
        self._coming: dict[int, bytes] = {}
        self._data = b""
        self._out: list[bytes] = []
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fields = (
            literal(b"\x44", exchange.path),
            literal(b"\x41", f"127.0.0.1:{port}"),
            literal(name("te"), "trailers"),
            literal(name("content-type"), "application/grpc"),
            literal(name("user-agent"), "grpc-bare/1.0"),
        )
        self._first = b"\x83\x86" + b"".join(fields)
        self._again = b"\x83\x86" + bytes(
            0x80 + 61 + len(fields) - n for n in range(len(fields))
        )  # the last one has number 62
        self._send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._send(frame(SETTINGS, 0, 0, b"\0\4" + LARGEST.to_bytes(4, "big")))  # of each stream's window
        self._send(frame(WINDOW_UPDATE, 0, 0, (LARGEST - WINDOW).to_bytes(4, "big")))
        for _ in range(calls):
            self._call()
        self._flush()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def run(self, until: float) -> None:
        """Go on until then, or until no call is under way."""
        while self.working and (left := until - time.perf_counter()) > 0:
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(SIZE)
            except TimeoutError:
                return
            if not data:
                raise AnswerError("the server closed the connection")
            self._take(self._data + data)
            self._flush()

    def _send(self, data: bytes) -> None:
        self._out.append(data)

    def _flush(self) -> None:
        if self._out:
            self._socket.settimeout(PATIENCE)
            self._socket.sendall(b"".join(self._out))
            self._out.clear()

    def _call(self) -> None:
        stream, self._stream = self._stream, self._stream + 2
        self._coming[stream] = b""
        self.working += 1
        self._send(frame(HEADERS, END_HEADERS, stream, self._first if stream == 1 else self._again))
        if self._opening:
            self._room -= len(self._opening)
            self._send(frame(DATA, 0, stream, self._opening))
        self._say(stream)

    def _say(self, stream: int) -> None:
        """Send the body: the whole request, or the next message of a conversation."""
        if self._room < len(self._body):
            self._waiting.append(stream)
            return
        self._room -= len(self._body)
        self._send(frame(DATA, 0 if self._opening else END_STREAM, stream, self._body))

    def _take(self, data: bytes) -> None:
        at, size = 0, len(data)
        while size - at >= HEAD.size:
            first, flags, stream = HEAD.unpack_from(data, at)
            end = at + HEAD.size + (first >> 8)
            if size < end:
                break
            self._heard(first & 255, flags, stream, data[at + HEAD.size : end])
            at = end
        self._data = data[at:]

    def _heard(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        if kind == DATA:
            self._coming[stream] += content
            if self._opening and self._coming[stream] == self._reply:
                self._coming[stream] = b""
                self._answered(stream)
        elif kind == WINDOW_UPDATE and not stream:
            self._room += int.from_bytes(content, "big")
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                self._say(each)
        elif kind == SETTINGS and not flags & ACK:
            self._send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._send(frame(PING, ACK, 0, content))
        elif kind == RESET and content == REFUSED:
            del self._coming[stream]
            self.working -= 1
            self._call()
        elif kind in (RESET, GOAWAY):
            raise AnswerError(f"the server ended {'a call' if kind == RESET else 'the connection'}: {content!r}")
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self._ended(stream)

    def _answered(self, stream: int) -> None:
        self.count += 1
        if self.is_ending:
            self._send(frame(DATA, END_STREAM, stream))
        else:
            self._say(stream)

    def _ended(self, stream: int) -> None:
        self.working -= 1
        found = self._coming.pop(stream)
        if self._opening:
            if not self.is_ending or found:
                raise AnswerError(f"a conversation ended by itself, or after a wrong answer: {found[:1000]!r}")
            return
        if found != self._reply:
            raise AnswerError(f"not the answer expected: {found[:1000]!r}")
        self.count += 1
        if not self.is_ending:
            self._call()


def measure(port: int, exchange: Exchange, reply: bytes, calls: int, seconds: float) -> Sample:
    """Keep `calls` under way for `seconds` after a warm-up, then let the last answers come."""
    connection = Connection(port, exchange, reply, calls)
    try:
        connection.run(time.perf_counter() + WARM_UP)
        before, cpu, began = connection.count, time.process_time(), time.perf_counter()
        connection.run(began + seconds)
        after, share, ended = connection.count, time.process_time() - cpu, time.perf_counter()
        connection.is_ending = True
        connection.run(ended + PATIENCE)
        if connection.working:
            raise AnswerError(f"{connection.working} calls did not end within {PATIENCE} s")
    finally:
        connection.close()
    return Sample((after - before) / (ended - began), connection.count, share / (ended - began))
