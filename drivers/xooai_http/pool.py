"""The connections of a link: which call gets which, and when one is closed."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from math import inf

import msgspec

from xooai.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from xooai.place import whom_to_trust
from xooai_http.connection import Connection
from xooai_http.response_reader import ResponseReader
from xooai_http.target import Target

__all__ = ["Pool", "PoolLimits"]

BUFFER = 256 * 1024  # bytes taken from a socket at once, as asyncio does


class PoolLimits(msgspec.Struct, frozen=True):
    """How many `connections` a link holds, how many calls wait for one, and in seconds how long connecting may take and
    how long a connection is kept that nobody uses.
    """

    connections: int = 100  # one call each; more from one process only lengthen the server's queue
    waiting: int = 1024  # calls: the queue that a server keeps by default
    connect_timeout: float = 10
    idle: float = 4  # below the 5 seconds after which servers close, lest a request meets the closing


class Pool:
    """Connections to one server. Belongs to the loop on which it is made."""

    def __init__(self, target: Target, limits: PoolLimits, reply_limit: int) -> None:
        self.loop = asyncio.get_running_loop()
        self._target = target
        self._limits = limits
        self._reply_limit = reply_limit
        self._buffer = memoryview(bytearray(BUFFER))
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._used = 0  # places of `limits.connections`: open, being opened, or given to a waiter
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._dialling: set[asyncio.Timeout] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf  # when the timer goes off
        self._emptied: asyncio.Future[None] | None = None
        self._is_closed = False

    def take(self, now: float) -> Connection | None:
        """An idle connection, the one that was used last; None when there is none. `now` in the loop's time."""
        while self._idle:
            connection = self._idle.pop()
            is_young = now < connection.idle_since + self._limits.idle
            if connection.wake() and is_young and connection.is_usable():
                return connection
            connection.abort()
        return None

    async def acquire(self, deadline: float) -> Connection:
        """Open a connection, or wait for the next that is free. Raises before anything of a call is sent."""
        while not self._is_closed:
            if self._used < self._limits.connections:
                self._used += 1
                return await self._dial(deadline)
            connection = await self._wait(deadline)
            if self._is_closed:
                break
            if connection is None:
                return await self._dial(deadline)
            if connection.is_usable():
                return connection
            connection.abort()
        raise self._closed()

    def watch(self, connection: Connection, deadline: float) -> None:
        """End the call on `connection` with DeadlineExceeded at `deadline`.

        One timer serves all: it goes off at the earliest time that was ever due, so that a call costs a comparison and
        not a timer of its own.
        """
        connection.deadline = deadline
        if deadline < self._due:
            self._arm(deadline)

    def release(self, connection: Connection) -> None:
        connection.deadline = inf
        if self._waiters and (waiter := self._next_waiter()) is not None:
            waiter.set_result(connection)
            return
        connection.rest()
        self._idle.append(connection)
        closes = connection.idle_since + self._limits.idle
        if closes < self._due:
            self._arm(closes)

    def lost(self, connection: Connection) -> None:
        if connection not in self._connections:
            return  # broke while it was opened
        self._connections.remove(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._free_place()
        if self._emptied is not None and not self._connections and not self._emptied.done():
            self._emptied.set_result(None)

    async def aclose(self) -> None:
        """Close all connections; calls end with Unavailable, those that wait for a connection too."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        while (waiter := self._next_waiter()) is not None:
            waiter.set_result(None)
        for timeout in self._dialling:
            if not timeout.expired():
                timeout.reschedule(self.loop.time())
        for connection in tuple(self._connections):
            connection.fail(self._closed())
        if self._connections:
            self._emptied = self._emptied or self.loop.create_future()
            await asyncio.shield(self._emptied)

    def _closed(self) -> Unavailable:
        return Unavailable(f"the link to {self._target.peer} has been closed")

    # Places and those who wait for one.

    async def _wait(self, deadline: float) -> Connection | None:
        """Wait in line: for a connection, or for a place to open one (None)."""
        limits, peer = self._limits, self._target.peer
        if len(self._waiters) >= limits.waiting:
            raise ResourceExhausted(
                f"{limits.waiting:,} calls wait for one of the {limits.connections:,} connections to {peer} already"
            )
        waiter: asyncio.Future[Connection | None] = self.loop.create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout_at(deadline if deadline < inf else None):
                return await waiter
        except BaseException as error:
            self._leave(waiter)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(f"no connection to {peer} was free in the time allowed for the call") from None
            raise

    def _leave(self, waiter: asyncio.Future[Connection | None]) -> None:
        """Give up waiting; what was handed over at the same moment goes to the next."""
        if waiter.cancelled():
            self._waiters = deque(other for other in self._waiters if other is not waiter)
        elif (connection := waiter.result()) is not None:
            self.release(connection)
        else:
            self._free_place()

    def _next_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _free_place(self) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
        else:
            self._used -= 1

    # Opening.

    async def _dial(self, deadline: float) -> Connection:
        """Open a connection in a place that was taken already."""
        try:
            connection = await self._connect(deadline)
            if self._is_closed:  # as it opened, too late for its timeout to tell
                connection.abort()
                raise self._closed()
        except BaseException:
            self._free_place()
            raise
        self._connections.add(connection)
        return connection

    async def _connect(self, deadline: float) -> Connection:
        target = self._target
        patience = self.loop.time() + self._limits.connect_timeout
        timeout = asyncio.timeout_at(min(deadline, patience))
        self._dialling.add(timeout)
        try:
            async with timeout:
                _, connection = await self.loop.create_connection(
                    self._new, target.host, target.port, ssl=target.context
                )
                return connection
        except OSError as error:  # TimeoutError too, which is also what the system reports as ETIMEDOUT
            if self._is_closed:
                raise self._closed() from None
            if not timeout.expired():
                raise Unavailable(f"cannot connect to {target.peer}: {whom_to_trust(_reason(error))}") from error
            if deadline <= patience:
                raise DeadlineExceeded(f"no connection to {target.peer} in the time allowed for the call") from None
            seconds = self._limits.connect_timeout
            raise Unavailable(f"cannot connect to {target.peer}: no answer within {seconds:g} s") from None
        finally:
            self._dialling.discard(timeout)

    def _new(self) -> Connection:
        target = self._target
        reader = ResponseReader(self._reply_limit, until_close=target.context is None)
        return Connection(self, target.peer, reader, self._buffer)

    # Time.

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(due, self._sweep)
        self._due = due

    def _sweep(self) -> None:
        """End the calls whose time is over, close what was idle for too long, and set the timer for what comes next."""
        self._timer, self._due = None, inf
        now, due = self.loop.time(), inf
        for connection in tuple(self._connections):
            closes = connection.idle_since + self._limits.idle
            if connection.deadline <= now:
                connection.expire()
            elif closes <= now:
                connection.abort()
            else:
                due = min(due, connection.deadline, closes)
        if due < inf:
            self._arm(due)


def _reason(error: OSError) -> str:
    """What the system says of an error: asyncio's own text, where it has one, names the address once more."""
    if isinstance(error, socket.gaierror | ssl.SSLError) or not error.errno:
        return str(error.strerror or error) or "it closes the connection"  # so asyncio does during TLS: says nothing
    return os.strerror(error.errno)
