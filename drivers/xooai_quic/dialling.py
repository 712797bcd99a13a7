"""A connection that a client makes: to one of a host's addresses, with a certificate that it trusts."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from xooai.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from xooai.place import Place, is_loopback, whom_to_trust
from xooai_quic.binding import connected
from xooai_quic.connection import CANCELLED, NO_ERROR, REJECTED, Connection
from xooai_quic.library import Library, Quic, standing
from xooai_quic.limits import ClientLimits
from xooai_quic.stream import wake
from xooai_quic.trust import Trust

__all__ = ["ClientConnection", "dial"]

_HANDSHAKES = (
    3  # begun for one connection: where a third of all datagrams is lost, each gets stuck in one case of twenty
)
_REFUSALS = 3  # of datagrams in a row, after which nobody is taken to be there; one could be forged


class ClientConnection(Connection):
    """A connection to a server. `peer` names it in errors."""

    limits: ClientLimits

    def __init__(
        self, library: Library, quic: Quic, limits: ClientLimits, datagram: int, peer: str, address: Any
    ) -> None:
        super().__init__(library, quic, limits, datagram)
        self.peer = peer
        self.is_leaving = False
        """Whether it takes no further calls."""
        self.trust, self.host = Trust(), ""
        self.closed = self.loop.create_future()
        self._address = address
        self._ready: asyncio.Future[None] = self.loop.create_future()
        self._is_ready = False
        self._used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._opening: deque[asyncio.Future[None]] = deque()
        self._refusals = 0
        self._idle_since = self.loop.time()
        self._heard: asyncio.Future[None] | None = None  # done once something comes: somebody waits for it
        self._tick: asyncio.TimerHandle | None = None
        self._pause = self._silence = min(limits.silence, limits.keep_alive)
        self._seen = (0, 0, 0)  # of all calls, when this side looked last

    # What the transport and the connection tell.

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._refusals = 0
        if self.quic.is_reset(data):
            self._lose_once("the server does not know it any more, as when its process has ended")
            self._shut()  # nothing is to be sent to where nobody knows it
            return
        super().datagram_received(data, self._address)
        if self._heard is not None:
            self._hear(self._heard)

    def _send(self, datagrams: list[tuple[bytes, Any]]) -> None:
        super()._send([(data, None) for data, _ in datagrams])  # the socket is connected

    def error_received(self, exc: Exception) -> None:
        self._refusals += 1
        if isinstance(exc, ConnectionRefusedError) and (not self._is_ready or self._refusals >= _REFUSALS):
            self._lose_once("nobody answers there")

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose_once("its socket was closed")
        if not self.closed.done():
            self.closed.set_result(None)

    def _lose_once(self, reason: str) -> None:
        if not self.is_lost:
            self._lose(reason)

    def on_ready(self) -> None:
        try:
            self.library.check(self.quic, self.trust, self.host)
        except ValueError as error:
            self.flush()  # the end of the handshake, without which the server could not read that it is in vain
            self.close(CANCELLED, f"the server is not trusted: {error}")
            return
        self.speak()
        self._is_ready = True
        if not self._ready.done():
            self._ready.set_result(None)
        self._tick = self.loop.call_later(self._pause, self._look)

    def on_lost(self, reason: str) -> None:
        if not self._ready.done():
            self._ready.set_exception(Unavailable(f"no connection to {self.peer}: {whom_to_trust(reason)}"))
        self._ready.exception() if self._ready.done() and not self._ready.cancelled() else None
        if self._tick is not None:
            self._tick.cancel()
        for waiter in (*self._waiting, *self._opening):
            wake(waiter)
        if self._heard is not None:
            self._hear(self._heard)
        self.flush_soon()
        self.loop.call_soon(self._shut)

    def on_going_away(self, stream_id: int) -> None:
        for call in [call for id, call in self.streams.items() if id >= stream_id]:
            call.on_left(REJECTED, True)

    def _shut(self) -> None:
        self.abandon()
        self.transport.close()

    def _look(self) -> None:
        """Tell the server that this side is still there, and where; or close what nobody uses."""
        now, streams = self.loop.time(), self.streams.values()
        if streams:
            self._idle_since = now
            moved = sum(stream.received + stream.written for stream in streams)
            seen = (self.quic.get_next_available_stream_id(), len(streams), moved)
            if seen != self._seen:
                self._seen, self._pause = seen, self._silence
            else:
                self._pause = min(2 * self._pause, self.limits.asking, self.limits.keep_alive)
                self.quic.send_ping(0)
                self.flush_soon()
        elif now - self._idle_since > self.limits.unused:
            self.close(NO_ERROR, "nobody has used it for long")
            return
        self._tick = self.loop.call_later(self._pause, self._look)

    # Use

    async def handshake(self, deadline: float) -> None:
        """Make the connection before `deadline`, in the loop's time. Raises Unavailable."""
        self.quic.connect(self._address, self.loop.time())
        self.flush()
        try:
            async with asyncio.timeout_at(deadline):
                await self._ready
        except TimeoutError:
            self._lose_once("no answer came in time")
            raise Unavailable(f"{self.peer} has not answered within {self.limits.handshake_time:g} s") from None

    async def give_up(self) -> None:
        """Tell the server now, while there is a socket, so that it does not wait for this side."""
        self.close(CANCELLED, "given up")
        self.flush()
        self._shut()
        await self.closed

    @property
    def is_usable(self) -> bool:
        return not (self.is_lost or self.is_leaving or (self.http is not None and self.http.is_going_away))

    @property
    def is_doubtful(self) -> bool:
        """Whether the server may have ended since this side heard of it: QUIC tells that to nobody who does not ask."""
        return not self.streams and self.loop.time() - self._idle_since > self.limits.silence

    async def confirm(self, deadline: float | None) -> None:
        """Ask the server whether it is there, and wait for a sign of it; one that gives none in time is left."""
        if self._heard is None:
            self._heard = self.loop.create_future()
            self.quic.send_ping(0)
            self.flush_soon()
        heard, until = self._heard, self.loop.time() + self.limits.confirming
        end = until if deadline is None else min(until, deadline)
        await asyncio.wait([heard], timeout=max(0.0, end - self.loop.time()))
        if end == until and not (heard.done() or self.streams):
            self.close(NO_ERROR, "the server gives no sign of life")

    def _hear(self, heard: asyncio.Future[None]) -> None:
        self._heard = None
        self._idle_since = self.loop.time()
        wake(heard)

    async def acquire(self, deadline: float | None) -> None:
        """Take one of the places for streams; wait for it. The connection may have ended then."""
        if self._used < self.limits.streams:
            self._used += 1
        else:
            await self._line_up(self._waiting, deadline, self.freed)
        try:
            while not (self.is_lost or self.quic.can_open):  # the server has to tell that it takes one more
                await self._line_up(self._opening, deadline, lambda: None)
        except BaseException:
            self.freed()
            raise

    async def _line_up(
        self, line: deque[asyncio.Future[None]], deadline: float | None, pass_on: Callable[[], None]
    ) -> None:
        """Wait until it is this call's turn; `pass_on` gives the turn of one that is given up to another."""
        if len(line) >= self.limits.waiting:
            raise ResourceExhausted(f"{self.limits.waiting:,} calls wait for a stream to {self.peer} already")
        waiter = self.loop.create_future()
        line.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                await waiter
        except BaseException as error:
            if waiter in line:
                line.remove(waiter)
            elif not waiter.cancelled():
                pass_on()
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(f"no stream to {self.peer} was free in the time allowed for the call") from None
            raise

    def flush(self) -> None:
        super().flush()
        while self._opening and (self.is_lost or self.quic.can_open):
            wake(self._opening.popleft())

    def freed(self) -> None:
        """Hand a place on."""
        self._idle_since = self.loop.time()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._used -= 1
        if self.is_leaving and not self.streams:
            self.close(NO_ERROR, "the server takes no further calls")


