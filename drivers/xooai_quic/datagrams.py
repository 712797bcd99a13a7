"""Datagrams of one QUIC connection on a loop: what comes, what there is to send, and the timer between them."""

from __future__ import annotations

import asyncio
from itertools import groupby
from operator import itemgetter
from typing import Any

from xooai.log import logger
from xooai_quic.library import Quic

__all__ = ["Datagrams"]

_LOG = logger("xooai.quic")


class Datagrams(asyncio.DatagramProtocol):
    """Drives a connection that is without input or output."""

    transport: asyncio.DatagramTransport

    def __init__(self, quic: Quic) -> None:
        self.quic = quic
        self.loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._is_flushing = False

    def process(self) -> None:
        """Something has happened to the connection."""
        raise NotImplementedError

    def sent(self) -> None:
        """What there was to send has been sent, as far as the peer and the network take it."""
        raise NotImplementedError

    def broken(self) -> None:
        """The library has stumbled over what came: this is the end of this connection, and of no other."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # of datagrams, as asked for

    def datagram_received(self, data: bytes, addr: Any) -> None:
        # What is to be sent goes behind the calls that begin here: the replies of quick ones are in the same datagram.
        is_flushing, self._is_flushing = self._is_flushing, True
        try:
            self.quic.receive_datagram(data, addr, self.loop.time())
            self.process()
        except Exception as error:  # noqa: BLE001 - somebody else's code, fed by strangers
            self._stumble(error)
        self._is_flushing = is_flushing
        self.flush_soon()

    def datagrams_received(self, data: list[bytes], addr: Any) -> None:
        for one in data:
            self.datagram_received(one, addr)

    def _stumble(self, error: Exception) -> None:
        _LOG.error(
            "a QUIC connection is closed, since its datagrams cannot be handled or made: %r", error, exc_info=error
        )
        self.broken()

    def flush_soon(self) -> None:
        """Send what there is to send with the next turn of the loop, all of it at once."""
        if not self._is_flushing:
            self._is_flushing = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        self._is_flushing = False
        if self.transport.is_closing():
            return
        try:
            datagrams = self.quic.datagrams_to_send(self.loop.time())
        except Exception as error:  # noqa: BLE001 - somebody else's code: qh3 2.1 may find that a packet is full
            self._stumble(error)
            return
        if datagrams:
            self._send(datagrams)
        self._arm()
        self.sent()

    def _send(self, datagrams: list[tuple[bytes, Any]]) -> None:
        together = getattr(self.transport, "sendto_many", None)
        if together is None or len(datagrams) == 1:
            for data, address in datagrams:
                self.transport.sendto(data, address)
        else:
            for address, group in groupby(datagrams, key=itemgetter(1)):
                together([data for data, _ in group], address)

    def _arm(self) -> None:
        due = self.quic.get_timer()
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = None if due is None else self.loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        now = max(self.loop.time(), self._due or 0)
        self._timer = self._due = None
        try:
            self.quic.handle_timer(now)
            self.process()
        except Exception as error:  # noqa: BLE001 - somebody else's code, fed by strangers
            self._stumble(error)
        self.flush()

    def abandon(self) -> None:
        """Do nothing more: the socket is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
