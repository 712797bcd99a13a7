"""How many typed echoes and MiB a second does xooai answer over HTTP/3, against the bare server of its QUIC library?"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import uvloop

import report
from contest import SERVERS
from exchanges import Exchange, combo, raw
from options import Options
from processes import Server, ServerError, cores, end_when_terminated, free_port
from xooai.driver import DialOptions, Head, Link
from xooai.errors import Unavailable
from xooai_quic.certificate import for_development
from xooai_quic.driver import QuicDriver
from xooai_quic.limits import ClientLimits

MIB = 2**20
WARM_UP = 0.3  # seconds
START = 30.0  # seconds for a server to answer
LARGE = 64 * MIB
LOAD = "qh3"  # the library of the load, the quicker one: the same for all

BODIES = {"combo": combo("/echo/combo"), "body": raw("/echo/picture", LARGE)}


@dataclass(slots=True)
class Contestant:
    """One line of the table: a server, and what was measured of it."""

    key: str
    name: str
    program: str
    library: str
    limit: str
    port: int = field(default_factory=free_port)
    rates: dict[str, list[float]] = field(default_factory=dict)  # answers a second, by what was asked
    cpu: dict[str, list[float]] = field(default_factory=dict)  # microseconds of the server for each
    server: Server | None = None

    def turn(self, what: str, at_once: int, seconds: float) -> None:
        assert self.server is not None
        self.server.resume()
        before = self.server.cpu()
        rate, count = uvloop.run(_load(self.port, BODIES[what], at_once, seconds))
        self.cpu.setdefault(f"{what} {at_once}", []).append((self.server.cpu() - before) / count * 1e6)
        self.rates.setdefault(f"{what} {at_once}", []).append(rate)
        self.server.pause()


CONTESTANTS = [
    Contestant("aioquic", "limit: a bare server of aioquic, pydantic", "quic_limit", "aioquic", "aioquic"),
    Contestant("xooai", "xooai on aioquic", "xooai_echo", "aioquic", "aioquic"),
    Contestant("qh3", "limit: a bare server of qh3, pydantic", "quic_limit", "qh3", "qh3"),
    Contestant("xooai-qh3", "xooai on qh3", "xooai_echo", "qh3", "qh3"),
]


async def _load(port: int, exchange: Exchange, at_once: int, seconds: float) -> tuple[float, int]:
    """The right answers a second to calls of which so many are under way on one connection, and how many in all."""
    large = ClientLimits(datagram=16_000)
    driver = QuicDriver(client_limits=large, library=LOAD)
    link = await driver.dial(f"quic://127.0.0.1:{port}", DialOptions(trust=_trusted()))
    head = Head(exchange.path, exchange.content_type, exchange.accept)
    total = count = 0
    try:
        await _first(link, head, exchange)
        started = time.perf_counter() + (WARM_UP if len(exchange.body) < MIB else 0)
        until = started + seconds

        async def caller() -> None:
            nonlocal total, count
            while (now := time.perf_counter()) < until:
                reply = await (await link.open(head, exchange.body)).receive()
                assert reply is not None
                total += 1
                count += now >= started

        await asyncio.gather(*(caller() for _ in range(at_once)))
        return count / (time.perf_counter() - started), total + 1
    finally:
        await link.aclose()


async def _first(link: Link, head: Head, exchange: Exchange) -> None:
    deadline = time.monotonic() + START
    while True:
        try:
            reply = await (await link.open(head, exchange.body)).receive()
            break
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise ServerError(f"no answer: {error}") from error
            await asyncio.sleep(0.05)
    if reply is None or not exchange.means(reply):
        raise ServerError(f"a wrong answer: {reply!r:.200}")


def _trusted() -> str:
    return str(Path(tempfile.gettempdir()) / f"xooai-benchmark-{os.getpid()}.pem")


@contextlib.contextmanager
def _files() -> Iterator[tuple[str, str]]:
    certificate, key = Path(_trusted()), Path(_trusted()).with_suffix(".key")
    made = for_development()
    try:
        certificate.write_bytes(made.chain)
        key.touch(0o600)
        key.write_bytes(made.key)
        yield str(certificate), str(key)
    finally:
        certificate.unlink()
        key.unlink()


def main() -> None:
    """Read the command line, measure, print the table."""
    options = Options(__doc__, [one.key for one in CONTESTANTS], seconds=2, rounds=5)
    given = options.parse_args()
    end_when_terminated()
    core, load_core = cores()
    os.sched_setaffinity(0, {load_core})
    keys = set(given.only) | {one.limit for one in CONTESTANTS if one.key in given.only}
    chosen = [one for one in CONTESTANTS if one.key in keys]
    turns = [("combo", 1), ("combo", 50), ("body", 1)]
    with _files() as files, contextlib.ExitStack() as stack:
        for one in chosen:
            command = [sys.executable, str(SERVERS / f"{one.program}.py"), one.library, *files]
            one.server = stack.enter_context(Server(command, one.port, core))
            uvloop.run(_load(one.port, BODIES["combo"], 1, 0.1))
            one.server.pause()
        print(f"{report.machine()}; {given.rounds} rounds of {given.seconds:g} s\n", flush=True)
        for what, at_once in turns:
            for _ in range(given.rounds):
                for one in chosen:
                    one.turn(what, at_once, given.seconds)
    print(_table(chosen, [f"{what} {at_once}" for what, at_once in turns], given))


def _table(chosen: list[Contestant], turns: list[str], given: argparse.Namespace) -> str:
    limits = {one.key: one for one in chosen}
    header = (
        "1 / 50 calls at once, and 64 MiB there and back",
        "answers a second",
        "MiB/s each way",
        "ratio to its limit",
        "spread ± %",
        "server's CPU ratio",
    )
    rows = []
    for one in chosen:
        limit = limits[one.limit]
        rows.append(
            (
                one.name,
                report.joined((median(one.rates[turn]) for turn in turns[:2]), ",.0f"),
                f"{median(one.rates[turns[2]]) * LARGE / MIB:,.1f}",
                report.joined(report.ratio(one.rates[turn], limit.rates[turn]) for turn in turns),
                report.joined((report.spread(one.rates[turn]) for turn in turns), ".0f"),
                report.joined(report.ratio(one.cpu[turn], limit.cpu[turn]) for turn in turns),
            )
        )
    return report.table(header, rows, given.markdown)


if __name__ == "__main__":
    main()
