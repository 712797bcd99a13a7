"""A UDP proxy that treats datagrams badly, as its seed says: a tool for tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from impairment import PERFECT, Fates, Weather

__all__ = ["UdpProxy"]

Address = tuple[str, int]
LARGEST = 65_535  # bytes of a datagram


class UdpProxy:
    """Stands before the server at a URL, while `async with` lasts. Give clients `proxy.url`.

    `up` is what happens to what clients send, `down` to what the server sends. After every `rebind` datagrams from clients the
    server sees them at other ports, and what it sends to the old ones is lost: as behind a router that forgets. It does
    so `moves` times at most.
    """

    def __init__(
        self,
        url: str,
        up: Weather = PERFECT,
        down: Weather = PERFECT,
        *,
        seed: int = 0,
        rebind: int | None = None,
        moves: int | None = None,
    ) -> None:
        self._target = urlsplit(url)
        self._server = (self._target.hostname or "", self._target.port or 0)
        self._up, self._down = Fates(up, f"{seed} up"), Fates(down, f"{seed} down")
        self._rebind = rebind
        self._moves = moves
        self._behind: dict[Address, socket.socket] = {}
        """The socket from which the server hears each client."""
        self.ports = 0
        """How many ports the server has heard from."""
        self.url = ""

    @property
    def up(self) -> int:
        """Datagrams that clients have sent."""
        return self._up.count

    @property
    def down(self) -> int:
        """Datagrams that the server has sent to ports that were in use."""
        return self._down.count

    @property
    def too_large(self) -> int:
        """Datagrams that either side has sent, and that were larger than what passes."""
        return self._up.too_large + self._down.too_large

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._front = self._opened(self._from_client)
        self.url = self._target._replace(netloc=f"127.0.0.1:{self._front.getsockname()[1]}").geturl()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()
        self._close(self._front)

    def rebind(self) -> None:
        """Show clients to the server at other ports from now on."""
        if self._moves is None or self.ports <= self._moves:
            self._forget()

    def _forget(self) -> None:
        while self._behind:
            self._close(self._behind.popitem()[1])

    def _from_client(self, datagram: bytes, client: Address) -> None:
        behind = self._behind.get(client)
        if behind is None:
            behind = self._behind[client] = self._opened(partial(self._from_server, client))
            self.ports += 1
        self._pass_on(self._up, datagram, behind, self._server)
        if self._rebind and self.up % self._rebind == 0:
            self.rebind()

    def _from_server(self, client: Address, datagram: bytes, server: Address) -> None:
        self._pass_on(self._down, datagram, self._front, client)

    def _pass_on(self, fates: Fates, datagram: bytes, through: socket.socket, to: Address) -> None:
        for wait, copy in fates.of(datagram, self._loop.time()):
            self._loop.call_later(wait, _send, through, copy, to)

    # Sockets

    def _opened(self, heard: Callable[[bytes, Address], None]) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.bind(("127.0.0.1", 0))
        self._loop.add_reader(opened, _hear, opened, heard)
        return opened

    def _close(self, opened: socket.socket) -> None:
        self._loop.remove_reader(opened)
        opened.close()


def _hear(opened: socket.socket, heard: Callable[[bytes, Address], None]) -> None:
    with suppress(OSError):  # nothing more, or nobody listens where something was sent
        while opened.fileno() >= 0:
            heard(*opened.recvfrom(LARGEST))


def _send(through: socket.socket, copy: bytes, to: Address) -> None:
    with suppress(OSError):  # closed since, or there is no room: lost, as datagrams are
        through.sendto(copy, to)
