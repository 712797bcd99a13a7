"""tcp://: a driver of one's own, for calls over plain sockets. A package brings it; docs/how-to/driver.md tells how."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from urllib.parse import urlsplit

from xooai.driver import DialOptions, Driver, ListenOptions, Site
from xooai.errors import InvalidArgument, PermissionDenied, Unavailable
from xooai.framed import FramedLink, FramedListener, FramedSite
from xooai.plugins import hookimpl


class TcpDriver:
    """Calls over plain sockets, a connection for each."""

    async def dial(self, url: str, options: DialOptions) -> FramedLink:
        host, port = address_in(url)
        loop = asyncio.get_running_loop()
        return FramedLink(url, lambda protocol: loop.create_connection(protocol, host, port), options)

    async def listen(self, url: str, site: Site, options: ListenOptions) -> FramedListener:
        host, port = address_in(url)
        if not (ip_address(host).is_loopback or options.insecure):
            raise PermissionDenied(f"{url} is open to others, and nobody is asked who they are; insecure allows it")
        framed = FramedSite(site, options.message_limit)
        try:
            server = await asyncio.get_running_loop().create_server(framed.connection, host, port)
        except OSError as error:
            raise Unavailable(f"cannot listen at {url}: {error.strerror}") from error
        return FramedListener(f"tcp://{host}:{server.sockets[0].getsockname()[1]}", server, framed)


def address_in(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if not parts.hostname or parts.port is None:
        raise InvalidArgument(f"{url!r} is no address; it is written tcp://127.0.0.1:7000")
    return parts.hostname, parts.port


@hookimpl
def xooai_driver(scheme: str) -> Driver | None:
    """The driver for tcp://."""
    return TcpDriver() if scheme == "tcp" else None
