"""From a place to UDP sockets, on either side."""

from __future__ import annotations

import socket

from xooai.place import Address, Place, bound_at

__all__ = ["PORTS", "bind", "connected", "widen"]

PORTS = {"quic": 443}


def bind(place: Place, addresses: list[Address], buffer: int, *, is_shared: bool = False) -> list[socket.socket]:
    """Sockets at all addresses on one port. Raises Unavailable, PermissionDenied or InvalidArgument.

    With `is_shared` beside those of another process of this server, which is about to end, or has begun.
    """

    def bind_one(made: socket.socket, host: str, port: int) -> None:
        widen(made, buffer)
        if is_shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, port))  # without SO_REUSEADDR, by which a second server could take the same port (socket(7))

    return bound_at(place, addresses, socket.SOCK_DGRAM, bind_one)


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