async def dial(place: Place, trust: Trust, limits: ClientLimits, library: Library) -> ClientConnection:
    """A connection to one of the addresses of a host, tried in order. Raises Unavailable."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise Unavailable(f"the host {place.host!r} is not known: {error.strerror or error}") from error
    last: Unavailable | None = None
    for family, _, _, _, address in found:
        try:
            return await _dial(place, (family, (str(address[0]), int(address[1]))), trust, limits, library)
        except Unavailable as error:
            last = error
    raise last or Unavailable(f"the host {place.host!r} has no address")


async def _dial(
    place: Place,
    target: tuple[socket.AddressFamily, tuple[str, int]],
    trust: Trust,
    limits: ClientLimits,
    library: Library,
) -> ClientConnection:
    """The connection whose handshake is done first: a few are begun, each when those before it take long.

    What one waits before it sends again doubles with each loss, so that a lossy path soon stops it; one that begins later gets
    through, as a rule. Those that go on have their time when another has failed; none begins after that. Raises Unavailable.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limits.handshake_time
    begun: list[asyncio.Task[ClientConnection]] = []
    failed: set[asyncio.Task[ClientConnection]] = set()
    made: asyncio.Task[ClientConnection] | None = None
    try:
        while made is None:
            if len(begun) < _HANDSHAKES and not failed:
                begun.append(loop.create_task(_shaken(place, target, trust, limits, library, deadline)))
            pause = limits.handshake_pause if len(begun) < _HANDSHAKES and not failed else None
            left = [task for task in begun if task not in failed]
            done, _ = await asyncio.wait(left, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            failed |= {task for task in done if task.exception() is not None}
            made = begun[0] if len(failed) == len(begun) else next((task for task in done if task not in failed), None)
        return made.result()
    finally:
        others = [task for task in begun if task is not made]
        for task in others:
            task.cancel()
        for found in await asyncio.gather(*others, return_exceptions=True):
            if isinstance(found, ClientConnection):  # done in the same moment
                await found.give_up()


async def _shaken(
    place: Place,
    target: tuple[socket.AddressFamily, tuple[str, int]],
    trust: Trust,
    limits: ClientLimits,
    library: Library,
    deadline: float,
) -> ClientConnection:
    """A connection whose handshake is done before `deadline`. Raises Unavailable."""
    loop = asyncio.get_running_loop()
    family, address = target
    datagram = limits.loopback_datagram if is_loopback(address[0]) else limits.datagram
    configuration = library.configuration(is_client=True, server_name=place.host, **standing(limits))
    library.trusting(configuration, trust)
    quic = library.windowed(library.connection(configuration=configuration), limits.streams)
    connection = ClientConnection(library, quic, limits, datagram, place.peer, address)
    connection.trust, connection.host = trust, place.host
    try:
        made = connected(family, address, limits.socket)
    except OSError as error:
        raise Unavailable(f"{place.peer} cannot be reached: {error.strerror or error}") from error
    await library.endpoint(loop, lambda: connection, made)
    try:
        await connection.handshake(deadline)
    except BaseException:
        await connection.give_up()
        raise
    return connection
