"""From a place to listening sockets and a TLS context."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from contextlib import ExitStack

from xooai.driver import ListenOptions
from xooai.place import Address, Place, cannot_listen, listened_at, server_tls

__all__ = ["bind", "parse", "tls"]

_PORTS = {"http": 80, "https": 443}
_BACKLOG = 1024  # connections that the kernel keeps until they are accepted: as many as a listener takes


def parse(url: str) -> Place:
    """Raises InvalidArgument for anything but `http(s)://host:port`."""
    return listened_at(url, _PORTS)


def bind(place: Place, addresses: list[Address]) -> list[socket.socket]:
    """Sockets listening at all addresses on one port. Raises Unavailable, PermissionDenied or InvalidArgument.

    Where a name has several addresses (localhost has two), the first must do, the others may.
    """
    with ExitStack() as undo:
        sockets: list[socket.socket] = []
        port = place.port
        for family, host in addresses:
            bound = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
            try:
                _bind(bound, host, port)
            except OSError as error:
                if not sockets or (error.errno == errno.EADDRINUSE and place.port):
                    raise cannot_listen(place, error) from error
                if error.errno == errno.EADDRINUSE:
                    return bind(place, addresses)  # the free port of one address is taken at the other: take another
                bound.close()  # localhost is in IPv6, too, but this machine has none
                continue
            sockets.append(bound)
            port = bound.getsockname()[1]
        undo.pop_all()
    return sockets


def _bind(bound: socket.socket, host: str, port: int) -> None:
    bound.setblocking(False)
    if os.name == "posix":  # elsewhere it would allow a second server on the same port
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if bound.family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    bound.bind((host, port))
    bound.listen(_BACKLOG)


def tls(place: Place, options: ListenOptions) -> ssl.SSLContext | None:
    """The TLS context of an https:// listener; None for http://. Raises InvalidArgument."""
    return server_tls(place, "http", options, ["http/1.1"])
