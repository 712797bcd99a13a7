"""Asking the servers that are out whether they are back: beside all calls, and only while there are some."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from threading import Lock
from typing import Any

from xooai import forks, sync
from xooai.errors import XooaiError
from xooai.flow.servers import Server, Servers
from xooai.log import logger

__all__ = ["Returning"]

_log = logger("xooai.flow")


class Returning:
    """Asks on the loop of blocking calls, since whoever calls may be gone, and his loop with him, before a server answers.

    `ask` tells what keeps a server from being used, "" where nothing does, or raises XooaiError.
    """

    def __init__(self, servers: Servers, ask: Callable[[Server], Awaitable[str]]) -> None:
        self._servers, self._ask = servers, ask
        self.renew()
        forks.renewed(self)

    def renew(self) -> None:
        """Nobody is being asked in the child of a fork."""
        self._lock = Lock()
        self._asking: dict[Server, Future[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, server: Server) -> Future[None]:
        """Ask a server: once at a time, however many want to know."""
        with self._lock:
            asking = self._asking.get(server)
            if asking is None or asking.done():
                asking = self._asking[server] = sync.start(self._asked(server))
            return asking

    def start_due(self) -> None:
        """Ask those whose time it is."""
        for server in self._servers.due():
            self.start(server)

    async def _asked(self, server: Server) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            why = await self._ask(server)
            if why:
                self._servers.still_out(server, why)
            else:
                self._servers.back(server)
        except XooaiError as error:
            self._servers.still_out(server, error.message)
        except Exception as error:  # noqa: BLE001 - nobody waits for this task who would hear of it
            _log.exception("asking %s failed", server.name)
            self._servers.still_out(server, f"asking it failed: {error}")
        finally:
            self._tasks.discard(task)

    def close(self) -> None:
        """Ask nobody any more, until the next start."""
        with self._lock:
            is_asking = any(not asking.done() for asking in self._asking.values())
            self._asking.clear()
        if is_asking:
            sync.leave(self._ended)

    async def _ended(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
