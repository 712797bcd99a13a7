"""Datagrams that came to one worker and belong to another, while one takes the place of the other at a port."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from xooai.log import logger

__all__ = ["Strays"]

_LOG = logger("xooai.workers")
_LARGEST = 128 * 1024  # bytes of what is passed on: a datagram has 64 KiB at most
_AT_ONCE = 64  # passed on in one turn of the loop


class Strays:
    """A socket in a folder that only workers of one server have. Implements `xooai.driver.Strays`."""

    def __init__(self, folder: Path, row: int) -> None:
        self._folder, self._name = folder, str(row)
        self._receivers: dict[str, Callable[[bytes, Any], None]] = {}
        self._socket: socket.socket | None = None

    def receive(self, port: str, received: Callable[[bytes, Any], None]) -> None:
        """Have those for a port from now on."""
        self._receivers[port] = received
        if self._socket is None:
            own = self._folder / self._name
            own.unlink(missing_ok=True)  # of one that had this row before
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._socket.bind(str(own))
            asyncio.get_running_loop().add_reader(self._socket, self._read)

    def send(self, port: str, data: bytes, address: Any) -> None:
        """Pass one on to all others: whose it is takes it. Never waits; what there is no room for is lost, as datagrams are."""
        if self._socket is None:
            return
        message = msgspec.msgpack.encode((port, address, data))
        for name in os.listdir(self._folder):
            if name != self._name:
                with suppress(OSError):  # it has ended, or has no room
                    self._socket.sendto(message, str(self._folder / name))

    def close(self, port: str) -> None:
        self._receivers.pop(port, None)
        if not self._receivers and self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            (self._folder / self._name).unlink(missing_ok=True)

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                message = self._socket.recv(_LARGEST) if self._socket is not None else b""
            except BlockingIOError:
                return
            if not message:
                return
            port, address, data = msgspec.msgpack.decode(message, type=tuple[str, list[Any], bytes])
            receiver = self._receivers.get(port)
            if receiver is not None:
                receiver(data, tuple(address))
