"""Looking after workers: whether they live, whether their loops run, and how far those are that load."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Collection
from math import nan

from xooai.errors import InvalidArgument
from xooai.log import logger
from xooai.workers.asking import LATE
from xooai.workers.spawned import Phase, Worker
from xooai.workers.table import State

__all__ = ["HUNG", "HUNG_AFTER", "TELLS", "TICK", "Watch"]

_LOG = logger("xooai.workers")
TICK = 0.5  # seconds between two looks at the workers
HUNG = "XOOAI_HUNG"
"""The environment variable with the seconds without a sign of life after which a worker is replaced."""
HUNG_AFTER = 3.5  # where it is not set: six beats. Its connections are reset, and calls go elsewhere
STACK = 0.3  # seconds for a stuck worker to write what it is doing
TELLS = 10.0  # seconds between two words on one that loads: models take from seconds to many minutes


class Watch:
    """Over the workers that are `alive`, as they come and go; `tell` has others see the state of one."""

    def __init__(
        self,
        alive: Collection[Worker],
        tell: Callable[[Worker, State], None],
        loads: Callable[[Worker, float], None],
        looked: Callable[[], None],
    ) -> None:
        """`loads` is told of one that has loaded for so many seconds, now and then; `looked` is called after each look at all."""
        self._alive, self._tell, self._loads, self._looked = alive, tell, loads, looked
        self._ticked = time.monotonic()
        self._hung_after = _seconds(HUNG, HUNG_AFTER)

    async def look(self) -> None:
        """Look at them all the time."""
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            if now - self._ticked > 2 * TICK:
                # It was this process that was held up, and their beats are yet to be read.
                for worker in self._alive:
                    worker.beat = max(worker.beat, now)
            self._ticked = now
            for worker in list(self._alive):
                if worker.process.poll() is not None and worker.connection is not None:
                    worker.connection.close()  # which a child that it has left behind may hold open
                if worker.phase in (Phase.READY, Phase.DRAINS) and not worker.is_closing:
                    self._look_at(worker, now)
                elif worker.phase is Phase.STARTS and now - worker.told >= TELLS:
                    worker.told = now
                    self._loads(worker, now - worker.began)
            self._looked()

    def _look_at(self, worker: Worker, now: float) -> None:
        silent = now - worker.beat
        if worker.phase is Phase.READY:
            self._tell(worker, State.NONE if silent > LATE else State.READY)
        if silent > self._hung_after and worker.hung is None:
            worker.hung = now
            _LOG.error(
                "worker %d (process %d) hangs: its loop has not run for %.1f s; it is %s",
                worker.number,
                worker.pid,
                silent,
                "replaced" if worker.phase is Phase.READY else "ended",
            )
            worker.signal(signal.SIGQUIT)  # by which it writes its stacks
            asyncio.get_running_loop().call_later(STACK, self._kill, worker)

    def _kill(self, worker: Worker) -> None:
        if worker.hung is not None:  # else it has come back in the meantime
            worker.signal(signal.SIGKILL)


def _seconds(name: str, usual: float) -> float:
    """What a variable says, or what is usual. Raises InvalidArgument."""
    given = os.environ.get(name) or usual
    try:
        found = float(given)
    except ValueError:
        found = nan
    if not found > 0:
        raise InvalidArgument(f"{name}={given!r} is no number of seconds; it takes one above 0, as {usual:g}")
    return max(found, LATE)
