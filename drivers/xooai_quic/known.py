"""Heads of requests that were found right, by what they are on the wire."""

from __future__ import annotations

__all__ = ["Known"]

Headers = list[tuple[bytes, bytes]]

_MOST = 256  # heads: some dozens of endpoints, called by several clients
_BLOCK = 512  # bytes of one on the wire: most have some hundred
_FIELDS = 32  # of one: most have about ten
_SIZE = 2048  # bytes of its names and values: two on the wire can stand for nearly eighty (RFC 9204 appendix A)
_OF_THE_CLIENT = {b"authorization", b"proxy-authorization", b"cookie"}  # kept no longer than their call


class Known(dict[bytes, tuple[Headers, int | None]]):
    """Of all connections of a listener, on its loop: the fields, and the length that they announce."""

    def remember(self, block: bytes, headers: Headers) -> None:
        """Know a head again that was found right, unless it is too large or secret."""
        if (
            len(block) > _BLOCK
            or len(headers) > _FIELDS
            or sum(len(name) + len(value) for name, value in headers) > _SIZE
        ):
            return
        if not _OF_THE_CLIENT.isdisjoint(name for name, _ in headers):
            return
        named = [value for name, value in headers if name == b"content-length"]
        if len(named) > 1 or not all(value.isdigit() and len(value) < 19 for value in named):
            return
        if len(self) >= _MOST:  # somebody makes them up; what is needed comes back with its next request
            del self[next(iter(self))]
        self[block] = headers, int(named[0]) if named else None
