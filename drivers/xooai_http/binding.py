"""From a place to listening sockets and a TLS context."""

from __future__ import annotations

import os
import socket
import ssl

from xooai.driver import ListenOptions
from xooai.place import Address, Place, bound_at, listened_at, server_tls

__all__ = ["bind", "parse", "tls"]

_PORTS = {"http": 80, "https": 443}
_BACKLOG = 1024  # connections that the kernel keeps until they are accepted: as many as a listener takes


def parse(url: str) -> Place:
    """Raises InvalidArgument for anything but `http(s)://host:port`."""
    return listened_at(url, _PORTS)


def bind(place: Place, addresses: list[Address]) -> list[socket.socket]:
    """Sockets listening at all addresses on one port. Raises Unavailable, PermissionDenied or InvalidArgument."""
    return bound_at(place, addresses, socket.SOCK_STREAM, _bind)


def _bind(made: socket.socket, host: str, port: int) -> None:
    if os.name == "posix":  # elsewhere it would allow a second server on the same port
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    made.listen(_BACKLOG)


def tls(place: Place, options: ListenOptions) -> ssl.SSLContext | None:
    """The TLS context of an https:// listener; None for http://. Raises InvalidArgument."""
    return server_tls(place, "http", options, ["http/1.1"])
