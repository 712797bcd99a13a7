"""From a place to UDP sockets, on either side."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

from xooai.place import Address, Place, cannot_listen

__all__ = ["PORTS", "bind", "connected", "widen"]

PORTS = {"quic": 443}


def bind(place: Place, addresses: list[Address], buffer: int) -> list[socket.socket]:
    """Sockets at all addresses on one port. Raises Unavailable, PermissionDenied or InvalidArgument.

    Where a name has several addresses (localhost has two), the first must do, the others may.
    """
    with ExitStack() as undo:
        sockets: list[socket.socket] = []
        port = place.port
        for family, host in addresses:
            bound = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            try:
                _bind(bound, host, port)
            except OSError as error:
                if not sockets or (error.errno == errno.EADDRINUSE and place.port):
                    raise cannot_listen(place, error) from error
                if error.errno == errno.EADDRINUSE:
                    return bind(place, addresses, buffer)  # taken at the other address: take another
                bound.close()  # localhost is in IPv6, too, but this machine has none
                continue
            widen(bound, buffer)
            sockets.append(bound)
            port = bound.getsockname()[1]
        undo.pop_all()
    return sockets


def _bind(bound: socket.socket, host: str, port: int) -> None:
    # Without SO_REUSEADDR, by which a second server could take the same port (socket(7)).
    bound.setblocking(False)
    if bound.family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    bound.bind((host, port))


def connected(family: socket.AddressFamily, address: tuple[str, int], buffer: int) -> socket.socket:
    """A socket that only hears the one at `address`, and hears from the kernel when nobody is there. Raises OSError."""
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        widen(made, buffer)
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made


def widen(made: socket.socket, buffer: int) -> None:
    """Ask the kernel to keep more for this socket; it gives what it allows."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, buffer)
