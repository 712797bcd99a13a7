"""Questions of one worker to all others, by way of the supervisor."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Collection

from xooai import control
from xooai.workers.messages import Answers, Question
from xooai.workers.spawned import Phase, Worker

__all__ = ["LATE", "STATE", "Asking"]

STATE = "workers"
"""What a worker asks for, to be told by the supervisor how all of them are."""
LATE = 1.5  # seconds without a sign of life, after which a worker is asked nothing, and given no more connections
_PART = 0.9  # of the time for all answers, which the asking worker waits for: the rest is for the way


class Asking:
    """The questions under way. `alive` are the workers as they come and go, `state` what the supervisor itself answers."""

    def __init__(self, alive: Collection[Worker], state: Callable[[], bytes]) -> None:
        self._alive, self._state = alive, state
        self._waiting: dict[int, asyncio.Future[bytes | None]] = {}
        self._ids = itertools.count()

    def told(self, id: int, answer: bytes | None) -> None:
        """A worker has answered."""
        asked = self._waiting.get(id)
        if asked is not None and not asked.done():
            asked.set_result(answer)

    async def answer(self, worker: Worker, id: int, name: str) -> None:
        """Ask all others that serve, and send their answers to the worker that has asked."""
        asked: dict[int, asyncio.Future[bytes | None]] = {}
        for other in self._alive:
            is_serving = other.phase in (Phase.READY, Phase.DRAINS) and time.monotonic() - other.beat < LATE
            if other is not worker and is_serving and other.connection is not None:
                number = next(self._ids)
                asked[number] = self._waiting[number] = asyncio.get_running_loop().create_future()
                other.connection.send(Question(number, name))
        try:
            if asked:
                await asyncio.wait(asked.values(), timeout=control.WAIT * _PART)
        finally:
            for number in asked:
                del self._waiting[number]
        # A program that is served by its own script has answers of its own here, too, where it serves nothing.
        found = [self._state() if name == STATE else None, *(one.result() for one in asked.values() if one.done())]
        if worker.connection is not None:
            worker.connection.send(Answers(id, [one for one in found if one is not None]))
