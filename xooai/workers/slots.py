"""The places of workers: who is in each, how those before fared, and what all are given alike."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import msgspec

from xooai.driver import Taken
from xooai.workers.plan import Plan
from xooai.workers.spawned import Handed, Phase, Worker
from xooai.workers.table import State, Table, unnamed_file

__all__ = ["Slot", "Slots", "handed_out"]


class Slot:
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

    @property
    def what(self) -> str:
        """What is in it beside calls, as a part of a sentence."""
        return f" {self.own}, isolated," if self.own else ""

    def state(self, device: str | None, now: float) -> dict[str, object]:
        """How its worker is, at a time in monotonic seconds, for who asks."""
        worker = self.worker
        loads = worker is not None and worker.phase is Phase.STARTS
        return {
            "number": self.number,
            "isolated": self.own or None,
            "device": device,
            "state": "waits" if worker is None else worker.phase.name.lower(),
            "stage": worker.stage if worker is not None and loads else None,
            "pid": None if worker is None else worker.pid,
            "age": None if worker is None else round(now - worker.began, 1),
            "restarts": self.restarts,
        }


class Slots:
    """All places of a server: of those who take calls, the `fronts`, and of those with an executor that is isolated."""

    def __init__(self, plan: Plan, handed: Handed, table: Table) -> None:
        self._plan = plan
        self.fronts = [Slot(number, "", handed, table) for number in range(1, plan.count + 1)]
        apart = _set_apart(plan, handed)
        self.isolated = [Slot(plan.count + place, own, *apart) for place, own in enumerate(plan.isolated, start=1)]
        self.all = [*self.fronts, *self.isolated]

    def of(self, worker: Worker) -> Slot:
        """The place that a worker is meant for."""
        return self.all[worker.number - 1]

    def tell(self, worker: Worker, state: State) -> None:
        """Have the others see how a worker is."""
        self.of(worker).table.tell(worker.row, state)

    def state(self) -> bytes:
        """How the workers are, as JSON: what asks for `workers` is given."""
        now = time.monotonic()
        return json.dumps([slot.state(self._plan.device(slot.number), now) for slot in self.all]).encode()


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
