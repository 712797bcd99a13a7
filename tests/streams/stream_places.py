"""Places where a program that streams is called from: in its process now, over each driver once it carries streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from xooai import Executor

IN_PROCESS = ""
PLACES = {
    "in process": IN_PROCESS,
    "over pipe": "pipe://127.0.0.1:0",
    "over http": "http://127.0.0.1:0",
    "over grpc": "grpc://127.0.0.1:0",
    "over memory": "memory://streams",
}
"""How an executor is reached: the URL that it listens at; a driver that carries streams gets its line here."""

PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run


class Here:
    """An executor whose calls are written by one codec, as those of a client are."""

    def __init__(self, executor: Executor, codec: str) -> None:
        calls: list[Callable[..., Any]] = [executor.stream, executor.astream, executor.open, executor.post]
        self.stream, self.astream, self.open, self.post = (partial(call, codec=codec) for call in calls)


class Place:
    """Keeps executors where they are called from, until the test ends."""

    def __init__(self, url: str, codec: str, stack: ExitStack) -> None:
        self.is_remote = url != IN_PROCESS
        self.codec = codec
        self._url = url
        self._stack = stack

    def __call__(self, executor: Executor, **options: Any) -> Any:
        """What a caller of this executor holds: itself, or a client of its class."""
        self._stack.enter_context(executor)
        if not self.is_remote:
            return Here(executor, self.codec)
        return self._stack.enter_context(type(executor).at(executor.start(self._url)[0], codec=self.codec, **options))

    def without_class(self, executor: Executor) -> Any:
        """The same for a caller that has not got the class."""
        self._stack.enter_context(executor)
        if not self.is_remote:
            return Here(executor, self.codec)
        return self._stack.enter_context(Executor(f"{executor.start(self._url)[0]}/{executor.name}"))


def within(work: Any, patience: float = PATIENCE) -> Any:
    """Run a coroutine to its end, which is not far."""

    async def limited() -> Any:
        async with asyncio.timeout(patience):
            return await work

    return asyncio.run(limited())
