"""Which workers take new connections at ports where each has sockets of its own."""

from __future__ import annotations

from collections.abc import Sequence

from xooai.driver import Steering
from xooai.log import logger
from xooai.workers.spawned import Worker
from xooai.workers.table import State, Table

__all__ = ["Steered"]

_LOG = logger("xooai.workers")


class Steered:
    """Tells those who deal the connections, whenever it has changed. Of workers that take calls, by their rows in a `table`."""

    def __init__(self, ports: Sequence[Steering], table: Table) -> None:
        self._ports = ports
        self._table = table
        self._listening: dict[int, Worker] = {}
        self._leaving: set[int] = set()
        self._told: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())

    def enter(self, worker: Worker) -> None:
        """A worker listens, and is ready."""
        self._listening[worker.row] = worker
        self._leaving.discard(worker.row)
        self.look()

    def leave(self, worker: Worker) -> None:
        """A worker takes no new connections from now on."""
        if self._listening.get(worker.row) is worker:
            self._leaving.add(worker.row)
            self.look()

    def end(self, worker: Worker) -> None:
        """A worker has ended."""
        if self._listening.get(worker.row) is worker:
            del self._listening[worker.row]
            self._leaving.discard(worker.row)
            self.look()

    def look(self) -> None:
        """Tell what has changed, with those among it that have hung or come back."""
        listening = frozenset(self._listening)
        ready = frozenset(row for row in listening - self._leaving if self._table.state(row) == State.READY)
        if (ready, listening) == self._told:
            return
        self._told = ready, listening
        for port in self._ports:
            try:
                port.direct(ready, listening)
            except OSError as error:
                _LOG.error("new connections go on to the workers that took them before: %s", error)
