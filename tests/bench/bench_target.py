"""What the tests of load call: endpoints that stall, refuse, stream, and end the run by a signal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from xooai import Executor, ResourceExhausted, Text, Unauthenticated, current, post, stream

STALL = 0.4  # seconds for which nothing is answered


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> Any:
        assert self.out.count("\n") == 1, self.out + self.err
        return json.loads(self.out)


class Target(Executor):
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    @post
    async def echo(self, doc: Text) -> Text:
        self.calls += 1
        return doc

    @post
    async def stall(self, at: int) -> int:
        """The call of this number keeps all others waiting."""
        self.calls += 1
        if self.calls == at:
            time.sleep(STALL)  # noqa: ASYNC251 - so that nothing else is answered
        return self.calls

    @post
    async def slow(self) -> int:
        await asyncio.sleep(0.05)
        return 1

    @post
    async def refuse(self, each: int) -> int:
        self.calls += 1
        if self.calls % each == 0:
            raise ResourceExhausted("no place\nis left")
        return 1

    @post
    async def known(self) -> int:
        if current().metadata.get("token") != "right":
            raise Unauthenticated("who are you?")
        return 1

    @post
    async def interrupt(self, at: int) -> int:
        """The call of this number ends the run, as somebody who presses Ctrl-C, and never ends itself."""
        self.calls += 1
        if self.calls == at:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        return 1

    @stream
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @stream
    async def total(self, doc: AsyncIterator[int]) -> int:
        return sum([number async for number in doc])
