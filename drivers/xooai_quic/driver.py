"""The QUIC driver: finds its two sides."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from xooai.driver import DialOptions, ListenOptions, Site, Taken
from xooai_quic.limits import ClientLimits, Limits

if TYPE_CHECKING:
    from xooai_quic.client import QuicLink
    from xooai_quic.listener import QuicListener

__all__ = ["QuicDriver"]

_LIMITS = Limits()
_CLIENT_LIMITS = ClientLimits()


class QuicDriver:
    """quic://. Each side is loaded when it is needed. `library` is `aioquic` or `qh3`, None for the one in use here."""

    def __init__(
        self, limits: Limits = _LIMITS, client_limits: ClientLimits = _CLIENT_LIMITS, library: str | None = None
    ) -> None:
        self._limits = limits
        self._client_limits = client_limits
        self._library = library

    async def dial(self, url: str, options: DialOptions) -> QuicLink:
        """Prepare calls to `quic://host:port`; opens no connection yet."""
        module = import_module("xooai_quic.client")
        link: QuicLink = module.QuicLink(url, options, self._client_limits, self._library)
        return link

    async def listen(self, url: str, site: Site, options: ListenOptions) -> QuicListener:
        """Listen at `quic://host:port`. Raises Unavailable, InvalidArgument or PermissionDenied."""
        module = import_module("xooai_quic.listener")
        listener: QuicListener = await module.listen(url, site, options, self._limits, self._library)
        return listener

    async def take(self, url: str, options: ListenOptions, processes: int) -> Taken:
        """Take a port for several processes, each with sockets of its own, or find one for the first. Raises as `listen`."""
        module = import_module("xooai_quic.sharing")
        taken: Taken = await module.take(url, options, self._limits, self._library, processes)
        return taken
