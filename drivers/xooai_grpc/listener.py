"""A listener: a gRPC server at one URL, from binding its port to ending its calls in good order."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from contextlib import suppress
from typing import Any

import grpc

from xooai import handed
from xooai.driver import ListenOptions, Site, Taken
from xooai.errors import InvalidArgument, Unavailable
from xooai.place import Address, Place, bound_at, cannot_listen, listened_at, resolve
from xooai.renewal import Renewal
from xooai_grpc.health import Health
from xooai_grpc.limits import PORTS, Limits
from xooai_grpc.reflection import Reflection
from xooai_grpc.secure import Pair, credentials, files_of
from xooai_grpc.server import Server

__all__ = ["GrpcListener", "listen", "take"]

_LOG = logging.getLogger("xooai.grpc")
_ATTEMPTS = 8  # to find a port that is free at both addresses of localhost
_SETTLE = 0.05  # seconds in which calls that were sent before the end of a listener come in
_FOREVER = 365 * 86400.0  # seconds of grace, which is cut short once it is over
_STOP = 5.0  # seconds for cancelled calls to end; what then still runs has ignored its cancellation


async def listen(url: str, site: Site, options: ListenOptions, limits: Limits) -> GrpcListener:
    """Listen at `url`. Raises Unavailable, InvalidArgument or PermissionDenied."""
    place = listened_at(url, PORTS)
    files = files_of(place, options)
    addresses = await resolve(place, options.insecure)
    for _ in range(_ATTEMPTS):
        calls, check = Server(site, limits, asks_clients=options.clients is not None), Health(site.ready)
        server = grpc.aio.server(
            handlers=[calls, check.handler(), *Reflection(calls.services, calls.admit).handlers()],
            options=limits.options(options.message_limit, is_shared=options.shared is not None),
        )
        port = _bind(server, place, addresses, files)
        if port is not None:
            await _start(server)
            return GrpcListener(Place(place.scheme, place.host, port).url, server, calls, check, files)
    raise Unavailable(f"cannot listen at {place.url}: no port is free at all of its addresses; give one")


async def take(url: str, options: ListenOptions) -> Taken:
    """Take a port for several processes. Raises as `listen`.

    grpcio takes no socket, so each process binds one of its own beside the others (SO_REUSEPORT), and the kernel deals the
    connections among those that listen, by address alone. The one that is bound here keeps the port, and never listens.
    """
    place = listened_at(url, PORTS)
    files_of(place, options)
    if not hasattr(socket, "SO_REUSEPORT"):
        raise InvalidArgument(f"cannot listen at {url!r} by several processes: this system has no SO_REUSEPORT")
    addresses = await resolve(place, options.insecure)
    for family, host in addresses:
        _refuse_handed(place, family, host)
    for made in bound_at(place, addresses, socket.SOCK_STREAM, _bind_alone):
        made.close()  # free, and of nobody else's who would share it
    kept = bound_at(place, addresses, socket.SOCK_STREAM, _bind_beside)
    return Taken(Place(place.scheme, place.host, kept[0].getsockname()[1]).url, kept=tuple(kept))


def _refuse_handed(place: Place, family: socket.AddressFamily, host: str) -> None:
    if (one := handed.at(family, socket.SOCK_STREAM, host, place.port)) is not None:
        one.close()
        raise InvalidArgument(f"{place.url}: gRPC cannot listen at a socket that is handed over; let it make its own")


def _bind_alone(made: socket.socket, host: str, port: int) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    made.listen()


def _bind_beside(made: socket.socket, host: str, port: int) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((host, port))


async def _start(server: grpc.aio.Server) -> None:
    """Start it; where this is cancelled, it is stopped once it has started: gRPC does not know of a start that is given up."""
    starting = asyncio.ensure_future(server.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await starting
        await server.stop(None)
        raise


def _bind(server: grpc.aio.Server, place: Place, addresses: list[Address], files: Renewal[Pair] | None) -> int | None:
    """The port that `server` is bound to at all addresses; None where another free one has to be taken.

    Where a name has several addresses (localhost has two), the first must do, the others may.
    """
    port = place.port
    for family, host in addresses:
        _refuse_handed(place, family, host)
        address = f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
        try:
            port = (
                server.add_insecure_port(address)
                if files is None
                else server.add_secure_port(address, credentials(files))
            )
        except RuntimeError:  # says nothing of the reason
            reason = _reason(family, host, port)
            if (family, host) == addresses[0] or (reason.errno == errno.EADDRINUSE and place.port):
                raise cannot_listen(place, reason) from None
            if reason.errno == errno.EADDRINUSE:
                return None
            continue  # localhost is in IPv6, too, but this machine has none
    return port


def _reason(family: socket.AddressFamily, host: str, port: int) -> OSError:
    """Why binding fails: what it says when it is tried once more."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen()
    except OSError as error:
        return error
    return OSError(errno.EADDRINUSE, "the address was in use a moment ago")


class GrpcListener:
    """One URL, and the calls that come through it."""

    def __init__(
        self, url: str, server: grpc.aio.Server, calls: Server, check: Health, files: Renewal[Pair] | None = None
    ) -> None:
        self.url = url
        self._files = files
        self._server = server
        self._calls = calls
        self._check = check
        self._stopping: asyncio.Task[None] | None = None

    def reload(self) -> None:
        """Use the TLS files as they are now."""
        if self._files is not None:
            self._files.look()

    async def aclose(self, grace: float = 0) -> None:
        """Stop accepting, let calls under way finish for `grace` seconds, then cancel what is left.

        May be called again, to give less grace.
        """
        self._check.end()
        self._calls.is_leaving = True
        if self._stopping is None:
            if grace > 0:
                await asyncio.sleep(min(grace, _SETTLE))
            self._stopping = self._stopping or asyncio.create_task(self._server.stop(_FOREVER))
        deadline = asyncio.get_running_loop().time() + grace
        stopping = self._stopping
        await _until(deadline, stopping, self._calls.tasks)
        if not self._calls.tasks:  # then what is left are connections, and those who watch the health
            await asyncio.wait({stopping}, timeout=_SETTLE)
        if not stopping.done():
            await self._force(stopping)

    async def _force(self, stopping: asyncio.Task[None]) -> None:
        forcing = asyncio.create_task(self._server.stop(None))
        await asyncio.wait({stopping, forcing, *self._calls.tasks}, timeout=_STOP)
        if self._calls.tasks:
            _LOG.error("%d calls have ignored their cancellation for %g seconds", len(self._calls.tasks), _STOP)


async def _until(deadline: float, stopping: asyncio.Task[None], calls: set[asyncio.Task[Any]]) -> None:
    """Wait until all calls have ended, or for the deadline."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            while calls and not stopping.done():
                await asyncio.wait({*calls, stopping}, return_when=asyncio.FIRST_COMPLETED)
