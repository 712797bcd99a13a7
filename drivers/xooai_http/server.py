"""What the connections of one listener share: the site, the limits, the calls under way, and the sweep of deadlines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.server import ServerState

from xooai.driver import Guarding, Shape, Site
from xooai.errors import ResourceExhausted
from xooai.guard import Hosts
from xooai.http import is_page
from xooai.lazy import lazy
from xooai.log import logger
from xooai_http.limits import Limits

if TYPE_CHECKING:
    from xooai import asgi
    from xooai_http.protocol import HttpConnection
else:
    asgi = lazy("xooai.asgi")

__all__ = ["Server"]

_ACCESS = logger("xooai.access")
_PATHS = 1024  # paths of calls remembered: a bound, since clients choose them; a server has fewer endpoints
_SHOWN = 200  # characters of a client's text in the log


class Server:
    """One for each listener."""

    def __init__(self, site: Site, hosts: Hosts, message_limit: int, limits: Limits) -> None:
        self.accept = site.accept
        self.admit = site.admit if isinstance(site, Guarding) else None
        """Asked before much is taken in of who calls; None where everybody may."""
        self._shape = site.shape
        self.hosts = hosts
        self.message_limit = message_limit
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self._site = site
        self._application: asgi.Application | None = None
        # log_config and access_log: uvicorn would set up logging for the whole process; proxy headers are believed by
        # nobody here (uvicorn's default believes whoever calls from 127.0.0.1).
        self.config = Config(
            self.application,
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self.state = ServerState()
        self.context = copy_context()
        self.tasks: set[asyncio.Task[None]] = set()
        self.buffered = 0
        """Bytes of bodies that are coming in or belong to a running call, but for those that came in one piece."""
        self.is_draining = False
        self.asks_clients = False
        """Whether clients show certificates."""
        self.has_log = _ACCESS.isEnabledFor(logging.INFO)
        self._paths: dict[bytes, str] = {}
        self.on_left: Callable[[tuple[str, int]], None] = lambda client: None
        """Called when the connection of a client has gone."""
        self._timer: asyncio.TimerHandle | None = None

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer what is no plain call, by an application that is made for the first of them. Raises what it does."""
        if self._application is None:
            limits = self.limits
            streams = asgi.StreamLimits(self.message_limit, limits.window, limits.rate, self.reserve)
            self._application = asgi.Application(self._site, message_limit=self.message_limit, streams=streams)
        await self._application(scope, receive, send)

    def path_of(self, url: bytes) -> str | None:
        """The path of a call; None where it takes more: a page, a query, an escape, a call that streams."""
        path = self._paths.get(url)
        if path is None:
            path = url.decode("latin-1")
            if not path.startswith("/") or is_page(path) or any(mark in path for mark in "%?#") or self._shape(path):
                return None
            if len(self._paths) < _PATHS:
                self._paths[url] = path
        return path

    def shape_of(self, url: bytes) -> Shape:
        """Which sides stream in a call to a URL; UNARY also where no endpoint is."""
        return self._shape(unquote(url.partition(b"?")[0].decode("latin-1"))) or Shape.UNARY

    def reserve(self, size: int) -> None:
        """Count bytes of streams that are held. Raises ResourceExhausted."""
        self.buffered += size
        if size > 0 and self.buffered > self.limits.buffered:
            raise ResourceExhausted("too much is being sent to this server; try again later", retry_after=1)

    def cancel(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        task.add_done_callback(self.tasks.discard)  # one that has not begun yet never will, and cannot do it itself

    def joined(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.sweep, self._sweep)

    def _sweep(self) -> None:
        now = self.loop.time()
        connections: list[HttpConnection] = list(self.state.connections)  # type: ignore[arg-type]  # uvicorn names its own
        for connection in connections:
            connection.check(now)
        self._timer = self.loop.call_later(self.limits.sweep, self._sweep) if connections else None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def log(self, peer: str, request: str, status: int, size: int) -> None:
        """One line of the access log; what the client wrote is escaped, so that it cannot forge another."""
        _ACCESS.info("%s %s %d %d", peer, ascii(request[:_SHOWN]), status, size)
