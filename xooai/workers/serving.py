"""Serving by several processes: the ports, the signals, and what is printed."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TextIO

from xooai import ending, hosting, signals
from xooai.driver import Sharing, Taken
from xooai.errors import FailedPrecondition, InvalidArgument
from xooai.log import logger
from xooai.notify import Manager
from xooai.workers.absent import Absent
from xooai.workers.folder import own_folder
from xooai.workers.plan import Plan
from xooai.workers.slots import handed_out
from xooai.workers.steered import Steered
from xooai.workers.supervisor import Supervisor

__all__ = ["line", "serve_by_workers"]

_LOG = logger("xooai.workers")


def line(text: str) -> str:
    """What is told of workers, as text for people."""
    return f"xooai: {text}"


def serve_by_workers(plan: Plan, line: Callable[[str], str] = line) -> None:
    """Serve by workers until SIGINT or SIGTERM; a second one ends the grace, SIGHUP replaces the workers one by one.

    What is told of them goes to stderr, each as the `line` that is made of it.
    Raises CannotStart where a worker fails before all are ready, and SystemExit where a signal comes before.
    """
    ending.check(*plan.ending)
    if threading.current_thread() is not threading.main_thread():
        raise FailedPrecondition("serve(workers=...) waits for a signal, which only the main thread gets")
    if asyncio._get_running_loop() is not None:
        raise FailedPrecondition("serve() blocks, and a loop runs in this thread")
    if hosting.instead() is not None:
        raise FailedPrecondition(
            'serve(workers=...) is called while a worker imports the program; put it under: if __name__ == "__main__":'
        )
    with asyncio.Runner() as runner:
        code = runner.run(_supervised(plan, line))
    if code:
        raise SystemExit(code)


async def _supervised(plan: Plan, line: Callable[[str], str]) -> int:
    """Serve; return the exit code."""
    taken: list[Taken] = []
    hosting.refuse_in_clear(plan.urls, plan.options)
    try:
        for url in plan.urls:
            one = await _taken(url, plan)
            taken.append(one)
        hosting.refuse_unused()
        with own_folder() as folder, hosting.managed() as manager:
            handed, table = handed_out(plan, taken, folder)
            absent = Absent(table, {one.url: one.sockets for one in taken}, plan.options)
            steered = Steered([one.steering for one in taken if one.steering is not None], table)
            supervisor = Supervisor(plan, handed, table, absent, steered, partial(_tell, line))
            return await _Run(supervisor, [one.url for one in taken], manager).run()
    finally:
        for one in taken:
            if one.steering is not None:
                one.steering.close()
            for made in chain(one.sockets, one.kept, *one.places):
                made.close()


class _Run:
    """One server from its start to its end, as signals have it."""

    def __init__(self, supervisor: Supervisor, urls: list[str], manager: Manager | None) -> None:
        self._supervisor, self._urls, self._manager = supervisor, urls, manager
        self._stopping, self._forced = asyncio.Event(), asyncio.Event()
        self._early: signal.Signals | None = None
        self._is_up = False

    async def run(self) -> int:
        """Return the exit code. Raises CannotStart."""
        with signals.heard(asyncio.get_running_loop(), self._stop, self._supervisor.roll):
            starting = asyncio.ensure_future(self._supervisor.start())
            waiting = asyncio.ensure_future(self._stopping.wait())
            try:
                await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    self._up(starting.result())
                    await waiting
            finally:
                starting.cancel()
                waiting.cancel()
                if self._manager is not None:
                    self._manager.stopping()
                await self._supervisor.stop(self._forced)
        if self._early is not None:
            _LOG.warning("%s came before the server was ready; nothing was served", self._early.name)
            return hosting.SIGNALLED + self._early
        return hosting.CUT if self._supervisor.has_cut else 0

    def _up(self, banner: str) -> None:
        self._is_up = True
        _print(banner, sys.stdout)
        if self._manager is not None:
            self._manager.ready(self._urls)

    def _stop(self, number: signal.Signals) -> None:
        if self._stopping.is_set():
            self._forced.set()
        self._stopping.set()
        if not self._is_up:
            self._early = number


async def _taken(url: str, plan: Plan) -> Taken:
    driver = hosting.driver_of(url)
    if not isinstance(driver, Sharing):
        raise InvalidArgument(
            f"cannot listen at {url!r} by several processes: its driver keeps all connections in one; leave out workers"
        )
    return await driver.take(url, hosting.keyed(plan.options), plan.rows)


def _tell(line: Callable[[str], str], text: str) -> None:
    _print(f"{line(text)}\n", sys.stderr)


def _print(text: str, file: TextIO | None) -> None:
    """Write, where that can be done: a disk that is full, or a reader that has left, ends no server."""
    if file is not None:  # it was closed when this process began
        with suppress(OSError, ValueError):  # ValueError: it was closed since
            print(text, end="", file=file, flush=True)
