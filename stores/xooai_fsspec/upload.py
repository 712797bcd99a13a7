"""A content on its way into an upload of parts, which learns how the content ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

__all__ = ["Upload"]


class Abandoned(Exception):
    """What ends an upload whose content did not end well, so that it removes its parts."""


class Upload:
    """An upload under way. It is a task of its own, and never cancelled: that would leave its parts behind."""

    def __init__(self, send: Callable[[AsyncGenerator[bytes, None]], Awaitable[None]]) -> None:
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(1)  # what waits here is beside the parts under way
        self._is_abandoned = False
        self.task = asyncio.ensure_future(send(self._given()))
        self.task.add_done_callback(self._on_done)

    async def put(self, chunk: bytes) -> None:
        """Hand over a chunk; wait while there is one. Raises what the upload has ended by."""
        await self._chunks.put(chunk)
        if self.task.done():
            await self.task

    async def end(self) -> None:
        """Tell that all was put, and wait until it is stored."""
        await self._chunks.put(None)
        await asyncio.shield(self.task)

    def abandon(self) -> None:
        """Have the upload end without storing anything; who waits for that waits for `task`."""
        self._is_abandoned = True
        self._make_room()
        self._chunks.put_nowait(None)

    async def _given(self) -> AsyncGenerator[bytes, None]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk
        if self._is_abandoned:
            raise Abandoned

    def _on_done(self, task: asyncio.Future[None]) -> None:
        if not task.cancelled():
            task.exception()  # who abandoned it does not ask
        self._make_room()

    def _make_room(self) -> None:
        while not self._chunks.empty():
            self._chunks.get_nowait()
