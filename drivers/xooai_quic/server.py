"""What the connections of one listener share, and the server's side of a connection."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from xooai.asgi import Application, StreamLimits, is_page
from xooai.driver import Guarding, Shape, Site
from xooai.errors import ResourceExhausted
from xooai.guard import Hosts
from xooai.log import Seldom, logger
from xooai_quic.connection import CANCELLED, LOAD, REFUSED, Connection
from xooai_quic.head import Last, RequestHead
from xooai_quic.known import Known
from xooai_quic.library import Library, Quic
from xooai_quic.limits import Limits
from xooai_quic.refusal import refusal
from xooai_quic.request import Request
from xooai_quic.stream import Stream
from xooai_quic.taking import Taking

__all__ = ["Server", "ServerConnection"]

_LOG = logger("xooai.quic")
_ACCESS = logger("xooai.access")
_GAPS = 1000  # streams that may begin before an earlier one: ten times as many as may be open
_PATHS = 1024  # paths of calls remembered: a bound, since clients choose them; a server has fewer endpoints
_SHOWN = 200  # characters of a client's text in the log

Client = tuple[str, int]


class Server:
    """One for each listener."""

    def __init__(self, site: Site, hosts: Hosts, message_limit: int, limits: Limits, datagram: int) -> None:
        self.accept = site.accept
        self.hosts = hosts
        self.message_limit = message_limit
        self.limits = limits
        self.datagram = datagram
        self.loop = asyncio.get_running_loop()
        streams = StreamLimits(message_limit, limits.window_time, limits.rate, self.reserve)
        self.application = Application(site, message_limit=message_limit, streams=streams)
        self.connections: set[ServerConnection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_draining = False
        self.on_left: Callable[[], None] = lambda: None
        """Called when a connection has gone."""
        self.on_work: Callable[[int], None] = lambda amount: None
        """Told now and then how much there is to do: connections, and their calls."""
        self.known = Known()
        self.admit = site.admit if isinstance(site, Guarding) else None
        """Asked before a body is taken in; None where everybody may call."""
        self._shape = site.shape
        self._paths: dict[bytes, str] = {}
        self._buffered = 0
        self._clients: Counter[str] = Counter()
        self._handshakes: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = Seldom(_LOG, logging.WARNING)
        self.has_log = _ACCESS.isEnabledFor(logging.INFO)

    def shape_of(self, path: bytes) -> Shape:
        """Which sides stream in a call to a path; UNARY also where no endpoint is."""
        return self._shape(unquote(path.decode("latin-1"))) or Shape.UNARY

    def path_of(self, head: RequestHead) -> str | None:
        """The path of a plain call; None where it takes more: a page, a query, an escape, a call that streams."""
        if head.method != "POST" or head.query:
            return None
        path = self._paths.get(head.path)
        if path is None:
            path = head.path.decode("latin-1")
            if "%" in path or is_page(path) or self._shape(path):
                return None
            if len(self._paths) < _PATHS:
                self._paths[head.path] = path
        return path

    # Connections

    def admits(self, connection: ServerConnection) -> bool:
        """Count a new connection, whose client has shown by a token that it has its address; False refuses it."""
        host, limits = connection.client[0], self.limits
        is_here = limits.is_here(host)
        if self.is_draining or len(self.connections) >= limits.connections:
            return False
        if not is_here and self._clients[host] >= limits.connections_per_client:
            return False
        if self._handshakes.total() >= limits.handshakes:
            return False
        if not is_here and self._handshakes[host] >= limits.handshakes_per_client:
            return False
        self.connections.add(connection)
        self._clients[host] += 1
        self._handshakes[host] += 1
        self._tell()
        if self._timer is None:
            self._timer = self.loop.call_later(limits.sweep, self._sweep)
        return True

    def shaken(self, connection: ServerConnection) -> None:
        """The handshake has ended."""
        _less(self._handshakes, connection.client[0])

    def left(self, connection: ServerConnection) -> None:
        self.connections.discard(connection)
        _less(self._clients, connection.client[0])
        self._tell()
        self.on_left()

    def _tell(self) -> None:
        self.on_work(len(self.connections) + len(self.tasks))

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in list(self.connections):
            connection.check(now)
        self._tell()
        held = {connection: connection.held + connection.waiting for connection in self.connections}
        if sum(held.values()) > self.limits.buffered:
            worst = max(held, key=held.__getitem__)
            self._closed.tell("%s:%d keeps too much waiting, of what it sends or is sent, and is closed", *worst.client)
            worst.close(LOAD, "too much is waiting, of what was sent to this server or by it")
        self._timer = self.loop.call_later(self.limits.sweep, self._sweep) if self.connections else None

    # Requests

    def begin(self, answering: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(answering)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def cancel(self, task: asyncio.Task[None]) -> None:
        task.cancel()

    def reserve(self, size: int) -> None:
        """Count bytes of bodies that are held. Raises ResourceExhausted."""
        self._buffered += size
        if size > 0 and self._buffered > self.limits.buffered:
            raise ResourceExhausted("too much is being sent to this server; try again later", retry_after=1)

    def log(self, client: Client, request: str, status: int, size: int) -> None:
        """One line of the access log; what the client wrote is escaped, so that it cannot forge another."""
        _ACCESS.info("%s:%d %s %d %d", *client, ascii(request[:_SHOWN]), status, size)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class ServerConnection(Connection):
    """A connection that a client has made."""

    limits: Limits
    client: Client = ("", 0)
    last: Last | None = None
    """The plain call that began last."""

    def __init__(self, server: Server, library: Library, quic: Quic) -> None:
        super().__init__(library, quic, server.limits, server.datagram)
        self._server = server
        self._since = self._pinged = self.idle_since = self.loop.time()
        self._is_admitted = self.is_shaken = False
        self._taking = Taking(server.limits, quic.unsent)
        self._low, self._above = 0, set[int]()  # streams that have begun: all below, and these

    @property
    def held(self) -> int:
        """Bytes of it that were not read, as far as the library tells, or at least those of bodies."""
        return max(self.quic.held, sum(stream.held for stream in self.streams.values()))

    @property
    def waiting(self) -> int:
        """Bytes of responses that the client has not taken so far."""
        unsent, streams = self.quic.unsent, self.streams
        return self._taking.waiting + sum(unsent(stream_id) + stream.waiting for stream_id, stream in streams.items())

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self.client[0]:
            self.client = (str(addr[0]), int(addr[1]))
            self._is_admitted = self._server.admits(self)
            if not self._is_admitted:
                self._refuse(data, addr)
                return
        super().datagram_received(data, addr)

    def _refuse(self, data: bytes, addr: Any) -> None:
        """Say so, and keep nothing: where that gets lost, its client begins once more."""
        self.is_lost = True
        self.transport.sendto(refusal(data, REFUSED, "this server takes no further connections now"), addr)
        self._connection_terminated_handler()

    def on_negotiated(self) -> None:
        self.speak()
        assert self.http is not None
        self.http.known = self._server.known

    def on_ready(self) -> None:
        self._shake()

    def _shake(self) -> None:
        if self._is_admitted and not self.is_shaken:
            self.is_shaken = True
            self._server.shaken(self)

    def on_lost(self, reason: str) -> None:
        if self._is_admitted:
            self._shake()
            self._server.left(self)

    def new_stream(self, stream_id: int) -> Request | None:
        if stream_id % 4 or not self._is_new(stream_id):
            return None
        return Request(self._server, self, stream_id)

    def _is_new(self, stream_id: int) -> bool:
        """Whether nothing has come of a stream yet."""
        if stream_id < self._low or stream_id in self._above:
            return False
        self._above.add(stream_id)
        if len(self._above) > _GAPS:
            self._low = min(self._above)
        while self._low in self._above:
            self._above.remove(self._low)
            self._low += 4
        return True

    def drop(self, stream: Stream, *, reset: int | None = None, stop: int | None = None) -> None:
        super().drop(stream, reset=reset, stop=stop)
        self.idle_since = now = self.loop.time()
        if reset is None and not self.is_lost:
            assert isinstance(stream, Request)
            self._taking.ended(stream.id, not stream.is_sized, now)

    def go_away(self) -> None:
        """Take no further requests."""
        if self.http is not None and not self.is_lost:
            self.http.go_away(max(self.streams, default=-4) + 4)
            self.idle_since = self.loop.time()  # until it has arrived, a call may be on its way here
            self.flush_soon()

    def check(self, now: float) -> None:
        """Keep the deadlines."""
        if not self.is_shaken and now - self._since > self.limits.handshake_time:
            self.close(REFUSED, "the handshake took too long")
            return
        if self.streams and now - self._pinged > self.limits.keep_alive:  # while a handler works, nothing else moves
            self._pinged = now
            self.quic.send_ping(0)
            self.flush_soon()
        requests = [stream for stream in self.streams.values() if isinstance(stream, Request)]
        for request in requests:
            request.check(now)
        self._check_taking(requests, now)

    def _check_taking(self, requests: list[Request], now: float) -> None:
        writing = {request.id: request for request in requests if request.is_sized and request.is_writing}
        unsent = sum(self.quic.unsent(request.id) for request in requests)
        for stream_id in self._taking.slow(writing, self.written - unsent, now):
            if stream_id in writing:
                writing[stream_id].give_up()
                continue
            with suppress(*self.library.errors):  # it may be over for the peer
                self.quic.reset_stream(stream_id, CANCELLED)
            self.flush_soon()


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
