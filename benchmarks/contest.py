"""Servers side by side: all up and all but one paused, measured in turn, round by round, each against its limit."""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import peers
import report
from exchanges import Exchange
from load import AnswerError, Sample, measure, timed
from options import Options
from processes import Server, cores, end_when_terminated, free_port

Measure = Callable[[int, Exchange, bytes, int, float], Sample]
SERVERS = Path(__file__).parent / "servers"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table: a program, what it is asked, and the entry that it is held against.

    The program is a file under servers/ that imports none beside it, or a module, whose name has a dot.
    """

    key: str
    name: str
    program: str
    module: str  # what must be installed
    exchange: Exchange
    limit: str  # the key of its limit; its own for a limit
    measure: Measure = measure
    arguments: tuple[str, ...] = ()  # of the program, before its port

    def server(self, python: str, core: int) -> Server:
        """Return its server, not yet started."""
        program = ["-m", self.program] if "." in self.program else [str(SERVERS / f"{self.program}.py")]
        return Server([python, *program, *self.arguments], free_port(), core)


@dataclass(slots=True)
class Contestant:
    """An entry whose server is up, and what was measured of it, by the number of connections."""

    entry: Entry
    server: Server
    reply: bytes
    samples: dict[int, list[Sample]] = field(default_factory=dict)
    cpu: dict[int, list[float]] = field(default_factory=dict)  # microseconds a request
    memory: float = 0.0  # MiB, after the last round

    def turn(self, connections: int, seconds: float) -> None:
        """Measure it once, while the others are paused."""
        self.server.resume()
        time.sleep(SETTLE)
        self.server.first_answer(self.entry.exchange)
        before = self.server.cpu()
        sample = self.entry.measure(self.server.port, self.entry.exchange, self.reply, connections, seconds)
        self.cpu.setdefault(connections, []).append((self.server.cpu() - before) / sample.total * 1e6)
        self.samples.setdefault(connections, []).append(sample)
        self.memory = self.server.memory()
        self.server.pause()

    def rates(self, connections: int) -> list[float]:
        """Return the answers a second of each round."""
        return [sample.rate for sample in self.samples[connections]]

    def took(self, connections: int, at: int) -> float:
        """Return the milliseconds of an answer: those at 0 of `Sample.took`, or those at 1; the median of the rounds."""
        return median(sample.took[at] for sample in self.samples[connections] if sample.took)


SETTLE = 0.5  # seconds after a pause, in which gateways and nodes close connections that were idle for too long
UNITS = ("connections", "answers", "a request")
"""What is used at once, what is counted, and what CPU is told of."""


def run(question: str | None, entries: Sequence[Entry], connections: str, units: tuple[str, str, str] = UNITS) -> None:
    """Read the command line, measure the entries chosen, and print the table."""
    options = Options(question, [entry.key for entry in entries], seconds=2, rounds=5)
    options.add_connections(connections)
    options.add_argument(
        "--python", type=peers.pair, action="append", default=[], metavar="PEER=PATH", help="the Python that has a peer"
    )
    given = options.parse_args()
    end_when_terminated()
    core, load_core = cores()
    if core == load_core:
        print("only one core is allowed: server and load share it, and the figures say little", file=sys.stderr)
    os.sched_setaffinity(0, {load_core})
    with contextlib.ExitStack() as stack:
        contestants = _contestants(entries, given, core, stack)
        print(f"{report.machine()}; {given.rounds} rounds of {given.seconds:g} s\n", flush=True)
        for number in given.connections:
            for _ in range(given.rounds):
                for contestant in list(contestants):
                    try:
                        contestant.turn(number, given.seconds)
                    except AnswerError as error:
                        if contestant.entry.module not in peers.APART:
                            raise
                        _leave_out(contestant, contestants, f"at {number} {units[0]}: {error}")
    print(_table(contestants, given.connections, given.markdown, units))


def _contestants(
    entries: Sequence[Entry], given: argparse.Namespace, core: int, stack: contextlib.ExitStack
) -> list[Contestant]:
    """Start those chosen whose modules are there, and their limits."""
    keys = set(given.only) | {entry.limit for entry in entries if entry.key in given.only}
    started = []
    for entry in entries:
        if entry.key not in keys:
            continue
        python = peers.interpreter(entry.module, dict(given.python))
        if python is None:
            print(f"without {entry.key}: {peers.missing(entry.module)}", file=sys.stderr)
            continue
        server = stack.enter_context(entry.server(python, core))
        started.append(Contestant(entry, server, server.first_answer(entry.exchange)))
        server.pause()
    return started


def _leave_out(contestant: Contestant, contestants: list[Contestant], reason: str) -> None:
    """Go on without another framework that failed under load."""
    print(f"without {contestant.entry.key}: it failed {reason}", file=sys.stderr)
    contestant.server.pause()
    contestants.remove(contestant)


def _table(
    contestants: Sequence[Contestant], connections: Sequence[int], markdown: bool, units: tuple[str, str, str]
) -> str:
    at_once, counted, one_of_them = units
    by_key = {contestant.entry.key: contestant for contestant in contestants}
    header: tuple[str, ...] = (
        f"at {' / '.join(map(str, connections))} {at_once}",
        f"{counted} a second",
        "ratio to its limit",
        "spread ± %",
        f"CPU µs {one_of_them}",
        "CPU ratio",
        "memory MiB",
        "load's core %",
    )
    is_timed = all(one.entry.measure is timed for one in contestants)
    if is_timed:
        header = (*header, "ms, median", "ms, 99 of 100")
    rows = []
    for one in contestants:
        limit = by_key[one.entry.limit]
        rows.append(
            (
                one.entry.name,
                report.joined((median(one.rates(n)) for n in connections), ",.0f"),
                report.joined(report.ratio(one.rates(n), limit.rates(n)) for n in connections),
                report.joined((report.spread(one.rates(n)) for n in connections), ".0f"),
                report.joined(
                    (median(one.cpu[n]) for n in connections),
                    ",.0f" if median(one.cpu[connections[0]]) >= 10 else ".2f",
                ),
                report.joined(report.ratio(one.cpu[n], limit.cpu[n]) for n in connections),
                f"{one.memory:,.0f}",
                report.joined((100 * median(sample.load for sample in one.samples[n]) for n in connections), ".0f"),
                *(report.joined(one.took(n, at) for n in connections) for at in (0, 1) if is_timed),
            )
        )
    return report.table(header, rows, markdown)
