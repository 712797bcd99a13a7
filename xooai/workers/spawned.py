"""A worker as its supervisor has it: a process that was started afresh, and the socket to it.

Never a fork of this process: threads, locks, CUDA and gRPC do not survive one. It is started by `subprocess` and not by
`multiprocessing`, whose processes share one environment (a worker has its number and device before its interpreter begins),
have a tracker process beside them, and may have no children where they are daemons. How `__main__` comes to be in it is
multiprocessing's own way.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from enum import Enum, auto
from pathlib import Path

import msgspec

from xooai.workers.messages import Connection
from xooai.workers.plan import DEVICE, NUMBER
from xooai.workers.table import unnamed_file

__all__ = ["Handed", "Phase", "Start", "Worker", "spawned"]

_OURS = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"})
"""What a service manager tells the supervisor, and no worker."""
_STACK = 256 * 1024  # bytes read of what faulthandler wrote: a hundred threads, each with a hundred lines


UNHEARD = (signal.SIGINT, signal.SIGHUP) if sys.platform != "win32" else ()
"""What a terminal sends to all of its processes; of a server's, the supervisor says what follows."""


def _safely() -> list[str]:
    """The option by which nothing is imported from the current directory; what the program itself has there is told later.

    Nothing where this package is imported from there.
    """
    return [] if Path.cwd() == Path(__file__).resolve().parents[2] else ["-P"]


class Phase(Enum):
    STARTS = auto()
    READY = auto()
    DRAINS = auto()
    ENDED = auto()


class Start(msgspec.Struct):
    """What a worker reads first; `sockets` are descriptors by URL, all of them open in it. `packed` is of `Plan.packed`."""

    urls: tuple[str, ...]
    sockets: dict[str, list[int]]
    secrets: dict[str, bytes]
    table: int
    row: int
    rows: int
    stacks: int
    number: int
    count: int
    folder: str
    packed: bytes
    isolated: tuple[str, ...]
    own: str


class Handed(msgspec.Struct, frozen=True):
    """What all workers of a server are given alike."""

    urls: tuple[str, ...]
    alone: frozenset[str]
    """Those of the URLs at which only the first worker listens."""
    sockets: dict[str, list[int]]
    places: dict[str, list[list[int]]]
    """By row, where each worker has sockets of its own."""
    secrets: dict[str, bytes]
    """Where it has."""
    table: int
    rows: int
    count: int
    folder: str
    """Where workers pass on datagrams and calls, and isolated executors are called."""
    packed: bytes
    isolated: tuple[str, ...] = ()
    """Executors that have processes of their own."""


class Worker:
    """One process."""

    def __init__(self, number: int, row: int, process: subprocess.Popen[bytes], stacks: int) -> None:
        self.number = number
        self.row = row
        self.process = process
        self.phase = Phase.STARTS
        self.connection: Connection | None = None
        self.reading: asyncio.Task[None] | None = None
        self.began = self.beat = self.told = time.monotonic()
        self.stage = "its program is imported, and its executors are made"
        """What it is at while it loads, as it was last heard; `told` is when people were told of it."""
        self.hung: float | None = None
        """When it was told to write its stack, after its loop had been silent for too long."""
        self.is_closing = False
        """Whether its loop has ended, and with it the signs of life."""
        self.banner = ""
        self.failure: tuple[str, int] | None = None
        loop = asyncio.get_running_loop()
        self.up: asyncio.Future[bool] = loop.create_future()
        """Whether it became ready; False once it has ended before that."""
        self.ended: asyncio.Future[None] = loop.create_future()
        self._stacks = stacks

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: int) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)

    def how(self) -> str:
        """How it ended, in words."""
        code = self.process.returncode
        if code is not None and code < 0:
            try:
                return f"was ended by {signal.Signals(-code).name}"
            except ValueError:
                return f"was ended by the signal {-code}"
        return f"ended with the exit code {code}"

    def stack(self) -> list[str]:
        """What its threads were doing when it hung or crashed, as far as it could be told."""
        text = os.pread(self._stacks, _STACK, 0).decode("utf-8", "replace")
        return [line for line in text.splitlines() if line.strip()]

    def close(self) -> None:
        """Let go of what is open for it here."""
        if self.connection is not None:
            self.connection.close()
        if self._stacks >= 0:
            os.close(self._stacks)
            self._stacks = -1


async def spawned(handed: Handed, number: int, row: int, device: str | None, own: str = "") -> Worker:
    """Start a worker; `own` is the executor that is isolated in it. Raises OSError where this process has no room for another."""
    environment = {name: value for name, value in os.environ.items() if name not in _OURS} | {NUMBER: str(number)}
    if device is not None:
        environment[DEVICE] = device
    with ExitStack() as undo:
        stacks = unnamed_file()
        undo.callback(os.close, stacks)
        ours, theirs = socket.socketpair()
        undo.enter_context(ours)
        with theirs:
            urls = tuple(url for url in handed.urls if number == 1 or url not in handed.alone)
            sockets = handed.sockets | {url: places[row] for url, places in handed.places.items()}
            start = Start(
                urls,
                sockets,
                handed.secrets,
                handed.table,
                row,
                handed.rows,
                stacks,
                number,
                handed.count,
                handed.folder,
                handed.packed,
                handed.isolated,
                own,
            )
            passed = [theirs.fileno(), stacks, handed.table, *(fd for fds in sockets.values() for fd in fds)]
            flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing
            command = [sys.executable, *flags, *_safely(), "-m", "xooai.workers", str(theirs.fileno())]
            # It hears no Ctrl-C before it knows what to make of one.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, UNHEARD)
            try:
                # It takes a millisecond, and asyncio's own way a thread.
                process = subprocess.Popen(command, env=environment, pass_fds=passed)  # noqa: ASYNC220
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        worker = Worker(number, row, process, stacks)
        try:
            worker.connection = await Connection.over(ours)
            worker.connection.begin(msgspec.msgpack.encode(start))
        except OSError:  # it has ended already, which is seen to as any end is
            ours.close()
        undo.pop_all()
    return worker
