"""The supervisor of workers: starts them, looks after them, replaces those that end or hang, and ends them in good order.

It holds the ports and makes no executor, so that nothing of theirs can end it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from math import nan
from typing import Any

import msgspec

from xooai.driver import Taken
from xooai.errors import FailedPrecondition, InvalidArgument
from xooai.log import logger
from xooai.workers.absent import Absent
from xooai.workers.asking import LATE, Asking
from xooai.workers.messages import Ask, Beat, Closing, Drain, Failed, Force, Ready, Told
from xooai.workers.plan import Plan
from xooai.workers.spawned import Handed, Phase, Worker, spawned
from xooai.workers.steered import Steered
from xooai.workers.table import State, Table, unnamed_file

__all__ = ["CannotStart", "Supervisor", "handed_out"]

_LOG = logger("xooai.workers")
TICK = 0.5  # seconds between two looks at the workers
HUNG = "XOOAI_HUNG"
"""The environment variable with the seconds without a sign of life after which a worker is replaced."""
HUNG_AFTER = 3.5  # where it is not set: six beats. Its connections are reset, and calls go elsewhere
GLANCE = 0.01  # seconds between two looks whether a process that is ending has ended
STACK = 0.3  # seconds for a stuck worker to write what it is doing
FIRST_WAIT, LONGEST_WAIT = 0.1, 30.0  # seconds between the starts of a worker that does not last, doubled each time
LASTS = 10.0  # seconds after which a worker that ends is started again at once
MARGIN = 15.0  # seconds beside the grace for a worker to end: as long as listeners take for calls that ignore their end
_TERMINATED = 128 + signal.SIGTERM  # the exit code of one that was not ready yet
_LINES = 60  # of a stack: the thread that hangs comes first


class CannotStart(FailedPrecondition):
    """A worker cannot start, and never could. `exit_code` is that of the program."""

    exit_code = 1


class _Slot:
    """The place of one worker, by its number: who is in it, and how those before fared."""

    def __init__(self, number: int, own: str, handed: Handed, table: Table) -> None:
        """`own` is the executor that is isolated in it; "" where it takes calls."""
        self.number = number
        self.own = own
        self.handed, self.table = handed, table
        self.worker: Worker | None = None
        self.failures = 0
        """How many have ended one after the other without having lasted."""
        self.restarts = 0


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
        self._fronts = [_Slot(number, "", handed, table) for number in range(1, plan.count + 1)]
        apart = _set_apart(plan, handed)
        self._isolated = [_Slot(plan.count + place, own, *apart) for place, own in enumerate(plan.isolated, start=1)]
        self._slots = [*self._fronts, *self._isolated]
        self._alive: set[Worker] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._asking = Asking(self._alive, self._state)
        self._ticked = time.monotonic()
        self._hung_after = _seconds(HUNG, HUNG_AFTER)
        self._is_rolling = self._is_asked_again = self._is_stopping = False
        self._successor: Worker | None = None
        """Whose start the others wait for while they are replaced."""
        self._failed: asyncio.Future[Worker] = self._loop.create_future()
        """The worker that could not start when none ever had."""
        self._was_up = False
        self.has_cut = False
        """Whether calls were cut off at the end of a worker that was told to end."""

    # -- from start to end

    async def start(self) -> str:
        """Start all workers; return what a server alone prints once it is up. Raises CannotStart."""
        self._begin(self._ticking())
        for slot in self._slots:
            await self._fill(slot)
            if slot.worker is None:
                raise CannotStart(f"worker {slot.number} cannot start: this process has no room for another one")
        ups = asyncio.gather(*(slot.worker.up for slot in self._slots if slot.worker is not None))
        ends: list[asyncio.Future[Any]] = [ups, self._failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if self._failed.done():
            worker = self._failed.result()
            reason, code = worker.failure or (worker.how(), 1)
            error = CannotStart(f"worker {worker.number} cannot start: {reason}")
            error.exit_code = code
            raise error
        self._was_up = True
        return next(slot.worker.banner for slot in self._slots if slot.worker is not None)

    async def stop(self, forced: asyncio.Event) -> None:
        """End all workers: calls under way have the grace, until `forced`."""
        self._is_stopping = True
        patience = sum(self._plan.ending) + MARGIN
        await self._stopped([one for one in self._alive if not self._slot(one).own], forced, patience)
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

    async def _fill(self, slot: _Slot) -> Worker | None:
        """Start a worker in its place. Where there is no room for it now, it is tried again."""
        worker = await self._spawn(slot)
        if worker is None:
            slot.failures += 1
            self._begin(self._again(slot, slot.worker))
        else:
            slot.worker = worker
        return worker

    def _slot(self, worker: Worker) -> _Slot:
        return self._slots[worker.number - 1]

    async def _spawn(self, slot: _Slot) -> Worker | None:
        number, handed = slot.number, slot.handed
        taken = {worker.row for worker in self._alive if self._slot(worker).handed is handed}
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
        self._tell(f"worker {number} of {len(self._slots)} loads{_what(slot)}{where}")
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
                case Beat():
                    pass
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

    def _up(self, worker: Worker, banner: str) -> None:
        if worker.phase is Phase.STARTS:
            worker.phase, worker.banner = Phase.READY, banner
            slot = self._slot(worker)
            if not slot.own:  # before others are told that it is ready, and place connections there
                self._steered.enter(worker)
            slot.table.tell(worker.row, State.READY)
            seconds = time.monotonic() - worker.began
            self._tell(f"worker {worker.number} of {len(self._slots)} is ready after {seconds:.1f} s")
            worker.up.set_result(True)
            if not slot.own:
                self._steered.look()
                self._begin(self._absent.leave())

    def _gone(self, worker: Worker) -> None:
        """A worker has ended: for whatever reason."""
        phase, worker.phase = worker.phase, Phase.ENDED
        slot = self._slot(worker)
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

    async def _again(self, slot: _Slot, before: Worker | None) -> None:
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

    # -- looking after them

    async def _ticking(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            if (
                now - self._ticked > 2 * TICK
            ):  # it was this process that was held up, and their beats are yet to be read
                for worker in self._alive:
                    worker.beat = max(worker.beat, now)
            self._ticked = now
            for worker in list(self._alive):
                if worker.process.poll() is not None and worker.connection is not None:
                    worker.connection.close()  # which a child that it has left behind may hold open
                if worker.phase in (Phase.READY, Phase.DRAINS) and not worker.is_closing:
                    self._look_at(worker, now)
            self._steered.look()

    def _look_at(self, worker: Worker, now: float) -> None:
        silent = now - worker.beat
        if worker.phase is Phase.READY:
            self._slot(worker).table.tell(worker.row, State.NONE if silent > LATE else State.READY)
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
            self._loop.call_later(STACK, self._kill, worker)

    def _kill(self, worker: Worker) -> None:
        if worker.hung is not None:  # else it has come back in the meantime
            worker.signal(signal.SIGKILL)

    # -- new workers for old ones

    def roll(self) -> None:
        """Replace the workers one by one, each once its successor is ready."""
        if self._is_stopping:
            return
        if not self._was_up:
            _LOG.warning("the workers are being started; they are not replaced")
            return
        if self._is_rolling:  # what has changed since is read, too
            self._is_asked_again = True
            if self._successor is not None and self._successor.phase is Phase.STARTS:
                self._drain(self._successor, is_last=False)
            return
        self._is_rolling = True
        self._begin(self._rolled())

    async def _rolled(self) -> None:
        try:
            are_new = await self._each_replaced()
            while self._is_asked_again and not self._is_stopping:
                self._is_asked_again = False
                are_new = await self._each_replaced()
            if are_new:
                self._tell(f"all {len(self._slots)} workers are new")
        finally:
            self._is_rolling = self._is_asked_again = False

    async def _each_replaced(self) -> bool:
        """Whether all are new; not where it is to be begun again."""
        for slot in (*self._isolated, *self._fronts):
            if not await self._replaced(slot) or self._is_stopping or self._is_asked_again:
                return False
        return True

    async def _replaced(self, slot: _Slot) -> bool:
        """Whether a new worker has taken a place; else the old one goes on."""
        new = self._successor = await self._spawn(slot)
        if new is None or not await new.up:
            if self._is_asked_again:
                return False
            _LOG.error("the workers are not replaced: worker %d could not start; those that serve go on", slot.number)
            return False
        old, slot.worker = slot.worker, new
        slot.failures = 0
        if old is not None and old.phase is not Phase.ENDED:
            self._drain(old, is_last=False)
            await asyncio.wait([old.ended], timeout=self._plan.ending[0] + MARGIN)
            old.signal(signal.SIGKILL)
            await old.ended
        return True

    def _state(self) -> bytes:
        """How the workers are, as JSON: what asks for `workers` is given."""
        now = time.monotonic()
        return json.dumps(
            [
                {
                    "number": slot.number,
                    "isolated": slot.own or None,
                    "device": self._plan.device(slot.number),
                    "state": "waits" if slot.worker is None else slot.worker.phase.name.lower(),
                    "pid": None if slot.worker is None else slot.worker.pid,
                    "age": None if slot.worker is None else round(now - slot.worker.began, 1),
                    "restarts": slot.restarts,
                }
                for slot in self._slots
            ]
        ).encode()


async def _until_ended(workers: Sequence[Worker], others: set[asyncio.Future[Any]], patience: float) -> None:
    """Wait for workers to end, one of `others` to be done, or so many seconds."""
    ends = [worker.ended for worker in workers if not worker.ended.done()]
    if ends:
        everyone = asyncio.gather(*ends)
        await asyncio.wait({everyone, *others}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)


def handed_out(plan: Plan, taken: Sequence[Taken], folder: str) -> tuple[Handed, Table]:
    """What all workers are given, and the table of them."""
    urls, alone = tuple(one.url for one in taken), frozenset(one.url for one in taken if one.is_alone)
    sockets = {one.url: [made.fileno() for made in one.sockets] for one in taken}
    places = {one.url: [[made.fileno() for made in own] for own in one.places] for one in taken if one.places}
    secrets = {one.url: one.secret for one in taken if one.places}
    file = unnamed_file()
    table = Table(file, plan.rows, is_new=True)
    handed = Handed(
        urls, alone, sockets, places, secrets, file, plan.rows, plan.count, folder, plan.packed(), plan.isolated
    )
    return handed, table


def _set_apart(plan: Plan, handed: Handed) -> tuple[Handed, Table]:
    """What those with isolated executors are given: no ports, and a table that the others do not look at."""
    file = unnamed_file()
    rows = 2 * len(plan.isolated) + 1
    table = Table(file, rows, is_new=True)
    nowhere = {"urls": (), "alone": frozenset(), "sockets": {}, "places": {}, "secrets": {}}
    return msgspec.structs.replace(handed, **nowhere, table=file, rows=rows), table


def _what(slot: _Slot) -> str:
    return f" {slot.own}, isolated," if slot.own else ""


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
