"""Whether the peer of a connection has left, for times when nothing is read from it, or nothing comes."""

from __future__ import annotations

import asyncio
import select
import socket
from contextlib import suppress

__all__ = ["has_left", "keep_asking", "watch"]

# The peer sends no more, or the connection is gone (poll(2)). Elsewhere than on Linux only the latter is told.
_GONE = getattr(select, "POLLRDHUP", 0) | getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)


# A stream may be silent for long, and a machine that has vanished says nothing: so the kernel asks an idle peer whether it
# is there, after this many seconds, again after so many, and so often (tcp(7)).
_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))


def watch(transport: asyncio.Transport) -> None:
    """Let the kernel find out, in half a minute or so, that the machine of a silent peer is there no more."""
    used = transport.get_extra_info("socket")
    if used is not None:
        keep_asking(used)


def keep_asking(used: socket.socket) -> None:
    """As `watch`; of a socket that listens, for all that it accepts, where the system passes that on (Linux does)."""
    with suppress(OSError):  # closed already, or no TCP
        used.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                used.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def has_left(transport: asyncio.Transport) -> bool:
    """Ask the kernel; False where it cannot be asked.

    An end that TCP still holds behind bytes for which there is no room here is seen only once there is.
    """
    used = transport.get_extra_info("socket")
    if used is None or used.fileno() < 0 or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(used.fileno(), _GONE)
    return bool(poll.poll(0))
