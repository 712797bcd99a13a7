"""The echoing site behind QUIC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from echoing import StreamSite
from xooai.driver import ListenOptions
from xooai_quic.driver import QuicDriver
from xooai_quic.limits import Limits
from xooai_quic.listener import QuicListener

__all__ = ["listening"]


@asynccontextmanager
async def listening(
    options: ListenOptions,
    limits: Limits | None = None,
    url: str = "quic://127.0.0.1:0",
    site: StreamSite | None = None,
) -> AsyncIterator[tuple[QuicListener, StreamSite]]:
    site = site or StreamSite()
    listener = await QuicDriver(limits or Limits()).listen(url, site, options)
    try:
        yield listener, site
    finally:
        site.released.set()
        await listener.aclose()
