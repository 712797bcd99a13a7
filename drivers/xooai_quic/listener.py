"""A listener: from binding its port to ending its calls in good order."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from xooai.driver import ListenOptions, Site, Strays
from xooai.guard import Hosts
from xooai.log import Seldom, logger
from xooai.place import Place, is_loopback, listened_at, resolve
from xooai.renewal import Renewal
from xooai_quic.binding import PORTS, bind
from xooai_quic.certificate import Certified, certificate_for
from xooai_quic.connection import NO_ERROR
from xooai_quic.dealing import Deal
from xooai_quic.library import Library, load, standing
from xooai_quic.limits import Limits
from xooai_quic.names import LONG, SIZE
from xooai_quic.refusal import SMALLEST
from xooai_quic.server import Server, ServerConnection
from xooai_quic.sharing import Share

__all__ = ["QuicListener", "listen"]

if TYPE_CHECKING:
    from xooai_quic.placing import Placing

_LOG = logger("xooai.quic")
_SHORTEST = 21  # bytes of any packet: a first one, a name, a number, and what protects it
_NEGOTIATION = bytes(4)  # in place of a version, where a server tells which it speaks (RFC 9000 17.2.1)
_SETTLE = 0.05  # seconds in which calls that were sent before the end of a listener come in
_LINGER = 1.0  # seconds for the end of a call to arrive: some round trips, as one that is lost is sent again
_GLANCE = 0.01  # seconds between looks whether they have
_STOP = 5.0  # seconds for cancelled calls to end; what then still runs has ignored its cancellation


async def listen(url: str, site: Site, options: ListenOptions, limits: Limits, library: str | None) -> QuicListener:
    """Listen at `url`. Raises Unavailable, InvalidArgument or PermissionDenied."""
    chosen = load(library)
    place = listened_at(url, PORTS)
    addresses = await resolve(place, options.insecure)
    shared = options.shared
    share = Share.of(url, shared)
    certificate = certificate_for(place, addresses, options, chosen, None if share is None else share.certificate)
    is_here = all(is_loopback(host) for _, host in addresses)

    def hosts(certified: Sequence[str]) -> Hosts:
        return Hosts((place.authority, *options.hosts, *certified) if options.hosts or is_here else None)

    datagram = limits.loopback_datagram if is_here else limits.datagram
    server = Server(site, hosts(()), options.message_limit, limits, datagram)
    if shared is not None and share is not None:
        server.on_work = share.work
        sockets = list(shared.sockets(url))
    else:
        sockets = bind(place, addresses, limits.socket, is_shared=shared is not None)
    bound = Place(place.scheme, place.host, sockets[0].getsockname()[1])
    listener = QuicListener(bound.url, server, None if shared is None or share is not None else shared.strays, share)
    await listener.open(chosen, Secure(certificate, hosts), sockets)
    return listener


class _Port(asyncio.DatagramProtocol):
    """One UDP socket: hands its datagrams to the library's server, and outlives what that stumbles over."""

    def __init__(self, routing: Any, deal: Deal | None, placing: Placing | None) -> None:
        self.routing = routing
        self._known: dict[bytes, Any] = routing._protocols
        self._deal = deal
        self._passed_over = Seldom(_LOG, logging.WARNING)
        self._placing = placing
        self._loop = asyncio.get_running_loop()
        if deal is not None:
            deal.listen(self.take)
        self.closed = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport  # of datagrams
        self.routing.connection_made(transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._deal is None or not self._deal.passes_on(data, addr):
            self.take(data, addr)

    def take(self, data: bytes, addr: Any) -> None:
        if len(data) < _SHORTEST or (data[0] & LONG and self._asks_for_more(data)):
            return
        try:
            if self._placing is not None:
                is_answered, said = self._placing.answer(data, addr, self._loop.time())
                if said is not None:
                    self._transport.sendto(said, addr)
                if is_answered:
                    return
            self.routing.datagram_received(data, addr)
        except Exception as error:  # noqa: BLE001 - somebody else's code, fed by strangers
            self._passed_over.tell("a datagram from %s:%d is passed over: %r", addr[0], addr[1], error)

    def _asks_for_more(self, data: bytes) -> bool:
        """Whether who gives an address that is not his would have that sent more than he has sent, or an answer to an answer."""
        is_answer = data[1:5] == _NEGOTIATION
        return is_answer or (len(data) < SMALLEST and bytes(data[6 : 6 + data[5]]) not in self._known)

    def datagrams_received(self, data: list[bytes], addr: Any) -> None:
        for one in data:
            self.datagram_received(one, addr)

    def error_received(self, exc: Exception) -> None:
        """What the kernel tells of datagrams that did not arrive: QUIC finds out by itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deal is not None:
            self._deal.close()
        if not self.closed.done():
            self.closed.set_result(None)


class Secure:
    """The TLS of a listener. `hosts` makes of the names in its certificate those that it answers to."""

    def __init__(self, certificate: Renewal[Certified] | Certified, hosts: Callable[[Sequence[str]], Hosts]) -> None:
        self._certificate, self._hosts = certificate, hosts
        self._used: Certified | None = None

    def look(self) -> None:
        """Look at the files now, where there are any."""
        if isinstance(self._certificate, Renewal):
            self._certificate.look()

    def renew(self, configuration: Any, server: Server) -> None:
        """Give what a server's connections begin with the certificate as it is now; the server answers to what that names."""
        found = self._certificate.current() if isinstance(self._certificate, Renewal) else self._certificate
        if found is not self._used:
            self._used = found
            for name, value in found.own.items():
                setattr(configuration, name, value)
            server.hosts = self._hosts(found.names)


class QuicListener:
    """One URL: one or two sockets, and the connections that came through them."""

    def __init__(self, url: str, server: Server, strays: Strays | None = None, share: Share | None = None) -> None:
        """`strays` lead to another process at the same port, where there may be one; it has a `share` of it among several."""
        self.url = url
        self._strays = strays
        self._share = share
        self._server = server
        self._ports: list[tuple[asyncio.DatagramTransport, _Port]] = []
        self._changed = asyncio.Event()
        server.on_left = self._changed.set
        self._secure: Secure | None = None

    async def open(self, library: Library, secure: Secure, sockets: list[socket.socket]) -> None:
        server = self._server
        limits = server.limits
        self._secure = secure
        share = self._share
        own = {} if share is None else {"connection_id_length": SIZE}
        configuration = library.configuration(is_client=False, **standing(limits), **own)
        secure.renew(configuration, server)

        def connection(quic: Any, stream_handler: object = None) -> ServerConnection:
            secure.renew(configuration, server)  # which its handshake reads with the first datagram, right after this
            windowed = library.windowed(quic, limits.streams)
            if share is not None:
                windowed.name(share.names)
            return ServerConnection(server, library, windowed)

        for bound in sockets:
            routing = library.server(configuration=configuration, create_protocol=connection, retry=True)
            deal = None if self._strays is None else Deal(self._strays, bound, routing, server)
            placing = None if share is None else share.placing(routing)
            transport, port = await library.endpoint(server.loop, partial(_Port, routing, deal, placing), bound)
            self._ports.append((transport, port))

    def reload(self) -> None:
        """Use the TLS files as they are now."""
        if self._secure is not None:
            self._secure.look()

    async def aclose(self, grace: float = 0) -> None:
        """Stop accepting, let calls under way finish for `grace` seconds, then cancel what is left.

        May be called again, to give less grace.
        """
        server = self._server
        deadline = server.loop.time() + grace
        if not server.is_draining:
            if grace > 0 and server.connections:
                await asyncio.sleep(min(grace, _SETTLE))
            server.is_draining = True
            for connection in server.connections:
                connection.go_away()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._finished(deadline)
        await self._force()
        server.close()
        for transport, _ in self._ports:
            transport.close()
        await asyncio.gather(*(port.closed for _, port in self._ports))

    async def _finished(self, deadline: float) -> None:
        """Wait until calls have ended and their clients have their ends; close each connection that has none."""
        server = self._server
        while server.connections:
            now = server.loop.time()
            for connection in list(server.connections):
                # A client may be too idle to confirm what it has got, or have left in the handshake.
                is_idle = now > connection.idle_since + _LINGER or not connection.is_shaken
                if not connection.streams and (is_idle or connection.quic.is_settled):
                    connection.close(NO_ERROR, "the server ends")
            await asyncio.sleep(_GLANCE)
        if server.tasks:
            await asyncio.wait(server.tasks)

    async def _force(self) -> None:
        server = self._server
        tasks = set(server.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, ignored = await asyncio.wait(tasks, timeout=_STOP)
            if ignored:
                _LOG.error("%d calls have ignored their cancellation for %g seconds", len(ignored), _STOP)
        for connection in list(server.connections):
            connection.close(NO_ERROR, "the server ends")
            connection.flush()
            connection.abandon()
