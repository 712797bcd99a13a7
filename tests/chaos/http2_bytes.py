"""HTTP/2 as bytes, right and wrong, for what no library would send (RFC 9113; gRPC over it: PROTOCOL-HTTP2.md of gRPC)."""

from __future__ import annotations

import struct

__all__ = ["ACKNOWLEDGED", "END_HEADERS", "END_STREAM", "PREFACE", "frame", "headers", "message"]

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    """A frame (RFC 9113 4.1)."""
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


ACKNOWLEDGED = frame(SETTINGS, 1, 0)


def headers(stream: int, fields: dict[str, str], flags: int = END_HEADERS) -> bytes:
    """A block of fields, written without compression (RFC 7541 6.2.2)."""
    written = [b"\0%c%b%c%b" % (len(name), name.encode(), len(value), value.encode()) for name, value in fields.items()]
    return frame(HEADERS, flags, stream, b"".join(written))


def message(content: bytes, length: int | None = None, is_compressed: int = 0) -> bytes:
    """A message of gRPC; `length` is what it announces, where that is not its length."""
    return struct.pack(">BI", is_compressed, len(content) if length is None else length) + content
