"""The supervisor of workers: starts them, looks after them, replaces those that end or hang, and ends them in good order.

It holds the ports and makes no executor, so that nothing of theirs can end it.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from xooai.errors import FailedPrecondition
from xooai.log import logger
from xooai.workers.absent import Absent
from xooai.workers.asking import Asking
from xooai.workers.messages import Ask, Beat, Closing, Drain, Failed, Force, Ready, Told
from xooai.workers.plan import Plan
from xooai.workers.rolling import Rolling
from xooai.workers.slots import Slot, Slots
from xooai.workers.spawned import Handed, Phase, Worker, spawned
from xooai.workers.steered import Steered
from xooai.workers.table import State, Table
from xooai.workers.watch import TICK, Watch

__all__ = ["CannotStart", "Supervisor"]

_LOG = logger("xooai.workers")
GLANCE = 0.01  # seconds between two looks whether a process that is ending has ended
FIRST_WAIT, LONGEST_WAIT = 0.1, 30.0  # seconds between the starts of a worker that does not last, doubled each time
LASTS = 10.0  # seconds after which a worker that ends is started again at once
MARGIN = 15.0  # seconds beside the grace for a worker to end: as long as listeners take for calls that ignore their end
_TERMINATED = 128 + signal.SIGTERM  # the exit code of one that was not ready yet
_LINES = 60  # of a stack: the thread that hangs comes first


class CannotStart(FailedPrecondition):
    """A worker cannot start, and never could. `exit_code` is that of the program."""

    exit_code = 1


class Supervisor:
    """Of one server. Belongs to the loop that it is made on."""

    def __init__(
        self,
        plan: Plan,
        handed: Handed,
        table: Table,
        absent: Absent,
        steered: Steered,
        tell: Callable[[str], None],
    ) -> None:
        """`tell` shows how far the start is; `absent` answers while no worker does, of those in the `table`."""
        self._absent = absent
        self._steered = steered
        self._plan = plan
        self._table = table
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._slots = slots = Slots(plan, handed, table)
        self._alive: set[Worker] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._asking = Asking(self._alive, slots.state)
        self._watch = Watch(self._alive, slots.tell, self._loads, steered.look)
        drain = partial(self._drain, is_last=False)
        self._rolling = Rolling(slots, self._spawn, drain, plan.ending[0] + MARGIN)
        self._is_stopping = False
        self._failed: asyncio.Future[Worker] = self._loop.create_future()
        """The worker that could not start when none ever had."""
        self._was_up = False
        self.has_cut = False
        """Whether calls were cut off at the end of a worker that was told to end."""

    # -- from start to end

    async def start(self) -> str:
        """Start all workers; return what a server alone prints once it is up. Raises CannotStart."""
        self._begin(self._watch.look())
        for slot in self._slots.all:
            await self._fill(slot)
            if slot.worker is None:
                raise CannotStart(f"worker {slot.number} cannot start: this process has no room for another one")
        ups = asyncio.gather(*(slot.worker.up for slot in self._slots.all if slot.worker is not None))
        ends: list[asyncio.Future[Any]] = [ups, self._failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if self._failed.done():
            worker = self._failed.result()
            reason, code = worker.failure or (worker.how(), 1)
            error = CannotStart(f"worker {worker.number} cannot start: {reason}")
            error.exit_code = code
            raise error
        self._was_up = True
        return next(slot.worker.banner for slot in self._slots.all if slot.worker is not None)

    async def stop(self, forced: asyncio.Event) -> None:
        """End all workers: calls under way have the grace, until `forced`."""
        self._is_stopping = self._rolling.is_over = True
        patience = sum(self._plan.ending) + MARGIN
        await self._stopped([one for one in self._alive if not self._slots.of(one).own], forced, patience)
        await self._stopped(list(self._alive), forced, MARGIN)  # whose callers have left
        await self._absent.leave()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _stopped(self, workers: Sequence[Worker], forced: asyncio.Event, patience: float) -> None:
        """End workers, within so many seconds."""
        for worker in workers:
            self._drain(worker, is_last=True)
        force = asyncio.ensure_future(forced.wait())
        await _until_ended(workers, {force}, patience)
        force.cancel()
        for worker in workers:
            if worker.connection is not None:
                worker.connection.send(Force())
        await _until_ended(workers, set(), MARGIN / 2 if forced.is_set() else TICK)
        for worker in workers:
            worker.signal(signal.SIGKILL)
        await _until_ended(workers, set(), MARGIN)

    def _drain(self, worker: Worker, *, is_last: bool) -> None:
        if is_last and worker.phase is Phase.READY:  # it takes connections for a while, as the others do
            self._loop.call_later(self._plan.ending[1], self._steered.leave, worker)
        else:
            self._slots.tell(worker, State.NONE)  # one that hangs does not do so itself
            self._steered.leave(worker)
        if worker.connection is not None:
            worker.connection.send(Drain(is_last))
        if worker.phase is not Phase.READY:
            worker.beat = time.monotonic()  # one that loads gave no sign of life, and has the time of others now
            worker.signal(signal.SIGTERM)
        worker.phase = Phase.DRAINS

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- one worker

    async def _fill(self, slot: Slot) -> Worker | None:
        """Start a worker in its place. Where there is no room for it now, it is tried again."""
        worker = await self._spawn(slot)
        if worker is None:
            slot.failures += 1
            self._begin(self._again(slot, slot.worker))
        else:
            slot.worker = worker
        return worker

    async def _spawn(self, slot: Slot) -> Worker | None:
        number, handed = slot.number, slot.handed
        taken = {worker.row for worker in self._alive if self._slots.of(worker).handed is handed}
        row = next(row for row in range(handed.rows) if row not in taken)
        try:
            worker = await spawned(handed, number, row, self._plan.device(number), slot.own)
        except OSError as error:
            _LOG.error("worker %d cannot be started: %s", number, error.strerror or error)
            return None
        slot.table.tell(row, State.STARTS)
        self._alive.add(worker)
        device = self._plan.device(number)
        where = f" on {device}" if device is not None else ""
        self._tell(f"{self._named(worker)} loads{slot.what}{where}")
        self._begin(self._listen(worker))
        if self._is_stopping:  # since its start was begun
            self._drain(worker, is_last=True)
        return worker

    async def _listen(self, worker: Worker) -> None:
        """Do what a worker says, until it has ended."""
        connection = worker.connection
        while connection is not None and (message := await connection.receive()) is not None:
            worker.beat, worker.hung = time.monotonic(), None
            match message:
                case Beat(stage):
                    worker.stage = stage or worker.stage
                case Closing():
                    worker.is_closing = True
                case Ready(banner):
                    self._up(worker, banner)
                case Failed(reason, code):
                    worker.failure = reason, code
                case Ask(id, name):
                    self._begin(self._asking.answer(worker, id, name))
                case Told(id, answer):
                    self._asking.told(id, answer)
        patience = time.monotonic() + MARGIN
        while worker.process.poll() is None:  # its socket is closed a moment before it has ended
            await asyncio.sleep(GLANCE)  # no child watcher: that of asyncio takes a thread for each process
            if time.monotonic() > patience:
                worker.signal(signal.SIGKILL)
        self._gone(worker)

    def _named(self, worker: Worker) -> str:
        return f"worker {worker.number} of {len(self._slots.all)}"

    def _loads(self, worker: Worker, seconds: float) -> None:
        """Tell of a worker that still loads, and at what it is."""
        self._tell(f"{self._named(worker)} still loads after {seconds:.0f} s: {worker.stage}")

    def _up(self, worker: Worker, banner: str) -> None:
        if worker.phase is Phase.STARTS:
            worker.phase, worker.banner = Phase.READY, banner
            slot = self._slots.of(worker)
            if not slot.own:  # before others are told that it is ready, and place connections there
                self._steered.enter(worker)
            slot.table.tell(worker.row, State.READY)
            seconds = time.monotonic() - worker.began
            self._tell(f"{self._named(worker)} is ready after {seconds:.1f} s")
            worker.up.set_result(True)
            if not slot.own:
                self._steered.look()
                self._begin(self._absent.leave())

    def _gone(self, worker: Worker) -> None:
        """A worker has ended: for whatever reason."""
        phase, worker.phase = worker.phase, Phase.ENDED
        slot = self._slots.of(worker)
        slot.table.clear(worker.row)
        self._steered.end(worker)
        self._alive.discard(worker)
        if not worker.up.done():
            worker.up.set_result(False)
        worker.ended.set_result(None)
        if phase is Phase.DRAINS and worker.process.returncode not in (0, -signal.SIGTERM, _TERMINATED):
            self.has_cut = self.has_cut or self._is_stopping
        if phase is not Phase.DRAINS:
            self._report(worker)
            if not self._was_up and phase is Phase.STARTS:
                if not self._failed.done():  # else two have failed in the same moment
                    self._failed.set_result(worker)
            elif slot.worker is worker and not self._is_stopping:
                lasted = phase is Phase.READY and time.monotonic() - worker.began > LASTS
                slot.failures = 0 if lasted else slot.failures + 1
                slot.restarts += 1
                self._begin(self._again(slot, worker))
        worker.close()

    def _report(self, worker: Worker) -> None:
        if worker.failure is not None:
            if self._was_up:
                _LOG.error("worker %d cannot start: %s", worker.number, worker.failure[0])
            return
        if self._was_up or worker.phase is not Phase.STARTS:
            _LOG.error("worker %d (process %d) %s", worker.number, worker.pid, worker.how())
        for line in worker.stack()[:_LINES]:
            _LOG.error("worker %d: %s", worker.number, line)

    async def _again(self, slot: Slot, before: Worker | None) -> None:
        """Start a worker again, in place of the one before: at once, or later and later where none lasts."""
        if slot.failures > 1:
            wait = min(FIRST_WAIT * 2 ** (slot.failures - 2), LONGEST_WAIT)
            if slot.failures > 3:
                _LOG.error(
                    "worker %d has ended %d times in a row; it is started again in %g s",
                    slot.number,
                    slot.failures,
                    wait,
                )
            if not self._table.has(State.READY):
                await self._absent.enter()
            await asyncio.sleep(wait)
        if not self._is_stopping and slot.worker is before:  # else one has been put there meanwhile, as new workers are
            await self._fill(slot)

    # -- new workers for old ones

    def roll(self) -> None:
        """Replace the workers one by one, each once its successor is ready."""
        if self._is_stopping:
            return
        if not self._was_up:
            _LOG.warning("the workers are being started; they are not replaced")
        elif self._rolling.is_under_way:
            self._rolling.again()
        else:
            self._rolling.is_under_way = True
            self._begin(self._rolled())

    async def _rolled(self) -> None:
        if await self._rolling.roll():
            self._tell(f"all {len(self._slots.all)} workers are new")


async def _until_ended(workers: Sequence[Worker], others: set[asyncio.Future[Any]], patience: float) -> None:
    """Wait for workers to end, one of `others` to be done, or so many seconds."""
    ends = [worker.ended for worker in workers if not worker.ended.done()]
    if ends:
        everyone = asyncio.gather(*ends)
        await asyncio.wait({everyone, *others}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
