"""What the workers of a server see of one another without asking: who is ready, and how much each has to do.

A file in memory that all map: a row of numbers for each process, written by it alone but for its state.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from enum import IntEnum
from socket import socket

import msgspec

from xooai.workers.strays import Strays

__all__ = ["Row", "Share", "State", "Table", "unnamed_file"]

_FIELDS = 4  # state, connections, calls, and one to spare
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


class Share:
    """The ports that this worker shares with others. Implements `xooai.driver.Shared`."""

    def __init__(self, table: Table, index: int, sockets: dict[str, list[socket]], strays: Strays) -> None:
        self._table, self._index = table, index
        self.strays = strays
        self._sockets = sockets
        self.is_last = False

    def sockets(self, url: str) -> Sequence[socket]:
        return self._sockets.get(url, ())

    def is_next(self, connections: int, calls: int) -> bool:
        self._table.work(self._index, connections, calls)
        return self._table.is_next(self._index, connections, calls)
