"""What is called in the tests of traces and request ids."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from xooai import Executor, NotFound, current, post, stream

__all__ = ["Near", "Relay"]


def told() -> dict[str, Any]:
    """What a handler knows of its call."""
    call = current()
    return {"id": call.id, "trace": call.trace_id, "metadata": dict(call.metadata)}


class Near(Executor):
    """Tells what it knows of its calls."""

    def __init__(self, tracer: Any = None) -> None:
        self._tracer = tracer

    @post
    def in_thread(self, n: int = 0) -> dict[str, Any]:
        if self._tracer is not None:
            with self._tracer.start_as_current_span("own"):
                return told()
        return told()

    @post
    async def on_loop(self, n: int = 0) -> dict[str, Any]:
        return told()

    @post
    async def lost(self, n: int = 0) -> str:
        raise NotFound("there is nothing at https://me:hunter2@host/?sig=hunter3")

    @post
    async def broken(self, n: int = 0) -> str:
        raise KeyError("hunter4")

    @stream
    async def count(self, n: int) -> AsyncIterator[int]:
        for index in range(n):
            yield index


class Relay(Executor):
    """Calls another server from its handlers."""

    def __init__(self, near: Any, name: str = "relay") -> None:
        super().__init__(name=name)
        self._near = near

    @post
    async def ask(self, what: str) -> dict[str, Any]:
        return dict(await self._near.apost(on=what))

    @post
    async def sum(self, n: int) -> int:
        return sum([item async for item in self._near.astream("count", n=n)])
