"""What strangers send first to a server of QUIC."""

from __future__ import annotations

import os

__all__ = ["initial"]


def initial(size: int = 1200, *, version: int = 1, token: bytes = b"") -> bytes:
    """What looks like the first datagram of a client, of that size (RFC 9000 17.2.2)."""
    start = b"\xc3" + version.to_bytes(4, "big") + b"\x08" + os.urandom(8) + b"\0" + bytes([len(token)]) + token
    rest = size - len(start) - 2
    return start + (0x4000 | rest).to_bytes(2, "big") + os.urandom(rest)
