"""A relay of datagrams between a client and a server, which may go silent, drop large ones, or take another port."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Relay"]


class Relay(asyncio.DatagramProtocol):
    """What comes at its own port goes on to the server, and back."""

    def __init__(self, port: int) -> None:
        self.is_silent = False
        self.largest = 65_535
        """Bytes of a datagram that passes."""
        self.largest_passed = 0
        self.ignored = 0
        """How many of the clients, those that come first, are not heard."""
        self._clients: list[Any] = []
        self._server = port
        self._client: Any = None
        self._upstream: asyncio.DatagramTransport | None = None
        self._loop = asyncio.get_running_loop()

    async def start(self) -> int:
        """Its own port."""
        self._transport, _ = await self._loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        await self.rebind()
        return int(self._transport.get_extra_info("sockname")[1])

    async def rebind(self) -> None:
        """Go on from another port: the client seems to have moved."""
        relay, old = self, self._upstream

        class Upstream(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                if relay._passes(data):
                    relay._transport.sendto(data, relay._client)

        self._upstream, _ = await self._loop.create_datagram_endpoint(Upstream, remote_addr=("127.0.0.1", self._server))
        if old is not None:
            old.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr not in self._clients:
            self._clients.append(addr)
        if self._clients.index(addr) < self.ignored:
            return
        self._client = addr
        if self._passes(data) and self._upstream is not None:
            self._upstream.sendto(data)

    def _passes(self, data: bytes) -> bool:
        passes = not self.is_silent and len(data) <= self.largest
        if passes:
            self.largest_passed = max(self.largest_passed, len(data))
        return passes

    async def aclose(self) -> None:
        self._transport.close()
        if self._upstream is not None:
            self._upstream.close()
        await asyncio.sleep(0)
