"""`xooai top`: what a server does now, in a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Unpack

import click
import msgspec
from rich.live import Live

from xooai import metrics
from xooai.cli.bench import LENGTH
from xooai.cli.remote import Reached, Reaching, Server, reached, reaching
from xooai.cli.terminal import console
from xooai.cli.top_answers import Answers
from xooai.cli.top_rates import Seen, between, is_sound
from xooai.cli.top_view import KEYS, ORDERS, view
from xooai.errors import DeadlineExceeded, FailedPrecondition, NotFound, Unavailable
from xooai.log import one_line

if sys.platform != "win32":
    import termios
    import tty

__all__ = ["command"]

TIMEOUT = 10.0  # seconds for an answer: who looks wants to know that there is none
EVERY = 2.0  # seconds
_SHORTEST = 0.1  # seconds between two looks: each costs the server half a millisecond


@click.command(
    epilog="""\b
Keys: q quit, s sort by another column, p pause.

\b
Examples:
  xooai top http://127.0.0.1:8080
  xooai top grpc://127.0.0.1:50051 --interval 5s
  xooai top http://127.0.0.1:8080 --once
  xooai top http://127.0.0.1:8080 --json | jq .endpoints"""
)
@click.argument("url")
@click.option(
    "--interval", type=LENGTH, default=f"{EVERY:g}s", show_default=True, metavar="LENGTH", help="Between two looks."
)
@click.option("--once", is_flag=True, help="Show one interval, and end.")
@click.option("--json", "as_json", is_flag=True, help="Write a line of JSON for each interval.")
@reaching(TIMEOUT, "How long an answer may take.")
def command(url: str, interval: float, once: bool, as_json: bool, **way: Unpack[Reaching]) -> None:
    """Show what a server does: calls a second, how long they take, what waits, and what fails.

    By endpoint and driver, of all processes of the server together, for each interval; `total` is since they began. Where
    stdout is no terminal, each interval is written below the one before. A server that asks for keys gives this to those with the
    scope xooai/metrics.
    """
    asyncio.run(_Top(url, max(interval, _SHORTEST), once).run(Server(url, **way), as_json))


class _Top:
    """The looks at one server."""

    def __init__(self, url: str, interval: float, is_once: bool) -> None:
        self._url, self._interval, self._is_once = url, interval, is_once
        self._order = "name"
        self._is_paused = False
        self._over = asyncio.Event()
        self._note = ""
        self._turned: asyncio.Event = asyncio.Event()
        """Set when a key asks for another picture of the same."""

    async def run(self, server: Server, as_json: bool) -> None:
        async with reached(server) as there:
            self._url = there.address.server
            if as_json or self._is_once or not sys.stdout.isatty():
                async for seen in self._looks(there):
                    self._write(seen, as_json)
            else:
                await self._live(there)

    def _write(self, seen: Seen, as_json: bool) -> None:
        if as_json:
            # What is not ASCII is escaped: a name may hold what moves a terminal's cursor.
            click.echo(json.dumps(msgspec.to_builtins(seen), separators=(",", ":")).replace("\x7f", "\\u007f"))
        else:
            console().print(view(self._url, seen, self._order))
            if not self._is_once:
                click.echo()

    async def _live(self, there: Reached) -> None:
        with Live(console=console(), screen=True, auto_refresh=False) as live, _keys(self._pressed):
            showing: Seen | None = None

            def show() -> None:
                if showing is not None:
                    note = f"{self._note}by {self._order}   {KEYS}"
                    live.update(view(self._url, showing, self._order, note), refresh=True)

            async def again() -> None:
                while True:
                    await self._turned.wait()
                    self._turned.clear()
                    show()

            turning = asyncio.create_task(again())
            try:
                async for seen in self._looks(there):
                    if not self._is_paused:
                        showing = seen
                    show()
            finally:
                turning.cancel()
                await asyncio.wait({turning})

    async def _looks(self, there: Reached) -> AsyncIterator[Seen]:
        """One interval after another. A server that is away for a while is asked on; raises what the first look raises."""
        before = await _report(there)
        last, answers = before, Answers(before)
        while not self._over.is_set():
            try:
                await asyncio.wait_for(self._over.wait(), self._interval)
                return
            except TimeoutError:
                pass
            try:
                last = await _report(there)
                self._note = "paused   " if self._is_paused else ""
            except (Unavailable, DeadlineExceeded) as error:
                if self._is_once:
                    raise
                self._note = f"{one_line(error.message)}   "
                if not sys.stdout.isatty():
                    click.echo(f"xooai: {one_line(error.message)}", err=True)
                    continue
            yield between(*answers.pair(before, last))
            if self._is_once:
                return
            before = last

    def _pressed(self, key: str) -> None:
        if key in ("q", "\x1b"):
            self._over.set()
        elif key == "p":
            self._is_paused = not self._is_paused
        elif key == "s":
            orders = list(ORDERS)
            self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self._turned.set()


async def _report(there: Reached) -> metrics.Report:
    """What the server has counted. Raises FailedPrecondition where it tells nothing of it."""
    try:
        found = await there.remote.call("xooai", metrics.endpoint(), {}, there.remote.timeout, None, None)
        report = msgspec.convert(found, metrics.Report)
    except NotFound as error:
        raise FailedPrecondition(
            f"{there.address.server} does not tell what it counts: it is no server of xooai, or an older one ({error.message})"
        ) from error
    except msgspec.ValidationError as error:
        raise FailedPrecondition(
            f"{there.address.server} counts otherwise than this version: {error}; use its own"
        ) from None
    if not is_sound(report):
        raise FailedPrecondition(
            f"{there.address.server} counts otherwise than this version: its times, or its buckets, make no sense; use its own"
        )
    return report


@contextmanager
def _keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Tell of each key as it is pressed, where standard input is a terminal."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
        return
    number, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    was = termios.tcgetattr(number)
    tty.setcbreak(number)  # keys come one by one, and Ctrl-C still interrupts

    def read() -> None:
        for key in os.read(number, 64).decode(errors="replace"):
            pressed(key)

    loop.add_reader(number, read)
    try:
        yield
    finally:
        loop.remove_reader(number)
        termios.tcsetattr(number, termios.TCSADRAIN, was)
