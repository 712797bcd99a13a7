"""The echoing site behind gRPC, links to it, and the clients of others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from echoing import StreamSite
from xooai.driver import Channel, DialOptions, Head, Link, ListenOptions, Outcome, Shape
from xooai_grpc.client import GrpcLink
from xooai_grpc.driver import GrpcDriver
from xooai_grpc.limits import ClientLimits, Limits
from xooai_grpc.listener import GrpcListener

Run = Callable[[Coroutine[Any, Any, Any]], Any]

JSON = "application/json"
MSGPACK = "application/msgpack"
SOON = 30  # seconds: far more than anything here takes, so that only what never comes runs into it


@asynccontextmanager
async def listening(
    url: str = "grpc://127.0.0.1:0", options: ListenOptions | None = None, limits: Limits | None = None
) -> AsyncIterator[tuple[GrpcListener, StreamSite]]:
    site = StreamSite()
    listener = await GrpcDriver(limits or Limits()).listen(url, site, options or ListenOptions())
    try:
        yield listener, site
    finally:
        await listener.aclose()


@asynccontextmanager
async def linked(
    url: str, options: DialOptions | None = None, limits: ClientLimits | None = None
) -> AsyncIterator[GrpcLink]:
    link = await GrpcDriver(client_limits=limits or ClientLimits()).dial(url, options or DialOptions())
    try:
        yield link
    finally:
        await link.aclose()


@asynccontextmanager
async def serving(**more: Any) -> AsyncIterator[tuple[GrpcLink, StreamSite]]:
    """A link to a server."""
    async with listening(**more) as (listener, site), linked(listener.url) as link:
        yield link, site


@asynccontextmanager
async def foreign(url: str, **more: Any) -> AsyncIterator[Any]:
    """A client that is not ours, a grpc.aio.Channel (whose stubs want a serializer)."""
    async with grpc.aio.insecure_channel(url.partition("://")[2], **more) as channel:
        yield channel


def head(endpoint: str, shape: Shape = Shape.UNARY, **more: Any) -> Head:
    return Head(f"/echo/{endpoint}", more.pop("codec", JSON), shape=shape, **more)


async def call(link: Link, endpoint: str = "say", body: bytes = b"{}", **more: Any) -> tuple[bytes | None, Outcome]:
    """The reply to a unary call and what came beside it."""
    channel = await link.open(head(endpoint, **more), body)
    reply = await channel.receive()
    assert channel.outcome is not None
    return reply, channel.outcome


async def rest(channel: Channel) -> list[bytes]:
    """All frames that are still to come."""
    found = []
    while (frame := await channel.receive()) is not None:
        found.append(frame)
    return found
