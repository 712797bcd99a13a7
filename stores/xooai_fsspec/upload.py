"""A content on its way into an upload of parts, which learns how the content ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

__all__ = ["Abandoned", "Upload"]


class Abandoned(Exception):
    """What ends an upload whose content did not end well, so that it removes its parts."""


class Upload:
    """An upload under way, as a task that ends when the parts are together, or removed: also where the loop ends before it."""

    def __init__(self, send: Callable[[AsyncGenerator[bytes, None]], Awaitable[Any]]) -> None:
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(1)  # what waits here is beside the parts under way
        self._is_abandoned = False
        self._sending = asyncio.ensure_future(send(self._given()))
        self.task = asyncio.ensure_future(self._sent())
        self.task.add_done_callback(self._on_done)

    async def put(self, chunk: bytes) -> bool:
        """Hand over a chunk; wait while there is one. Whether the upload goes on: where it has ended, `end` tells by what."""
        if not self.task.done():
            await self._chunks.put(chunk)
        return not self.task.done()

    async def end(self) -> None:
        """Tell that all was put, and wait until it is stored. Raises what the upload has ended by."""
        if not self.task.done():
            await self._chunks.put(None)
        await asyncio.shield(self.task)

    def abandon(self) -> None:
        """Have the upload end without storing anything; who waits for that waits for `task`."""
        if not self._is_abandoned:
            self._is_abandoned = True
            self._make_room()
            self._chunks.put_nowait(None)

    async def _sent(self) -> None:
        try:
            await asyncio.shield(self._sending)
        except asyncio.CancelledError:  # the loop ends: what is cancelled now would leave its parts behind
            self.abandon()
            await asyncio.wait([self._sending])
            _seen(self._sending)
            raise

    async def _given(self) -> AsyncGenerator[bytes, None]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk
        if self._is_abandoned:
            raise Abandoned

    def _on_done(self, task: asyncio.Future[None]) -> None:
        _seen(task)  # who abandoned it does not ask
        self._make_room()

    def _make_room(self) -> None:
        while not self._chunks.empty():
            self._chunks.get_nowait()


def _seen(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
