"""Calls at a rate to a program that serves by workers, each of which is known: where it was, how long it took, how it ended."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any
from uuid import uuid4

from supervised import PATIENCE
from worker_program import Faulty

from xooai import XooaiError

__all__ = ["Call", "Load", "Notes", "ended", "stays"]


@dataclass(slots=True)
class Call:
    """One of a load. Times are of the monotonic clock."""

    door: str = ""
    """The process that had the connection of its client when the load began, where that is known."""
    id: str = field(default_factory=lambda: uuid4().hex)
    began: float = field(default_factory=time.monotonic)
    ended: float = nan
    by: str = ""
    """The process that has answered it."""
    error: XooaiError | None = None


def stays() -> dict[str, str]:
    """Metadata of a call that the worker answers which has its connection: what has a key is passed on to nobody."""
    return {"idempotency-key": uuid4().hex}


class Load:
    """Calls at a rate, by clients in turn, whether those before have been answered or not."""

    def __init__(
        self, url: str, rate: float, clients: int = 1, on: str = "note", *, key: str | None = None, **given: Any
    ) -> None:
        """`key` is the API key of the clients; what is `given` goes with each call."""
        metadata = {"authorization": key} if key is not None else {}
        self.clients = [Faulty.at(url, timeout=60, metadata=metadata) for _ in range(clients)]
        self.rate = rate
        self.calls: list[Call] = []
        self.doors = [""] * clients
        self._on, self._given = on, given
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def answered(self) -> list[Call]:
        return [call for call in self.calls if call.by]

    @property
    def failed(self) -> list[tuple[Call, XooaiError]]:
        return [(call, call.error) for call in self.calls if call.error is not None]

    async def connected(self) -> None:
        """Connect all clients, and learn whose connections they have."""
        whose = [client.apost(on="who", metadata=stays()) for client in self.clients]
        self.doors = [told["pid"] for told in await asyncio.gather(*whose)]

    async def run(self, seconds: float) -> None:
        began = time.monotonic()
        count = 0
        while time.monotonic() < began + seconds:
            self._tasks.add(asyncio.create_task(self._one(count % len(self.clients))))
            count += 1
            await asyncio.sleep(max(0.0, began + count / self.rate - time.monotonic()))

    async def over(self) -> None:
        """Wait for all calls to end, and leave."""
        await asyncio.gather(*self._tasks)
        async with AsyncExitStack() as stack:
            for client in self.clients:
                stack.push_async_exit(client)

    async def _one(self, number: int) -> None:
        call = Call(self.doors[number])
        self.calls.append(call)
        try:
            call.by = await self.clients[number].apost(on=self._on, id=call.id, **self._given)
        except XooaiError as error:
            call.error = error
        call.ended = time.monotonic()


class Notes:
    """What the program has noted of the calls to `work` and `work_again`: in which processes each began, and which are done."""

    def __init__(self, file: Path) -> None:
        lines = [line.split() for line in file.read_text().splitlines()]
        self.began = [(id, pid) for id, what, pid in lines if what == "began"]
        self.done = {(id, pid) for id, what, pid in lines if what == "done"}
        self.times = Counter(id for id, _ in self.began)

    def cut_off(self, pid: str) -> set[str]:
        """The calls that a process had begun and never ended."""
        return {id for id, by in self.began if by == pid and (id, by) not in self.done}

    def by(self, pid: str) -> set[str]:
        """The calls that a process has begun."""
        return {id for id, by in self.began if by == pid}


async def ended(pids: set[str]) -> tuple[str, float]:
    """Which of these processes ends first, and when."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[tuple[str, float]] = loop.create_future()

    def tell(pid: str) -> None:
        if not found.done():
            found.set_result((pid, time.monotonic()))

    files = {pid: os.pidfd_open(int(pid)) for pid in pids}
    try:
        for pid, file in files.items():
            loop.add_reader(file, tell, pid)  # it is readable once the process has ended (pidfd_open(2))
        async with asyncio.timeout(PATIENCE):
            return await found
    finally:
        for file in files.values():
            loop.remove_reader(file)
            os.close(file)
