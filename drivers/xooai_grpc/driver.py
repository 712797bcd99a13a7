"""The gRPC driver: finds its two sides."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from xooai.driver import DialOptions, ListenOptions, Site, Taken
from xooai_grpc import core
from xooai_grpc.limits import ClientLimits, Limits

if TYPE_CHECKING:
    from xooai_grpc.client import GrpcLink
    from xooai_grpc.listener import GrpcListener

__all__ = ["GrpcDriver"]

_LIMITS = Limits()
_CLIENT_LIMITS = ClientLimits()


class GrpcDriver:
    """grpc:// and grpcs://. Each side is loaded when it is needed: a client does not wait for the server's imports."""

    def __init__(self, limits: Limits = _LIMITS, client_limits: ClientLimits = _CLIENT_LIMITS) -> None:
        self._limits = limits
        self._client_limits = client_limits

    async def dial(self, url: str, options: DialOptions) -> GrpcLink:
        """Prepare calls to `grpc(s)://host:port`; opens no connection yet."""
        core.load()
        link: GrpcLink = import_module("xooai_grpc.client").GrpcLink(url, options, self._client_limits)
        return link

    async def listen(self, url: str, site: Site, options: ListenOptions) -> GrpcListener:
        """Listen at `grpc(s)://host:port`. Raises Unavailable, InvalidArgument or PermissionDenied."""
        core.load()
        listener: GrpcListener = await import_module("xooai_grpc.listener").listen(url, site, options, self._limits)
        return listener

    async def take(self, url: str, options: ListenOptions, processes: int) -> Taken:
        """Take a port for several processes, each of which binds it again. Raises as `listen`."""
        core.load()
        taken: Taken = await import_module("xooai_grpc.listener").take(url, options)
        return taken
