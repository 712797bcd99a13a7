"""The client's side of the QUIC driver: calls as requests on the streams of one connection."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from xooai.driver import Channel, DialOptions, Head, Shape
from xooai.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    XooaiError,
)
from xooai.http import TIMEOUT_HEADER, request_headers, request_target, timeout_value
from xooai.place import called_at
from xooai.stream_head import as_sent
from xooai_quic.binding import PORTS
from xooai_quic.call import QuicCall
from xooai_quic.connection import NO_ERROR
from xooai_quic.dialling import ClientConnection, dial
from xooai_quic.library import load
from xooai_quic.limits import ClientLimits
from xooai_quic.stream import Headers
from xooai_quic.trust import Trust

__all__ = ["QuicLink"]

_TIMEOUT = TIMEOUT_HEADER.encode("ascii")


class QuicLink:
    """Calls to the server at `url`. Connects with the first call, and stays on its loop."""

    def __init__(self, url: str, options: DialOptions, limits: ClientLimits, library: str | None = None) -> None:
        self._place = called_at(url, PORTS)
        self._authority = self._place.authority if self._place.port == PORTS["quic"] else self._place.peer
        self._trust = Trust.of(options.trust)
        if (own := options.certificate or options.key) is not None:
            raise InvalidArgument(f"{own!r} is for https and grpcs; a quic server cannot ask its clients who they are")
        self._reply_limit = options.message_limit
        self._limits = limits
        self._library = load(library)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: ClientConnection | None = None
        self._older: set[ClientConnection] = set()  # with calls under way, and taking no new ones
        self._dialling: asyncio.Task[ClientConnection] | None = None
        self._is_closed = False

    @property
    def is_leaving(self) -> bool:
        """Whether the server has said on this connection that it takes no further calls."""
        http = self._connection.http if self._connection is not None else None
        return http is not None and http.is_going_away

    async def open(self, head: Head, request: bytes | None = None) -> Channel:
        """Send a call, or what it begins with."""
        self._check(head, request)
        sent, codecs = as_sent(head) if head.shape else (head, {})
        headers = self._headers(sent, request)
        deadline = None
        if head.timeout is not None:
            deadline = asyncio.get_running_loop().time() + head.timeout
        connection = self._connection
        if connection is not None and connection.is_doubtful and connection.is_usable:
            await connection.confirm(deadline)
            connection = self._connection
        if connection is None or not connection.is_usable:
            connection = await self._connected(deadline)
        await connection.acquire(deadline)
        try:
            if not connection.is_usable:
                raise Unavailable(f"the connection to {self._place.peer} ended before the call was sent")
            if deadline is not None:  # told last: connecting has taken a part of it
                headers.append((_TIMEOUT, b"%d" % timeout_value(self._left(deadline))))
        except XooaiError:
            connection.freed()
            raise
        stream_id = connection.quic.get_next_available_stream_id()
        call = QuicCall(head, connection, stream_id, self._reply_limit, codecs)
        connection.streams[stream_id] = call
        try:
            call.begin(headers, deadline)
        except self._library.errors as error:  # by qh3, whose headers are 4 KiB long at most
            connection.is_leaving = True  # what it has told of the others is not sure
            call.abort()
            raise ResourceExhausted(f"the head of the call to {head.path} is too large", reason="size") from error
        if request is not None:
            await self._complete(call, request)
        return call

    async def _complete(self, call: QuicCall, request: bytes) -> None:
        """Send the one frame of this side; stops without an error where the call ends before."""
        if call.head.shape & Shape.CLIENT:
            await call.end(request)
            return
        try:
            await call.write(request, True)
        except BaseException:  # cancelled
            call.abort()
            raise

    def _check(self, head: Head, request: bytes | None) -> None:
        peer, loop = self._place.peer, asyncio.get_running_loop()
        if self._is_closed:
            raise Unavailable(f"the link to {peer} has been closed")
        if self._loop is not loop:
            if self._loop is not None:
                raise FailedPrecondition(
                    f"the link to {peer} belongs to another event loop; dial once more on this one"
                )
            self._loop = loop
        if head.timeout is not None and head.timeout <= 0:
            raise DeadlineExceeded(f"no time is left for the call to {peer}: timeout={head.timeout:g} s")
        if not head.path.startswith("/"):
            raise InvalidArgument(f"the path of the call is {head.path!r}; it takes /executor/endpoint")
        if request is None and not head.shape & Shape.CLIENT:
            raise FailedPrecondition(
                "this side of the call does not stream: its one frame goes with open(head, request)"
            )

    def _headers(self, head: Head, request: bytes | None) -> Headers:
        """All but the time that is left."""
        headers = [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", self._authority.encode("ascii")),
            (b":path", request_target(head.path).encode("ascii")),
        ]
        timeless = head if head.timeout is None else replace(head, timeout=None)
        headers += [(name.encode("ascii"), value.encode("ascii")) for name, value in request_headers(timeless)]
        if request is not None and not head.shape & Shape.CLIENT:
            headers.append((b"content-length", b"%d" % len(request)))
        return headers

    def _left(self, deadline: float) -> float:
        """Seconds. Raises DeadlineExceeded where there are none."""
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise DeadlineExceeded(f"the time allowed for the call to {self._place.peer} passed before it was sent")
        return left

    async def _connected(self, deadline: float | None) -> ClientConnection:
        """The connection, made where there is none: by the first of those who call, and for all of them."""
        if self._dialling is None:
            self._dialling = asyncio.ensure_future(self._dial())
            self._dialling.add_done_callback(self._dialled)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(self._dialling)
        except TimeoutError:
            raise DeadlineExceeded(f"{self._place.peer} was not reached in the time allowed for the call") from None
        except asyncio.CancelledError:
            if self._is_closed:
                raise Unavailable(f"the link to {self._place.peer} has been closed") from None
            raise

    async def _dial(self) -> ClientConnection:
        return await dial(self._place, self._trust, self._limits, self._library)

    def _dialled(self, task: asyncio.Task[ClientConnection]) -> None:
        self._dialling = None
        if not task.cancelled() and task.exception() is None:
            older = self._connection
            self._older = {one for one in (*self._older, older) if one is not None and not one.closed.done()}
            self._connection = task.result()

    async def aclose(self) -> None:
        """Close the connection; calls under way end with Unavailable, later ones too."""
        self._is_closed = True
        if self._loop is None or self._loop.is_closed():  # a loop that is closed has closed its sockets
            return
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.wait({self._dialling})
        for connection in (*self._older, self._connection):
            if connection is not None:
                connection.close(NO_ERROR, "the link was closed")
                await connection.closed
