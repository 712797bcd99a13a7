"""The client's side of the HTTP driver: calls as requests on pooled connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType

from xooai.driver import Channel, DialOptions, Head, Outcome, Shape
from xooai.errors import (
    Code,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
    XooaiError,
    error_from,
)
from xooai.http import (
    TIMEOUT_HEADER,
    outcome_of,
    passing_headers,
    request_target,
    standing_headers,
    timeout_value,
)
from xooai.stream_head import as_sent
from xooai_http.connection import WHOLE, Connection
from xooai_http.pool import Pool, PoolLimits
from xooai_http.response_reader import Response
from xooai_http.stream_channel import HttpStream
from xooai_http.stream_reader import StreamReader
from xooai_http.target import Target

__all__ = ["HttpChannel", "HttpLink"]

LIMITS = PoolLimits()
_OK = Outcome()
_SUCCESS = int(Code.OK)  # an IntEnum's own comparison is slower
READY = 32  # heads with their lines: those that come again and again are of some endpoints of one server
STARTS = 1024  # heads kept ready: a path and codec needs one, and a server has some dozens of endpoints
_TIMEOUT = TIMEOUT_HEADER.encode() + b": %d\r\n"


class HttpLink:
    """Calls to the server at `url`. Connects with the first call, and stays on its loop."""

    def __init__(self, url: str, options: DialOptions, limits: PoolLimits = LIMITS) -> None:
        self._target = Target.at(url, options)
        self._reply_limit = options.message_limit
        self._limits = limits
        self._pool: Pool | None = None
        self._is_closed = False
        self._starts: dict[tuple[str, str, str], bytes] = {}
        self._ready: dict[int, tuple[Head, bytes]] = {}
        """The lines of heads that were sent, by their identity: a caller gives the same one again and again."""
        self._passed: tuple[Mapping[str, str], bytes] | None = None

    async def open(self, head: Head, request: bytes | None = None) -> Channel:
        """Send a call, or what it begins with. What this raises was raised before a byte was sent: it did not run."""
        if request is None or head.shape:
            return await self._open_stream(head, request)
        pool = self._pool
        if pool is None or pool.loop is not asyncio.get_running_loop():
            pool = self._bind()
        lines = self._lines(head, request)
        now, deadline = pool.loop.time(), inf
        if head.timeout is not None:
            if head.timeout <= 0:
                raise self._late(head.timeout)
            deadline = now + head.timeout
        channel = HttpChannel(head)
        connection = pool.take(now) or await pool.acquire(deadline)
        if not connection.send(channel, lines, request):
            connection = await pool.acquire(deadline)  # nothing was sent, so once more cannot make it run twice
            if not connection.send(channel, lines, request):
                raise self._closing()
        if deadline < inf:
            pool.watch(connection, deadline)
        channel.connection = connection
        return channel

    def start(self, head: Head, request: bytes, told: Callable[[], None]) -> HttpChannel | None:
        """Send a unary call where a connection is idle, see `xooai.driver.Starting`."""
        pool, timeout = self._pool, head.timeout
        if pool is None or head.shape or (timeout is not None and timeout <= 0):
            return None
        lines = self._lines(head, request)
        now = pool.loop.time()
        connection = pool.take(now)
        if connection is None:
            return None
        channel = HttpChannel(head)
        if not connection.send(channel, lines, request):
            return None
        if timeout is not None:
            pool.watch(connection, now + timeout)
        channel.connection, channel.told = connection, told
        return channel

    def _lines(self, head: Head, request: bytes) -> bytes:
        """The head of a request that is one frame."""
        ready = self._ready.get(id(head))  # it is held there, so no other has its id
        start = self._begin(head) if ready is None else ready[1]
        return b"%bcontent-length: %d\r\n\r\n" % (start, len(request))

    async def _open_stream(self, head: Head, request: bytes | None) -> HttpStream:
        if request is None and not head.shape & Shape.CLIENT:
            raise FailedPrecondition(
                "this side of the call does not stream: its one frame goes with open(head, request)"
            )
        pool = self._pool
        if pool is None or pool.loop is not asyncio.get_running_loop():
            pool = self._bind()
        sent, replies = as_sent(head)
        start, rest = _start_of(self._begin(sent), head, request)
        now, deadline = pool.loop.time(), inf
        if head.timeout is not None:
            if head.timeout <= 0:
                raise self._late(head.timeout)
            deadline = now + head.timeout
        channel = HttpStream(head)
        reader = StreamReader(self._reply_limit, replies, until_close=self._target.context is None)
        connection = pool.take(now) or await pool.acquire(deadline)
        if not channel.begin(connection, reader, start):
            connection = await pool.acquire(deadline)
            if not channel.begin(connection, reader, start):
                raise self._closing()
        if deadline < inf:
            pool.watch(connection, deadline)
        if head.shape & Shape.CLIENT:
            if request is not None:
                await channel.end(request)
        else:
            await channel.complete(rest)
        return channel

    def _late(self, timeout: float) -> DeadlineExceeded:
        return DeadlineExceeded(f"no time is left for the call to {self._target.peer}: timeout={timeout:g} s")

    def _closing(self) -> Unavailable:
        return Unavailable(f"{self._target.peer} closes each connection as soon as it is open")

    async def aclose(self) -> None:
        """Close all connections; calls under way end with Unavailable, later ones too."""
        self._is_closed = True
        pool = self._pool
        if pool is not None and not pool.loop.is_closed():  # a loop that is closed has closed its sockets
            await pool.aclose()

    def _bind(self) -> Pool:
        peer = self._target.peer
        if self._is_closed:
            raise Unavailable(f"the link to {peer} has been closed")
        if self._pool is not None:
            raise FailedPrecondition(f"the link to {peer} belongs to another event loop; dial once more on this one")
        self._pool = Pool(self._target, self._limits, self._reply_limit)
        return self._pool

    def _begin(self, head: Head) -> bytes:
        """All lines but the length's."""
        start = self._starts.get((head.path, head.codec, head.accept)) or self._start(head)
        metadata = head.metadata
        if metadata and type(metadata) is not MappingProxyType:
            return start + _passing(head)  # may be another the next time, such as a token that was renewed
        if head.timeout is not None:
            start += _TIMEOUT % timeout_value(head.timeout)
        if metadata:
            start += self._lasting(metadata)
        if len(self._ready) >= READY:
            self._ready.clear()
        self._ready[id(head)] = head, start
        return start

    def _lasting(self, metadata: Mapping[str, str]) -> bytes:
        """The lines of metadata that does not change, and is given again and again."""
        known = self._passed
        if known is None or known[0] is not metadata:
            known = self._passed = metadata, _passing(Head("", metadata=metadata))
        return known[1]

    def _start(self, head: Head) -> bytes:
        """The lines that all calls with this path, codec and accept begin with."""
        if not head.path.startswith("/"):
            raise InvalidArgument(f"the path of the call is {head.path!r}; it takes /executor/endpoint")
        lines = [f"POST {request_target(head.path)} HTTP/1.1", f"host: {self._target.authority}"]
        lines += [f"{name}: {value}" for name, value in standing_headers(head)]
        start = "".join(line + "\r\n" for line in lines).encode("ascii")
        if len(self._starts) >= STARTS:  # somebody makes up paths; what is needed comes back with its next call
            self._starts.clear()
        self._starts[head.path, head.codec, head.accept] = start
        return start


