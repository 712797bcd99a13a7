"""From a place to listening sockets and TLS contexts."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING

import msgspec

from xooai.driver import ListenOptions
from xooai.lazy import lazy
from xooai.place import Address, Place, bound_at, listened_at, server_tls

if TYPE_CHECKING:
    from xooai import renewal
    from xooai_http import certified
else:
    renewal = lazy("xooai.renewal")
    certified = lazy("xooai_http.certified")

__all__ = ["Secured", "bind", "parse", "tls"]

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


class Secured(msgspec.Struct, frozen=True):
    """The TLS context of new connections, and the hosts that its certificate names."""

    context: ssl.SSLContext
    names: list[str]


def tls(place: Place, options: ListenOptions) -> renewal.Renewal[Secured] | None:
    """What gives the TLS context of an https:// listener, as its files are now; None for http://. Raises InvalidArgument."""

    def made() -> Secured:
        context = server_tls(place, "http", options, ["http/1.1"])
        assert context is not None
        assert options.certificate is not None  # or it has raised
        return Secured(context, certified.names_in(context, options.certificate))

    if place.scheme == "http":
        server_tls(place, "http", options, [])  # says what is for https only
        return None
    return renewal.Renewal(place.url, options, made)
