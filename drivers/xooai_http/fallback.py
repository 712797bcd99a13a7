"""What is no plain call, answered by the ASGI application in uvicorn's own request cycle: pages, and calls that stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from xooai.asgi import CutOff
from xooai.log import logger

__all__ = ["Cycle"]

_LOG = logger("xooai.http")  # where uvicorn says that an application failed


class Cycle(RequestResponseCycle):
    """One request. The connection cancels `task` when its client leaves.

    It begins with its whole body, or with None where that is still to come: by `feed`, up to `feed_end`.
    """

    def __init__(
        self,
        connection: HttpToolsProtocol,
        method: str,
        body: bytes | None,
        keep_alive: bool,
        on_response: Callable[[], None],
    ) -> None:
        super().__init__(
            scope=_scope(connection, method),
            transport=connection.transport,
            flow=connection.flow,
            logger=_LOG,
            access_logger=_LOG,
            access_log=False,
            default_headers=[],
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

    async def send(self, message: Any) -> None:
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
                self.is_cut = self.disconnected = True

        await self.run_asgi(cancelled_quietly)


def _scope(connection: HttpToolsProtocol, method: str) -> Any:
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
        "method": method,
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "state": {},
    }