def _start_of(lines: bytes, head: Head, request: bytes | None) -> tuple[bytes, memoryview]:
    """What a request begins with, and what is left of it where it is one frame."""
    if head.shape & Shape.CLIENT or request is None:
        return lines + b"transfer-encoding: chunked\r\n\r\n", memoryview(b"")
    start = b"%bcontent-length: %d\r\n\r\n%b" % (lines, len(request), request[:WHOLE])
    return start, memoryview(request)[WHOLE:]


def _passing(head: Head) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in passing_headers(head)).encode("ascii")


class HttpChannel:
    """One unary call: its request has been sent, its reply comes from `receive()`. Used by one task."""

    outcome: Outcome | None = None
    connection: Connection | None = None
    """What the call runs on, until it ends."""
    told: Callable[[], None] | None = None
    """Who is to be told, once, that it has ended."""
    _waiter: asyncio.Future[None] | None = None
    _response: Response | None = None
    _known: Outcome | None = None  # what the response means, where that is known already
    _error: XooaiError | None = None

    def __init__(self, head: Head) -> None:
        self.head = head

    async def receive(self) -> bytes | None:
        """Wait for the reply and return it, None the second time. Raises the error that the call ended with."""
        if self.connection is not None:
            waiter = self._waiter = self.connection.loop.create_future()
            try:
                await waiter
            except BaseException:  # cancelled: the server is to see it at once
                self.abort()
                raise
        return self.reply()

    def reply(self) -> bytes | None:
        """As `receive`, once the call has ended."""
        if self._error is not None:
            raise self._error
        response, self._response = self._response, None
        if response is None:
            return None
        status, headers, body = response
        outcome = self.outcome = self._known or outcome_of(status, headers, body)
        if outcome.code == _SUCCESS:
            return body
        self._error = error_from(outcome.code, outcome.message, outcome.details, outcome.id)
        raise self._error

    async def send(self, frame: bytes) -> None:
        raise FailedPrecondition("the request of a unary call is sent when the call is opened; it has no second frame")

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        """Nothing is left to do, the call's side of ours ended as it was opened; a frame is refused as in `send`."""
        if frame is not None:
            await self.send(frame)

    def abort(self) -> None:
        connection = self.connection
        if connection is not None:
            connection.fail(Unavailable(f"the call to {self.head.path} was given up"))

    # What the connection calls.

    def answered(self, response: Response, known: Outcome | None) -> None:
        self._response, self._known, self.connection = response, known, None
        self._tell()

    def failed(self, error: XooaiError) -> None:
        self._error, self.connection = error, None
        self._tell()

    def _tell(self) -> None:
        waiter, told = self._waiter, self.told
        if told is not None:
            self.told = None  # it knows this channel: they would hold each other
            told()
        elif waiter is not None and not waiter.done():
            waiter.set_result(None)
