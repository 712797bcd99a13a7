"""Whose a datagram is, where a process takes the place of another at a port: the kernel deals them to both."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xooai.driver import Strays

if TYPE_CHECKING:
    from xooai_quic.server import Server

__all__ = ["Deal"]

_LONG, _TYPE, _INITIAL = 0x80, 0x30, 0x00  # of a first byte (RFC 9000 17.2)
_CID_SIZE = 8  # bytes of the names that both libraries give to connections


class Deal:
    """For one socket: a connection that is not known here is the other process's."""

    def __init__(self, strays: Strays, bound: socket.socket, routing: Any, server: Server) -> None:
        self._strays = strays
        self._port = f"{bound.family.name} {bound.getsockname()[1]}"
        self._known: dict[bytes, Any] = routing._protocols
        self._server = server

    def listen(self, received: Callable[[bytes, Any], None]) -> None:
        """Take what the other process passes on."""
        self._strays.receive(self._port, received)

    def passes_on(self, data: bytes, address: Any) -> bool:
        """Pass a datagram on where it is none of this process's. What begins a connection is its own, until it ends."""
        if len(data) < 7:  # too short for both kinds of heads
            return False
        first = data[0]
        cid = data[6 : 6 + data[5]] if first & _LONG else data[1 : 1 + _CID_SIZE]
        if bytes(cid) in self._known:
            return False
        if first & _LONG and first & _TYPE == _INITIAL and not self._server.is_draining:
            return False
        self._strays.send(self._port, bytes(data), address)
        return True

    def close(self) -> None:
        self._strays.close(self._port)
