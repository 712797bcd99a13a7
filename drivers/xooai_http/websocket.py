"""A connection that has become a WebSocket: between its bytes and the messages of ASGI, each limit judged on the way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from sys import getsizeof
from typing import Any, Literal

from xooai.errors import DeadlineExceeded, Unavailable, XooaiError
from xooai.log import logger
from xooai_http.fallback import scope_of
from xooai_http.identified import Identified
from xooai_http.pace import Pace
from xooai_http.reply import refuse, whole
from xooai_http.server import Server
from xooai_http.websocket_messages import Messages

__all__ = ["WebSocket"]

_LOG = logger("xooai.http")
_WINDOW = 64 * 1024  # bytes of messages waiting for the application, which has a window of its own
_OBJECT = 256  # bytes that a message takes beside its content
_SLICE = 16 * 1024  # bytes parsed at once: there may be thousands of tiny frames in them, each an object
_FAILED = 4000  # and the code of an error, as behind a call
_GOING_AWAY, _UNEXPECTED = 1001, 1011  # RFC 6455 7.4.1
_SWITCHED = 101


class WebSocket:
    """One WebSocket. The connection cancels `task` when its client leaves.

    Made from the head of its request, which the connection has read. Raises Refused for what is no handshake.
    `on_failed` writes last words and discards what still comes.
    """

    kind: Literal["socket"] = "socket"

    def __init__(self, connection: Identified, server: Server, on_failed: Callable[[bytes], None]) -> None:
        self.task: asyncio.Task[None] | None = None
        self.keep_alive = False
        self.size = 0
        """Bytes sent in messages."""
        self.is_over = False
        """Whether the server has closed or refused it."""
        self._transport = connection.transport
        self._flow = connection.flow
        self._server = server
        self._on_failed = on_failed
        self._rules = Messages(connection.url, connection.headers, server.message_limit)
        self._scope = _scope(connection)
        self._request = f"GET {connection.url.decode('latin-1')}"
        self._status = 0  # of the response, once it is written
        self._denied: tuple[int, list[tuple[str, str]]] = (0, [])
        self._messages: deque[tuple[Any, int]] = deque([({"type": "websocket.connect"}, 0)])  # and what each costs
        self._came = asyncio.Event()
        self._rest = bytearray()  # bytes that came, not parsed yet
        self._waiting = 0  # what the messages cost
        self._held = 0  # bytes that are reserved
        self._owed = b""  # an answer to a ping
        self._heard = 0  # bytes
        self._seen = -1  # those that had come when the sweep last looked
        self._since = 0.0  # when it saw some
        self._is_asked = False
        self._pace = Pace()
        self._last = object()  # another one with each message

    # -- what comes

    def feed(self, data: bytes) -> None:
        """Take in bytes; reading stops while the application has taken too little."""
        self._heard += len(data)
        self._rest += data
        self._parse()

    def _parse(self) -> None:
        rest = self._rest
        while rest and self._status == _SWITCHED and self._waiting < _WINDOW and not self._is_deaf:
            part = bytes(rest[:_SLICE])
            del rest[:_SLICE]
            for content in self._rules.read(part):
                self._put(content)
            self._answer(self._rules.answers())
        if self._is_deaf:
            self.lost()
            return
        if rest:
            self._flow.pause_reading()
        else:
            self._flow.resume_reading()
        try:
            self._account(len(rest) + self._waiting + self._rules.held)
        except XooaiError as error:
            self._fail(_FAILED + error.code, error.message)

    @property
    def _is_deaf(self) -> bool:
        return self._rules.is_deaf or self._transport.is_closing()

    def _put(self, content: str | bytes) -> None:
        self._last = object()
        if self.is_over:
            return
        kind = "text" if isinstance(content, str) else "bytes"
        cost = getsizeof(content) + _OBJECT
        self._messages.append(({"type": "websocket.receive", kind: content}, cost))
        self._waiting += cost
        self._came.set()

    def _answer(self, said: list[bytes]) -> None:
        """Write what is to be said to what came: to a ping, to a close, to what breaks a rule."""
        if self._rules.is_broken:
            self._close_deaf(b"".join(said))
        elif self._rules.is_deaf:  # the client closes, or has answered our close
            self._transport.write(b"".join(said))
            self._transport.close()
        elif said and self._flow.write_paused:
            self._owed = said[-1]  # of several pings only the latest wants an answer (RFC 6455 5.5.3)
        elif said:
            self._transport.write(b"".join(said))

    def _fail(self, code: int, reason: str) -> None:
        """Close, and take nothing more from the client, which broke a limit."""
        self._close_deaf(self._rules.fail(code, reason))

    def _close_deaf(self, last_words: bytes) -> None:
        self.is_over = True
        self.lost()
        self._on_failed(last_words)

    def _account(self, held: int) -> None:
        change, self._held = held - self._held, held
        if change:
            self._server.reserve(change)

    def lost(self) -> None:
        """Let go of what is held: nobody takes it any more."""
        self._rest.clear()
        self._messages.clear()
        self._waiting = 0
        self._account(0)
        self._came.set()

    # -- the application

    async def run(self) -> None:
        """Run the application; a cancellation because the client left is not its failure."""
        try:
            await self._server.application(self._scope, self._receive, self._send)
        except asyncio.CancelledError:
            if not (self.is_over or self._transport.is_closing()):
                raise
        except Exception:  # noqa: BLE001  # what is foreseen it answers itself
            _LOG.exception("the application failed to answer a WebSocket")
        finally:
            if not (self.is_over or self._transport.is_closing()):
                self._end(_UNEXPECTED, "the server left the call without an answer")
            if self._server.has_log:
                self._server.log("{}:{}".format(*self._scope["client"]), self._request, self._status, self.size)

    async def _receive(self) -> Any:
        while not self._messages:
            if self.is_over or self._transport.is_closing():
                return {"type": "websocket.disconnect", "code": 1006}
            self._came.clear()
            await self._came.wait()
        message, cost = self._messages.popleft()
        if cost:
            self._waiting -= cost
            self._parse()
        return message

    async def _send(self, message: Any) -> None:
        await self._flow.drain()
        if self.is_over or self._transport.is_closing() or not self._rules.is_open:
            raise ConnectionResetError("the client has left")
        match message["type"]:
            case "websocket.send":
                text = message.get("text")
                data = self._rules.message(message["bytes"] if text is None else text)
                self.size += len(data)
                self._transport.write(data)
            case "websocket.close":
                self._end(message["code"], message["reason"])
            case "websocket.accept":
                self._accept(message.get("subprotocol"))
            case "websocket.http.response.start":
                headers = [(name.decode(), value.decode()) for name, value in message["headers"]]
                self._denied = message["status"], [pair for pair in headers if pair[0] != "content-length"]
            case "websocket.http.response.body":
                self._refuse(*self._denied, message["body"])

    def _accept(self, subprotocol: str | None) -> None:
        self._status = _SWITCHED
        self._transport.write(self._rules.accept(subprotocol))
        self._parse()

    def _refuse(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._status = status
        self.is_over = True
        self._transport.write(whole(status, headers, body))
        self._transport.close()

    def _end(self, code: int, reason: str) -> None:
        """Close; the client has some time to answer."""
        if self._status != _SWITCHED:
            self._transport.abort()
            return
        self._transport.write(self._rules.close(code, reason))
        self.is_over = True
        self._messages.clear()
        self._waiting = 0
        self._parse()  # up to the client's close

    # -- the ends of a connection

    def stop(self) -> None:
        """Close now, telling the client why."""
        stopped = Unavailable("the server stopped before the call was done")
        if not self.is_over and not self._transport.is_closing():
            if self._status == _SWITCHED:
                self._end(_GOING_AWAY, stopped.message)
            else:
                self._transport.write(refuse(stopped)[1])
            self.is_over = True
        self._transport.close()

    def check(self, now: float) -> None:
        """Close when a deadline has passed; ask a client that is silent whether it is there."""
        limits, pace = self._server.limits, self._pace
        has_begun = self._rules.has_begun
        age = pace.age((self if self.is_over else self._last if has_begun else None,), now, self._heard)
        if self.is_over:
            if age > limits.linger:
                self._transport.abort()
            return
        if self._owed:
            self._transport.write(self._owed)
            self._owed = b""
        if self._flow.read_paused or self._seen != self._heard:
            self._seen, self._since, self._is_asked = self._heard, now, False
        else:
            self._check_silence(now - self._since)
        if has_begun and age > limits.window:
            if pace.is_slow(now, self._heard, limits.rate) and not self._flow.read_paused:
                slow = DeadlineExceeded(f"a message began and came slower than {limits.rate:,} bytes a second")
                self._fail(_FAILED + slow.code, slow.message)
            pace.restart(now, self._heard)

    def _check_silence(self, silence: float) -> None:
        limits = self._server.limits
        if silence > limits.ping + limits.pong:
            self._transport.abort()
        elif silence > limits.ping and not self._is_asked:
            self._is_asked = True
            self._transport.write(self._rules.ping())


def _scope(connection: Identified) -> Any:
    offered = [value.decode("latin-1") for name, value in connection.headers if name == b"sec-websocket-protocol"]
    return {
        **scope_of(connection, {"websocket.http.response": {}}),
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "scheme": "wss" if connection.scheme == "https" else "ws",
        "subprotocols": [name.strip() for name in ",".join(offered).split(",") if name.strip()],
    }
