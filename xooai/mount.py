"""Executors inside an application of somebody else's: Starlette, FastAPI, or any other that mounts ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from xooai.asgi import Application
from xooai.executor import Executor
from xooai.hosting import site_of
from xooai.over import over
from xooai.server import Site
from xooai.sync import serving

__all__ = ["application"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class _Mounted:
    """An ASGI application that sets its executors up with the first request, since a mounted one hears no lifespan."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._application = Application(over(site, "asgi"))
        self._setting_up: asyncio.Future[None] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if not self._site.ready():
            serving.add(asyncio.get_running_loop())
            if self._setting_up is None or (self._setting_up.done() and self._setting_up.exception() is not None):
                self._setting_up = asyncio.ensure_future(self._site.set_up())
            await asyncio.shield(self._setting_up)  # a client that leaves does not end what the others wait for
        await self._application(scope, receive, send)


def application(*executors: Executor) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """An ASGI application with the endpoints of `executors`: `app.mount("/models", application(Reader()))`.

    With XOOAI_KEYS it asks for keys, as a server does. Raises what is wrong with that file.
    The Host and Origin checks, sizes of headers and connection limits of the server that it runs in apply, not ours.
    """
    return _Mounted(site_of([executor._xooai_local() for executor in executors]))
