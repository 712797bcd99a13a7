"""What answers while no worker does: that none is up, and when to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from socket import socket
from typing import Literal

from msgspec.structs import replace

from xooai import hosting
from xooai.driver import Channel, Listener, ListenOptions, Outcome, Shape
from xooai.ending import all_closed
from xooai.errors import Code
from xooai.log import logger
from xooai.workers.strays import Strays
from xooai.workers.table import State, Table

__all__ = ["Absent"]

_LOG = logger("xooai.workers")
REASON = "no_worker"
AGAIN = 1  # seconds after which a caller may ask again: nobody knows how long a start takes, and asking is cheap


class Absent:
    """A site of which nobody is in. Implements `xooai.driver.Site`, and `Shared` beside the workers.

    Without it callers would wait in the kernel's queue, and who asks for readiness, too.
    """

    is_last = False

    def __init__(self, table: Table, taken: dict[str, tuple[socket, ...]], options: ListenOptions) -> None:
        """`taken` are the sockets by URL that workers accept from."""
        self._table = table
        self._taken = {url: sockets for url, sockets in taken.items() if sockets}
        self._options = hosting.keyed(options)  # as it is now: later there may be no such file
        self.strays = Strays(Path(), -1)  # there are none of connections
        self._listeners: list[Listener] = []
        self._changing = asyncio.Lock()

    # As a site

    async def accept(self, channel: Channel) -> None:
        """Refuse a call."""
        text = "no worker of this server is up; they are started again"
        await channel.end(None, Outcome(Code.UNAVAILABLE, text, {"reason": REASON, "retry_after": AGAIN}))

    def ready(self) -> bool:
        return False

    def shape(self, path: str) -> Shape | None:
        return None

    def describe(self, form: Literal["openapi", "proto", "json"]) -> bytes:
        return b"[]" if form == "proto" else b"{}"

    # As who shares the ports

    def sockets(self, url: str) -> Sequence[socket]:
        return [one.dup() for one in self._taken[url]]

    def is_next(self, connections: int, calls: int) -> bool:
        return not self._table.has(State.READY)

    # From time to time

    async def enter(self) -> None:
        """Answer from now on."""
        async with self._changing:
            if self._listeners or self._table.has(State.READY):
                return
            _LOG.error("no worker is up; calls are refused until one is")
            options = replace(self._options, shared=self)
            for url in self._taken:
                try:
                    listener = await hosting.driver_of(url).listen(url, self, options)
                except Exception as error:  # noqa: BLE001 - as where there is no room for a file; workers are started all the same
                    _LOG.error("nobody can be told so at %s: %s", url, error)
                    continue
                self._listeners.append(listener)

    async def leave(self) -> None:
        """Answer no more; what is under way is refused already."""
        async with self._changing:
            listeners, self._listeners = self._listeners, []
            await all_closed(listeners, 0)
