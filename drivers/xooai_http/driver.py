"""The HTTP driver: calls as plain HTTP/1.1 requests, on uvicorn and httptools."""

from __future__ import annotations

from xooai.driver import DialOptions, ListenOptions, Site
from xooai_http.client import HttpLink
from xooai_http.limits import Limits
from xooai_http.listener import HttpListener, listen

__all__ = ["HttpDriver"]

_LIMITS = Limits()


class HttpDriver:
    """http:// and https://."""

    def __init__(self, limits: Limits = _LIMITS) -> None:
        self._limits = limits

    async def dial(self, url: str, options: DialOptions) -> HttpLink:
        """Prepare calls to `http(s)://host:port`; opens no connection yet."""
        return HttpLink(url, options)

    async def listen(self, url: str, site: Site, options: ListenOptions) -> HttpListener:
        """Listen at `http(s)://host:port`. Raises Unavailable, InvalidArgument or PermissionDenied."""
        return await listen(url, site, options, self._limits)
