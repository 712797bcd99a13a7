"""Links to the echoing site behind QUIC, and a talker that says what no client of ours would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace
from quic_files import Files

from echoing import StreamSite
from quic_listening import listening
from xooai.driver import DialOptions, Head, Link, Outcome, Shape
from xooai.place import Place, called_at
from xooai_quic.client import QuicLink
from xooai_quic.dialling import ClientConnection, dial
from xooai_quic.driver import QuicDriver
from xooai_quic.library import load
from xooai_quic.limits import ClientLimits, Limits
from xooai_quic.stream import Headers, Stream, wake
from xooai_quic.trust import Trust

Run = Callable[[Coroutine[Any, Any, Any]], Any]

JSON = "application/json"
SOON = 30  # seconds: far more than anything here takes, so that only what never comes runs into it


@asynccontextmanager
async def linked(url: str, options: DialOptions, limits: ClientLimits | None = None) -> AsyncIterator[QuicLink]:
    link = await QuicDriver(client_limits=limits or ClientLimits()).dial(url, options)
    try:
        yield link
    finally:
        await link.aclose()


@asynccontextmanager
async def serving(
    files: Files, limits: Limits | None = None, client_limits: ClientLimits | None = None, **options: Any
) -> AsyncIterator[tuple[QuicLink, StreamSite]]:
    """A link to a server, trusting its certificate."""
    trust = DialOptions(trust=f"sha256:{files.fingerprint}")
    async with (
        listening(files.options(**options), limits) as (listener, site),
        linked(listener.url, trust, client_limits) as link,
    ):
        yield link, site


def head(endpoint: str, shape: Shape = Shape.UNARY, **more: Any) -> Head:
    return Head(f"/echo/{endpoint}", more.pop("codec", JSON), shape=shape, **more)


async def call(link: Link, endpoint: str = "say", body: bytes = b"{}", **more: Any) -> tuple[bytes | None, Outcome]:
    """The reply to a unary call and what came beside it."""
    channel = await link.open(head(endpoint, **more), body)
    reply = await channel.receive()
    assert channel.outcome is not None
    return reply, channel.outcome


class Exchange(Stream):
    """A request said as it is told, and what comes back: the status, the body, and how it was left."""

    head: Headers | None = None
    left: int | None = None

    def on_head(self, headers: Headers, ended: bool) -> None:
        self.head = headers
        self.on_data(b"", ended)

    def on_left(self, code: int, is_reset: bool) -> None:
        self.left = code if is_reset else self.left
        wake(self._came)

    def on_lost(self, reason: str) -> None:
        self.finish()

    async def answer(self) -> tuple[int | None, bytes]:
        """The status and the body; None where the stream was reset or lost before."""
        body = b""
        async with asyncio.timeout(SOON):
            while not (self.is_whole or self.is_over or self.left is not None):
                self._came = self.connection.loop.create_future()
                await self._came
                body += self.take()
        status = dict(self.head or []).get(b":status")
        return int(status) if status is not None else None, body

    async def ending(self) -> None:
        """Wait until the server gives it up, without taking what comes."""
        while not self.is_over and self.left is None:
            self._came = self.connection.loop.create_future()
            await self._came


class Talker:
    """A client of HTTP/3 that says anything."""

    def __init__(self, connection: ClientConnection, place: Place) -> None:
        self.connection = connection
        self._place = place

    def say(
        self,
        headers: Headers | None = None,
        body: bytes = b"",
        *,
        ended: bool = True,
        pseudo: Mapping[str, str] = MappingProxyType({}),
    ) -> Exchange:
        """Send a request; `pseudo` replaces its method, path and authority."""
        stream = Exchange(self.connection, self.connection.quic.get_next_available_stream_id())
        self.connection.streams[stream.id] = stream
        fields = {"method": "POST", "scheme": "https", "authority": self._place.peer, "path": "/echo/say", **pseudo}
        stream.write_head([(f":{name}".encode(), value.encode()) for name, value in fields.items()] + (headers or []))
        if body or ended:
            stream._write(body, ended)
        return stream


@asynccontextmanager
async def talking(
    url: str, files: Files, limits: ClientLimits | None = None, settings: Mapping[int, int] = MappingProxyType({})
) -> AsyncIterator[Talker]:
    """A talker that says these settings of HTTP/3 beside those that a client of ours has."""
    place, library = called_at(url, {"quic": 443}), load()

    class Asking(library.http):  # type: ignore[misc, name-defined]  # one of two classes
        def _get_local_settings(self) -> dict[int, int]:
            return {**super()._get_local_settings(), **settings}

    asking = replace(library, http=Asking) if settings else library
    connection = await dial(place, Trust.of(f"sha256:{files.fingerprint}"), limits or ClientLimits(), asking)
    try:
        yield Talker(connection, place)
    finally:
        connection.close(0x100)
        await connection.closed
