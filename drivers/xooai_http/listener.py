"""A listener: accepts connections within its limits, and ends them in good order."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from xooai.driver import ListenOptions, Shared, Site, Taken
from xooai.guard import Hosts
from xooai.log import Seldom, logger
from xooai.place import Place, is_loopback, resolve
from xooai_http.binding import Secured, bind, parse, tls
from xooai_http.leaving import keep_asking
from xooai_http.limits import Limits
from xooai_http.protocol import HttpConnection
from xooai_http.server import Server

if TYPE_CHECKING:
    from xooai.renewal import Renewal

__all__ = ["HttpListener", "listen", "take"]

_LOG = logger("xooai.http")
_AT_ONCE = 64  # connections accepted before the others get their turn
_NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_RETRY = 1.0  # seconds without accepting when the process has no room for another connection; as asyncio
_SETTLE = 0.05  # seconds for requests that clients in this process have just sent, and for last words to be written
_ALTERNATIVE = 3600  # seconds for which a browser tries the port of HTTP/3 first, also when it is no more
_LEFT = 0.002  # seconds for which a connection is left to other processes that have less to do, again and again,
_LEFT_AT_MOST = 0.016  # until it has waited so long: they may be stuck
_AGAIN = 0.1  # seconds after which it is another connection that waits
_STOP = 5.0  # seconds for cancelled calls to end; what then still runs has ignored its cancellation


async def listen(url: str, site: Site, options: ListenOptions, limits: Limits) -> HttpListener:
    """Listen at `url`. Raises Unavailable, InvalidArgument or PermissionDenied."""
    place = parse(url)
    files = tls(place, options)
    addresses = await resolve(place, options.insecure)
    is_named = bool(options.hosts) or all(is_loopback(host) for _, host in addresses)

    def hosts(certified: Sequence[str]) -> Hosts:
        return Hosts((place.authority, *options.hosts, *certified) if is_named else None)

    server = Server(site, hosts(()), options.message_limit, limits)
    server.asks_clients = options.clients is not None
    shared = options.shared
    sockets = list(shared.sockets(url)) if shared is not None else bind(place, addresses)
    for one in sockets:  # a call may run for long, too, whose client has vanished
        keep_asking(one)
    bound = _bound(place, sockets)
    return HttpListener(bound.url, server, sockets, None if files is None else Secure(files, hosts), shared)


async def take(url: str, options: ListenOptions) -> Taken:
    """Take a port for several processes. Raises as `listen`."""
    place = parse(url)
    files = tls(place, options)
    if files is not None:
        files.current()  # raises what is wrong with them
    sockets = bind(place, await resolve(place, options.insecure))
    return Taken(_bound(place, sockets).url, tuple(sockets))


def _bound(place: Place, sockets: Sequence[socket.socket]) -> Place:
    return Place(place.scheme, place.host, sockets[0].getsockname()[1])


class Secure:
    """The TLS of a listener. `hosts` makes of the names in its certificate those that it answers to."""

    def __init__(self, files: Renewal[Secured], hosts: Callable[[Sequence[str]], Hosts]) -> None:
        self._files, self._hosts = files, hosts
        self._used: Secured | None = None

    def look(self) -> None:
        """Look at the files now."""
        self._files.look()

    def context(self, server: Server) -> ssl.SSLContext:
        """That of a new connection; the server answers to what its certificate names."""
        found = self._files.current()
        if found is not self._used:
            self._used = found
            server.hosts = self._hosts(found.names)
        return found.context


class HttpListener:
    """One URL: one or two listening sockets, and the connections that came through them."""

    def __init__(
        self,
        url: str,
        server: Server,
        sockets: list[socket.socket],
        secure: Secure | None,
        shared: Shared | None = None,
    ) -> None:
        self.url = url
        self._shared = shared
        self._left_until = 0.0  # when a connection that is left to others is taken all the same
        self._server = server
        self._sockets = sockets
        self._secure = secure
        self._loop = server.loop
        self._clients: Counter[str] = Counter()  # connections by address
        self._attaching: set[asyncio.Task[None]] = set()
        self._is_paused = True
        self._retry: asyncio.TimerHandle | None = None
        self._no_room, self._refused = Seldom(_LOG, logging.ERROR), Seldom(_LOG, logging.WARNING)
        self._changed = asyncio.Event()
        server.on_left = self._left
        self._resume()

    def beside(self, urls: Sequence[str]) -> None:
        """Tell browsers where the site is by HTTP/3 (RFC 7838): at the same host. They believe it over TLS only."""
        own = urlsplit(self.url)
        there = [urlsplit(url) for url in urls]
        ports = [url.port for url in there if url.scheme == "quic" and url.hostname == own.hostname]
        if ports and self._secure is not None:
            told = ", ".join(f'h3=":{port}"; ma={_ALTERNATIVE}' for port in ports)
            self._server.state.default_headers.append((b"alt-svc", told.encode()))

    def reload(self) -> None:
        """Use the TLS files as they are now."""
        if self._secure is not None:
            self._secure.look()

    # -- accepting

    def _resume(self) -> None:
        if self._is_paused and not self._server.is_draining:
            self._is_paused = False
            for bound in self._sockets:
                self._loop.add_reader(bound, self._accept, bound)

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            for bound in self._sockets:
                self._loop.remove_reader(bound)

    def _accept(self, bound: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            if self._clients.total() >= self._server.limits.connections:
                self._pause()  # until one leaves; the kernel keeps the others waiting
                return
            if self._shared is not None and self._leaves(self._shared):
                return
            try:
                accepted, address = bound.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._wait_for_room(error)
                return
            self._take(accepted, (str(address[0]), int(address[1])))

    def _leaves(self, shared: Shared) -> bool:
        """Leave the next connection to other processes for a moment, where they have less to do."""
        if shared.is_last or shared.is_next(self._clients.total(), len(self._server.tasks)):
            self._left_until = 0.0
            return False
        now = self._loop.time()
        if now > self._left_until + _AGAIN:
            self._left_until = now + _LEFT_AT_MOST
        elif now >= self._left_until:
            self._left_until = 0.0
            return False
        self._pause()
        self._loop.call_later(_LEFT, self._resume)
        return True

    def _wait_for_room(self, error: OSError) -> None:
        if error.errno in _NO_ROOM:  # others are a network's error that came before the accept (man 2 accept)
            self._no_room.tell("no room for another connection: %s", error.strerror)
            self._pause()
            if self._retry is not None:
                self._retry.cancel()
            self._retry = self._loop.call_later(_RETRY, self._resume)

    def _take(self, accepted: socket.socket, client: tuple[str, int]) -> None:
        host = client[0]
        if self._clients[host] >= self._server.limits.connections_per_client and not is_loopback(host):
            self._refused.tell("%s has %d connections; another one is refused", host, self._clients[host])
            accepted.close()
            return
        self._clients[host] += 1
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._attach(accepted, client))
        self._attaching.add(task)
        task.add_done_callback(self._attaching.discard)

    async def _attach(self, accepted: socket.socket, client: tuple[str, int]) -> None:
        connection, limits = HttpConnection(self._server, client), self._server.limits
        context = None if self._secure is None else self._secure.context(self._server)
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=context,
                ssl_handshake_timeout=limits.head_time if context else None,
                ssl_shutdown_timeout=limits.linger if context else None,
            )
        except OSError as error:  # no TLS, or gone before it was made
            _LOG.debug("%s:%d: no connection was made: %s", *client, error)
        finally:
            if connection.transport is None:
                accepted.close()
                self._left(client)

    def _left(self, client: tuple[str, int]) -> None:
        self._clients[client[0]] -= 1
        if not self._clients[client[0]]:
            del self._clients[client[0]]
        self._changed.set()
        self._resume()

    # -- ending

    async def aclose(self, grace: float = 0) -> None:
        """Stop accepting, let calls under way finish for `grace` seconds, then cancel what is left.

        An idle connection is kept as long as between calls (`keep_alive`), and its next call is answered as the last: its
        client may have sent one already, and one that takes care not to meet the end of a kept connection never does.
        Clients in this process are spared the wait. May be called again, to give less grace.
        """
        server = self._server
        if not server.is_draining:
            self._close_sockets()
        deadline = self._loop.time() + grace
        for connection in self._connections():
            connection.shutdown()
        if grace > 0 and self._clients:
            await asyncio.sleep(min(grace, _SETTLE))
        for connection in self._connections():
            connection.close_idle()
        await self._until_gone(deadline)
        await self._force()
        server.close()

    def _connections(self) -> list[HttpConnection]:
        return [found for found in self._server.state.connections if isinstance(found, HttpConnection)]

    def _close_sockets(self) -> None:
        for bound in self._sockets if self._shared is None or self._shared.is_last else ():
            self._accept(bound)  # who is in the kernel's queue believes to be connected
        self._server.is_draining = True
        self._pause()
        for bound in self._sockets:
            bound.close()

    async def _until_gone(self, deadline: float) -> None:
        """Wait until all connections and calls have ended, or for the deadline."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while self._clients:
                    self._changed.clear()
                    await self._changed.wait()
                if self._server.tasks:
                    await asyncio.wait(self._server.tasks)

    async def _force(self) -> None:
        for connection in self._connections():
            connection.stop()
        tasks = {*self._server.tasks, *self._attaching}
        for task in tasks:
            self._server.cancel(task)
        if tasks:
            _, ignored = await asyncio.wait(tasks, timeout=_STOP)
            if ignored:
                _LOG.error("%d calls have ignored their cancellation for %g seconds", len(ignored), _STOP)
        await self._until_gone(self._loop.time() + _SETTLE)
        for connection in self._connections():
            connection.drop()
        await self._until_gone(self._loop.time() + _STOP)
