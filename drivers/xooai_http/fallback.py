"""What is no plain call, answered by the ASGI application in uvicorn's own request cycle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from xooai.log import logger

__all__ = ["Cycle"]

_LOG = logger("xooai.http")  # where uvicorn says that an application failed


class Cycle(RequestResponseCycle):
    """One request that came whole. The connection cancels `task` when its client leaves."""

    def __init__(
        self, connection: HttpToolsProtocol, method: str, body: bytes, keep_alive: bool, on_response: Callable[[], None]
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
        self.body += body
        self.more_body = False
        self.message_event.set()
        self.task: asyncio.Task[None] | None = None
        self.request = f"{method} {connection.url.decode('latin-1')}"
        self.status = self.size = 0

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.size += len(message.get("body", b""))
        await super().send(message)

    async def run(self, application: Any) -> None:
        """Run the application; a cancellation because the client left is not its failure."""

        async def cancelled_quietly(scope: Any, receive: Any, send: Any) -> None:
            try:
                await application(scope, receive, send)
            except asyncio.CancelledError:
                if not self.transport.is_closing():
                    raise

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
