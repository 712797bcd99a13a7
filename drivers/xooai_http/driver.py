"""The HTTP driver: calls as plain HTTP/1.1 requests, or over WebSockets, on uvicorn, httptools and websockets."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from xooai.driver import DialOptions, ListenOptions, Site, Taken
from xooai_http.limits import Limits

if TYPE_CHECKING:
    from xooai_http.client import HttpLink
    from xooai_http.listener import HttpListener

__all__ = ["HttpDriver"]

_LIMITS = Limits()


class HttpDriver:
    """http:// and https://. Each side is loaded when it is needed: a client does not wait for uvicorn's import."""

    def __init__(self, limits: Limits = _LIMITS) -> None:
        self._limits = limits

    async def dial(self, url: str, options: DialOptions) -> HttpLink:
        """Prepare calls to `http(s)://host:port`; opens no connection yet."""
        link: HttpLink = import_module("xooai_http.client").HttpLink(url, options)
        return link

    async def listen(self, url: str, site: Site, options: ListenOptions) -> HttpListener:
        """Listen at `http(s)://host:port`. Raises Unavailable, InvalidArgument or PermissionDenied."""
        listener: HttpListener = await import_module("xooai_http.listener").listen(url, site, options, self._limits)
        return listener

    async def take(self, url: str, options: ListenOptions, processes: int) -> Taken:
        """Take a port for several processes, which all accept from one socket. Raises as `listen`."""
        taken: Taken = await import_module("xooai_http.listener").take(url, options)
        return taken
