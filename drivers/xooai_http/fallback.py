"""What is no plain call, answered by the ASGI application in uvicorn's own request cycle: pages, and calls that stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import unquote

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from xooai.asgi import BODY, IDENTITY, CutOff
from xooai.log import logger
from xooai_http.identified import Identified

__all__ = ["Cycle", "scope_of"]

_HELD = 16 * 1024  # bytes of a stream that are held until the loop's turn is over: what is worth a chunk of its own
_LOG = logger("xooai.http")  # where uvicorn says that an application failed


class Cycle(RequestResponseCycle):
    """One request. The connection cancels `task` when its client leaves.

    It begins with its whole body, or with None where that is still to come: by `feed`, up to `feed_end`.
    """

    kind: Literal["cycle"] = "cycle"

    def __init__(
        self,
        connection: Identified,
        method: str,
        body: bytes | None,
        keep_alive: bool,
        on_response: Callable[[], None],
    ) -> None:
        super().__init__(
            scope=scope_of(connection, {BODY: self}) | {"method": method},
            transport=connection.transport,
            flow=connection.flow,
            logger=_LOG,
            access_logger=_LOG,
            access_log=False,
            default_headers=connection.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=on_response,
        )
        if body is not None:
            self.body += body
            self.feed_end()
        self.task: asyncio.Task[None] | None = None
        self.is_cut = False
        """Whether the response was left incomplete on purpose."""
        self._loop = connection.loop
        self._parts: list[bytes] = []
        self._held = 0  # bytes in them
        self._is_turn = False  # whether something was written in this turn of the loop
        self.request = f"{method} {connection.url.decode('latin-1')}"
        self.status = self.size = 0

    def feed(self, body: bytes) -> None:
        """Take in a part of the body; reading stops while the application has taken too little of it."""
        self.body += body
        if len(self.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.message_event.set()

    def feed_end(self) -> None:
        self.more_body = False
        self.message_event.set()

    def put(self, part: bytes) -> bool:
        """Take a part of the body of a stream: the first one of a turn is written at once, others together behind it."""
        if self.flow.write_paused or self.disconnected or not self.chunked_encoding:
            return False
        size = len(part)
        self.size += size
        if self._is_turn:
            self._parts.append(part)
            self._held += size
            if self._held > _HELD:
                self.flush()
        elif part:
            self._is_turn = True
            self._loop.call_soon(self._end_turn)
            self.transport.write(b"%x\r\n%b\r\n" % (size, part))
        return True

    def flush(self) -> None:
        """Write the parts that are held, as one chunk."""
        if self._held and not self.disconnected:
            body = b"".join(self._parts)
            self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        self._parts.clear()
        self._held = 0

    def _end_turn(self) -> None:
        self._is_turn = False
        self.flush()

    async def send(self, message: Any) -> None:
        self.flush()
        self.status = message.get("status", self.status)
        self.size += len(message.get("body", b""))
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_last and self.more_body:
            self.keep_alive = True  # or uvicorn closes, and the client may not see an answer that came early: we linger
        await super().send(message)

    async def run(self, application: Any) -> None:
        """Run the application; a cancellation because the client left is not its failure, nor is a stream that it cut off."""

        async def cancelled_quietly(scope: Any, receive: Any, send: Any) -> None:
            try:
                await application(scope, receive, send)
            except asyncio.CancelledError:
                if not self.transport.is_closing() and not self.disconnected:
                    raise
            except CutOff:
                self.flush()
                self.is_cut = self.disconnected = True

        try:
            await self.run_asgi(cancelled_quietly)
        finally:
            self.scope["extensions"] = {}  # they held this very object, for the collector of garbage to find


def scope_of(connection: Identified, extensions: dict[str, object]) -> Any:
    """The scope of the request whose head was read last, but for its method."""
    if connection.identity:
        extensions[IDENTITY] = connection.identity
    path, _, query = connection.url.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": connection.parser.get_http_version(),
        "server": connection.server,
        "client": connection.client,
        "scheme": connection.scheme,
        "root_path": "",
        "headers": connection.headers,
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "state": {},
        "extensions": extensions,
    }
