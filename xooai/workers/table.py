"""What the workers of a server see of one another without asking: who is ready, and how much each has to do.

A file in memory that all map: a row of numbers for each process, written by it alone but for its state.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping, Sequence
from enum import IntEnum
from socket import socket

import msgspec

from xooai.workers.strays import Strays

__all__ = ["MANY", "Row", "Share", "State", "Table", "unnamed_file"]

_FIELDS = 5
# State; connections and calls where who is free accepts; both together where connections are placed; calls that others could run
MANY = 2**31 - 1  # calls: more than anybody has
_CALLS = 2  # calls under way by which a worker may have more than another, and still take a connection


class State(IntEnum):
    NONE = 0  # no process, or one that is not to be waited for
    STARTS = 1
    READY = 2


class Row(msgspec.Struct, frozen=True):
    """Which one is a process's own, and how many there are."""

    index: int
    count: int


def unnamed_file() -> int:
    """The descriptor of a file that only this process has, until it hands it on."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("xooai")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Table:
    """All rows. The supervisor makes the file, workers map it."""

    def __init__(self, file: int, count: int, *, is_new: bool = False) -> None:
        size = count * _FIELDS * 4
        if is_new:
            os.ftruncate(file, size)
        self._rows = memoryview(mmap.mmap(file, size)).cast("i")
        self.count = count

    def state(self, index: int) -> int:
        return self._rows[index * _FIELDS]

    def has(self, state: State) -> bool:
        """Whether one is in this state."""
        return any(self.state(index) == state for index in range(self.count))

    def tell(self, index: int, state: State) -> None:
        self._rows[index * _FIELDS] = state

    def clear(self, index: int) -> None:
        """Forget a process."""
        for field in range(index * _FIELDS, (index + 1) * _FIELDS):
            self._rows[field] = 0

    def work(self, index: int, connections: int, calls: int) -> None:
        self._rows[index * _FIELDS + 1] = connections
        self._rows[index * _FIELDS + 2] = calls

    def is_next(self, index: int, connections: int, calls: int) -> bool:
        """Whether a process with so much to do is to take a connection: not where one that is ready has clearly less.

        Calls under way count first. Those of others are as of their last connection, which is good enough: whoever is woken for
        a new one tells his own before he looks.
        """
        rows, own = self._rows, index * _FIELDS
        is_ready = rows[own] == State.READY
        for other in range(0, self.count * _FIELDS, _FIELDS):
            if other == own or rows[other] != State.READY:
                continue
            if not is_ready:
                return False
            its_connections, its_calls = rows[other + 1], rows[other + 2]
            slack = max(_CALLS, its_calls // 4)
            if calls > its_calls + slack:
                return False
            if calls + slack >= its_calls and connections > its_connections + its_connections // 8:
                return False
        return True

    def amount(self, index: int, amount: int) -> None:
        self._rows[index * _FIELDS + 3] = amount

    def least(self, index: int) -> int:
        """Who is ready and has the least to do, else `index`; what is placed with it now is counted until it tells itself."""
        rows = self._rows
        ready = [row for row in range(self.count) if self.state(row) == State.READY]
        found = min(ready, key=lambda row: rows[row * _FIELDS + 2] + rows[row * _FIELDS + 3], default=index)
        rows[found * _FIELDS + 3] += 1
        return found

    def under_way(self, index: int) -> memoryview:
        """Where a process keeps the number of its calls that others might have run as well."""
        place = index * _FIELDS + 4
        return self._rows[place : place + 1]

    def freest(self, index: int, passed: Mapping[int, int]) -> tuple[int, int]:
        """Which of the others that are ready has the fewest such calls, and how many; where nobody is, `index` and `MANY`.

        Whom as many have been `passed` has so many at least: it may not have seen them yet.
        """
        rows = self._rows
        found, least = index, MANY
        for row in range(self.count):
            if row != index and rows[row * _FIELDS] == State.READY:
                calls = max(rows[row * _FIELDS + 4], passed.get(row, 0))
                if calls < least:
                    found, least = row, calls
        return found, least


class Share:
    """The ports that this worker shares with others. Implements `xooai.driver.Shared` and `Placed`."""

    def __init__(
        self, table: Table, index: int, sockets: dict[str, list[socket]], secrets: Mapping[str, bytes], strays: Strays
    ) -> None:
        self._table, self.place = table, index
        self._secrets = secrets
        self._amounts: dict[str, int] = {}
        self.strays = strays
        self._sockets = sockets
        self.is_last = False

    def sockets(self, url: str) -> Sequence[socket]:
        return self._sockets.get(url, ())

    def is_next(self, connections: int, calls: int) -> bool:
        self._table.work(self.place, connections, calls)
        return self._table.is_next(self.place, connections, calls)

    def secret(self, url: str) -> bytes:
        return self._secrets.get(url, b"")

    def work(self, url: str, amount: int) -> None:
        self._amounts[url] = amount
        self.tell()

    def tell(self) -> None:
        """Say how much there is to do here: to be done now and then, since what others place here may never come."""
        self._table.amount(self.place, sum(self._amounts.values()))

    def least(self) -> int:
        return self._table.least(self.place)
