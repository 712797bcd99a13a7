"""The bytes of one call, paid for by the key that it was made with: a stream goes as fast as that allows, others come later."""

from __future__ import annotations

import asyncio

from xooai.call import StreamCall, never
from xooai.driver import Channel
from xooai.keys.share import Share
from xooai.watching import Watch

__all__ = ["Metered"]


class Metered:
    """Counts what goes in and out of a call, as frames. Implements `xooai.watching.Watcher`."""

    def __init__(self, share: Share, bandwidth: float, channel: Channel, is_known: bool) -> None:
        """What is held of a request has come already, and is paid for before another call is let in."""
        self._share, self._bandwidth = share, bandwidth
        self._paid = 0
        self._pay(getattr(channel, "held", 0))

    def began(self, watch: Watch) -> None:
        if isinstance(watch.call, StreamCall):
            self._slow(watch, watch.call)

    def gave(self, watch: Watch) -> None:
        """It is paid for like what comes after it."""

    def ended(self, watch: Watch) -> None:
        self._pay(watch.received + watch.sent)

    def _pay(self, size: int) -> None:
        """So many bytes were moved in all."""
        if size > self._paid:
            self._share.pay(self._bandwidth, size - self._paid)
            self._paid = size

    def _slow(self, watch: Watch, call: StreamCall) -> None:
        """Have each frame wait until those before it are paid for: what is not taken holds the peer up, by its window."""
        receive, send = call.receive, call.send

        async def receiving() -> bytes | None:
            await self._due(watch)
            return await receive()

        async def sending(frame: bytes, codec: str) -> None:
            await send(frame, codec)
            await self._due(watch)

        call.receive, call.send, call.offer = receiving, sending, never  # type: ignore[method-assign]

    async def _due(self, watch: Watch) -> None:
        self._pay(watch.received + watch.sent)
        if (seconds := self._share.owed()) > 0:
            await asyncio.sleep(seconds)
