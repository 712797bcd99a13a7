"""Listening sockets that this process was started with: a service manager hands them over, as sd_listen_fds(3) has it."""

from __future__ import annotations

import ipaddress
import os
import socket
from functools import cache

__all__ = ["all_handed", "at", "unused"]

_FIRST = 3  # descriptors from here on are handed over, LISTEN_FDS of them, to the process LISTEN_PID
_BACKLOG = 1024  # connections that the kernel keeps until they are accepted: as many as a listener takes

_used: set[int] = set()


@cache
def all_handed() -> tuple[socket.socket, ...]:
    """All of them. They stay open as long as this process, as they do with who made them."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return ()
    given = os.environ.get("LISTEN_FDS", "")
    count = int(given) if given.isdecimal() else 0
    for number in range(_FIRST, _FIRST + count):
        os.set_inheritable(number, False)
    return tuple(socket.socket(fileno=number) for number in range(_FIRST, _FIRST + count))


def at(family: socket.AddressFamily, kind: socket.SocketKind, host: str, port: int) -> socket.socket | None:
    """A duplicate of the one that listens there; it belongs to the caller. None where none does."""
    for one in all_handed():
        if one.family == family and one.type == kind and _is_at(one, host, port):
            _used.add(one.fileno())
            found = one.dup()
            found.setblocking(False)
            if kind == socket.SOCK_STREAM and not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.listen(_BACKLOG)
            return found
    return None


def unused() -> list[str]:
    """Where those listen that nobody has asked for."""
    return [_named(one) for one in all_handed() if one.fileno() not in _used]


def _is_at(one: socket.socket, host: str, port: int) -> bool:
    name = one.getsockname()
    return bool(name[1] == port and ipaddress.ip_address(name[0]) == ipaddress.ip_address(host.partition("%")[0]))


def _named(one: socket.socket) -> str:
    if one.family not in (socket.AF_INET, socket.AF_INET6):
        return str(one.getsockname())
    host, port = one.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
