"""Where a link's calls go: what its URL and its options say, checked."""

from __future__ import annotations

import ssl

import msgspec

from xooai.driver import DialOptions
from xooai.place import called_at, client_tls

__all__ = ["Target"]

_PORTS = {"http": 80, "https": 443}


class Target(msgspec.Struct, frozen=True):
    """A server: `host` and `port` to connect to, `authority` as the Host header has it, `peer` as errors name it."""

    host: str
    port: int
    authority: str
    peer: str
    context: ssl.SSLContext | None

    @classmethod
    def at(cls, url: str, options: DialOptions) -> Target:
        """Read `scheme://host[:port]`. Raises InvalidArgument, whose text holds no secret that the URL may hold."""
        place = called_at(url, _PORTS)
        authority = place.authority if place.port == _PORTS[place.scheme] else place.peer
        return cls(place.host, place.port, authority, place.peer, client_tls(place, "http", options, ["http/1.1"]))
