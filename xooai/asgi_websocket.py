"""Calls that stream over a WebSocket, in terms of ASGI: a page in a browser can stream a request in no other way.

Specification: https://asgi.readthedocs.io/en/latest/specs/www.html#websocket
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from xooai.asgi_incoming import StreamLimits
from xooai.asgi_messages import Message, Receive, Send, caller_of, refuse
from xooai.asgi_stream import TURN, run_call
from xooai.driver import Guarding, Head, Outcome, Shape, Site
from xooai.errors import Code, Internal, InvalidArgument, NotFound, Unavailable, Unimplemented, XooaiError, too_large
from xooai.guard import check_request
from xooai.http import Headers, problem, request_head
from xooai.websocket import SUBPROTOCOLS, chosen, close_of, timeout_in

__all__ = ["answer_websocket"]

_OK = Outcome()
_WINDOW = 256 * 1024  # bytes taken in before somebody wants them: what a fast network brings in a millisecond or two,
_ITEMS = 16  # and items, each an object: as many as are under way in a call within one process
_ABORTED = 1011  # the server met something unexpected (RFC 6455 7.4.1)


async def answer_websocket(
    site: Site, path: str, scope: Message, receive: Receive, send: Send, limits: StreamLimits
) -> None:
    """Answer one call to an endpoint that streams, over a WebSocket that is not accepted yet."""
    await receive()  # websocket.connect
    try:
        if isinstance(site, Guarding):
            site.admit(_head(path, scope))
        shape = site.shape(path)
        if not shape:
            await _refuse_path(path, shape, scope, send)
            return
        head = _head(path, scope)
        head.shape = shape
        name = chosen(scope.get("subprotocols") or ())
        head.codec = head.accept = SUBPROTOCOLS[name]
    except XooaiError as error:
        await _refuse(scope, send, error)
        return
    is_text = head.codec == SUBPROTOCOLS[None]
    source = _Messages(receive, is_text, bool(shape & Shape.CLIENT), limits)
    channel = _SocketChannel(head, source, send, is_text)
    try:
        await send({"type": "websocket.accept", "subprotocol": name})
        await run_call(site, channel, source)
        if channel.is_cut:
            await send({"type": "websocket.close", "code": _ABORTED, "reason": "the call was given up"})
    except OSError:
        return  # the client has gone


def _head(path: str, scope: Message) -> Head:
    """Raises InvalidArgument, PermissionDenied and others for what is refused before it is a call."""
    headers = [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]]
    table = dict(headers)
    check_request(table, 0)
    head = request_head(path, headers, table, *caller_of(scope))
    head.metadata = Headers([pair for pair in headers if not pair[0].startswith(b"sec-websocket-")])
    timeout = timeout_in(scope.get("query_string", b""))
    if timeout is not None:
        head.timeout = timeout if head.timeout is None else min(timeout, head.timeout)
    return head


async def _refuse_path(path: str, shape: Shape | None, scope: Message, send: Send) -> None:
    if shape is None:
        await _refuse(scope, send, NotFound(f"nothing that streams is at {path!r}; see openapi.json"))
    else:
        error = Unimplemented(f"{path} takes one request and gives one reply; it takes POST, and no WebSocket")
        await _refuse(scope, send, error, 405, ("allow", "POST"))


async def _refuse(
    scope: Message, send: Send, error: XooaiError, status: int | None = None, *more: tuple[str, str]
) -> None:
    """Refuse the handshake, with the problem where the server lets us answer it."""

    async def denied(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    with suppress(OSError):  # the client has gone
        if "websocket.http.response" in (scope.get("extensions") or ()):
            await refuse(denied, error, status, *more)
        else:
            await send({"type": "websocket.close"})


class _Messages:
    """What the client sends: a Source. Messages are received up to a window, beyond which the client has to wait.

    While the window is full nothing is received, and so a client that leaves then goes unseen by ASGI alone: the server
    has to see it, as that of the HTTP driver does.
    """

    def __init__(self, receive: Receive, is_text: bool, takes_stream: bool, limits: StreamLimits) -> None:
        self._receive = receive
        self._is_text = is_text
        self._takes_stream = takes_stream
        self._limits = limits
        self._items: deque[bytes] = deque()
        self._size = 0
        self._error: XooaiError | None = None
        self.is_whole = False
        self._came = asyncio.Event()
        self._went = asyncio.Event()

    async def run(self) -> None:
        while True:
            try:
                message = await self._receive()
            except Exception:  # noqa: BLE001  # some middleware raises instead of telling
                return
            if message["type"] != "websocket.receive":
                return
            if not self.is_whole and self._error is None:  # what still comes then is for nobody
                self._take(message)
                self._came.set()
            while self._size > _WINDOW or len(self._items) >= _ITEMS:
                self._went.clear()
                await self._went.wait()

    def _take(self, message: Message) -> None:
        text, data = message.get("text"), message.get("bytes") or b""
        try:
            item = data if text is None else text.encode()
            if not item:
                self.is_whole = True
                return
            self._check(item, text is not None)
            self._size += len(item)
            self._limits.reserve(len(item))  # given back by `next` or `close`, also where this raises
        except XooaiError as error:
            self._error = error
            return
        self._items.append(item)
        self.is_whole = not self._takes_stream  # the opening is all

    def _check(self, item: bytes, is_text: bool) -> None:
        if len(item) > self._limits.message:
            raise too_large(len(item), self._limits.message, "a message of the stream")
        if is_text is not self._is_text:
            given, right = ("text", "binary") if is_text else ("binary", "text")
            codec = "JSON, in messages of text" if self._is_text else "msgpack, in binary messages"
            raise InvalidArgument(f"a message is {given}, not {right}; this WebSocket takes {codec}")

    async def next(self) -> bytes | None:
        while not self._items:
            if self._error is not None:
                raise self._error
            if self.is_whole:
                return None
            self._came.clear()
            await self._came.wait()
        item = self._items.popleft()
        self._size -= len(item)
        self._limits.reserve(-len(item))
        self._went.set()
        return item

    def close(self) -> None:
        held, self._size = self._size, 0
        self._items.clear()
        self._limits.reserve(-held)


class _SocketChannel:
    """The server's end of one call: a Channel."""

    def __init__(self, head: Head, source: _Messages, send: Send, is_text: bool) -> None:
        self.head = head
        self.is_cut = False
        self.on_abort: Callable[[], object] = lambda: None
        self._source = source
        self._send = send
        self._is_text = is_text
        self._is_open = True
        self._turned = 0.0

    @property
    def outcome(self) -> Outcome | None:
        """None: this is the server's end."""
        return None

    async def receive(self) -> bytes | None:
        return await self._source.next()

    async def send(self, frame: bytes) -> None:
        if not self._is_open:
            raise Internal("this call has ended")
        if not self.head.shape & Shape.SERVER:
            raise Internal("this call has one reply: end it with the frame")
        await self._give(frame)
        if monotonic() - self._turned > TURN:
            await asyncio.sleep(0)
            self._turned = monotonic()

    async def _give(self, frame: bytes) -> None:
        if self._is_text:
            await self._tell({"type": "websocket.send", "text": frame.decode()})
        else:
            await self._tell({"type": "websocket.send", "bytes": frame})

    async def _tell(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError as error:  # as ASGI servers say it
            raise Unavailable("the client has left") from error

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        if not self._is_open:
            raise Internal("this call has ended")
        told = (
            None if outcome.code == Code.OK else problem(outcome).decode()
        )  # first: where it raises, the call is open
        if frame is not None:
            await self._give(frame)
        self._is_open = False
        if told is not None:
            await self._give(b"")
            await self._tell({"type": "websocket.send", "text": told})
        code, reason = close_of(outcome)
        await self._tell({"type": "websocket.close", "code": code, "reason": reason})

    def abort(self) -> None:
        if self._is_open:
            self._is_open = False
            self.is_cut = True
            self.on_abort()
