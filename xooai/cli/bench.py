"""`xooai bench`: load on one endpoint, and what it made of it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any, Unpack

import click
import msgspec
from rich.live import Live
from rich.text import Text

from xooai.bench.compare import compared, differences
from xooai.bench.fine_loop import fine_loop
from xooai.bench.report import Report, as_json, read_report, report_of
from xooai.bench.run import AT_ONCE, Plan, Run, prepared
from xooai.cli.amounts import Number
from xooai.cli.bench_text import comparison, in_seconds, report_text
from xooai.cli.remote import Reaching, Server, reached, reaching
from xooai.cli.replies import grouped, output_option, refuse_upload
from xooai.cli.terminal import console
from xooai.cli.values import value_of
from xooai.codec import CODECS
from xooai.duration import seconds_of

__all__ = ["LENGTH", "command"]

TIMEOUT = 60.0  # seconds, as for other calls
DURATION, WARM_UP, AT_A_TIME = 10.0, 1.0, 16  # seconds, seconds, calls: where nothing is said
_EVERY = 0.5  # seconds between two sights of a run under way
_SLOWEST = 1e-3  # calls a second: one in a quarter of an hour


class _Length(click.ParamType):  # type: ignore[type-arg,unused-ignore] # generic from click 8.4 on
    """A length of time: 10s, 5m, 1h, or a number of seconds; 0s is none, where there may be none."""

    name = "duration"

    def __init__(self, may_be_none: bool = True) -> None:
        self._may_be_none = may_be_none

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        plain = text.removesuffix("s").replace(".", "", 1)
        found = float(text.removesuffix("s")) if plain.isdecimal() else seconds_of(text)
        if found is None or not (found or self._may_be_none):
            self.fail(f"{text[:80]!r} is no length of time; write 10s, 5m or 1h", param, ctx)
        return found


LENGTH = _Length()


@click.command(
    epilog="""\b
Arguments are written as for xooai post: doc=@scan.jpg, text='to be', min_score=0.7. They are read and encoded once.

\b
Examples:
  xooai bench http://127.0.0.1:8080/reader/read doc=@scan.jpg
  xooai bench http://127.0.0.1:8080/reader/read doc=@scan.jpg --rate 200 --duration 1m -o before.json
  xooai bench http://127.0.0.1:8080/reader/read doc=@scan.jpg --rate 200 --duration 1m --compare before.json
  xooai bench after.json --compare before.json"""
)
@click.argument("url")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
@click.option(
    "--rate",
    type=Number(_SLOWEST, 1e6),
    metavar="NUMBER",
    help="Calls a second, whatever becomes of them; latency counts from when a call is due.",
)
@click.option(
    "--arrivals",
    type=click.Choice(["constant", "poisson"]),
    help="With --rate: calls at equal distances, or by chance as those of many people.  [default: constant]",
)
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(1, 10_000),
    metavar="NUMBER",
    help=f"Calls at once, each followed by the next; with --rate the most of them.  [default: {AT_A_TIME}; {AT_ONCE}]",
)
@click.option(
    "-d",
    "--duration",
    type=_Length(may_be_none=False),
    metavar="LENGTH",
    help="How long it counts: 10s, 5m, 1h.  [default: 10s]",
)
@click.option("-n", "--requests", type=click.IntRange(1), metavar="NUMBER", help="How many calls it counts.")
@click.option(
    "--warm-up",
    type=LENGTH,
    default=f"{WARM_UP:g}s",
    show_default=True,
    metavar="LENGTH",
    help="How long it calls before it counts.",
)
@click.option("--json", "as_json_", is_flag=True, help="Write the report to stdout as JSON, on one line.")
@click.option("-o", "--output", metavar="FILE", callback=output_option, help="Write the report to FILE too, as JSON.")
@click.option("--compare", metavar="FILE", help="Compare with the report of a run before.")
@click.option("--codec", type=click.Choice(list(CODECS)), help="How the calls are written.  [default: msgpack]")
@reaching(TIMEOUT, "How long each call may take.")
def command(  # noqa: PLR0913 - the options
    url: str,
    arguments: Sequence[str],
    rate: float | None,
    arrivals: str | None,
    concurrency: int | None,
    duration: float | None,
    requests: int | None,
    warm_up: float,
    as_json_: bool,
    output: str | None,
    compare: str | None,
    **way: Unpack[Reaching],
) -> int:
    """Put load on an endpoint and show what it made of it.

    Without --rate so many calls are under way all the time, each followed by the next (a closed loop): what the server can do.
    With --rate calls begin when they are due, however long others take (an open loop): what its users see. Ctrl-C ends it,
    with the report of what was. URL is that of an endpoint, as for xooai post; or a report to compare: then nothing is called.
    """
    before = None if compare is None else read_report(compare)
    if before is not None and url.endswith(".json") and Path(url).is_file():
        _tell(read_report(url), before, as_json_)
        return 0
    if arrivals and rate is None:
        raise click.UsageError("--arrivals needs --rate", click.get_current_context())
    plan = Plan(
        concurrency or (AT_A_TIME if rate is None else AT_ONCE),
        rate=rate,
        is_poisson=arrivals == "poisson",
        duration=duration if duration is not None else inf if requests else DURATION,
        calls=requests,
        warm_up=warm_up,
    )
    with asyncio.Runner(loop_factory=fine_loop) as runner:
        report, stopped_by = runner.run(_run(Server(url, **way), grouped(arguments), plan))
    _tell(report, before, as_json_ or output == "-")
    if output not in (None, "-"):  # at last: where it cannot be written, the run has been told
        Path(str(output)).write_bytes(as_json(report) + b"\n")
    if stopped_by:
        return 128 + stopped_by
    return 0 if report.calls.answered else 1


async def _run(server: Server, texts: dict[str, list[str]], plan: Plan) -> tuple[Report, int]:
    """Make the run; its report, and the number of the signal that ended it early, or 0."""
    async with reached(server) as there:
        executor, endpoint = await there.endpoint()
        refuse_upload(f"{executor}/{endpoint.name}", endpoint)
        endpoint.check(texts)
        arguments = {name: value_of(endpoint.parameters[name].annotation, given, name) for name, given in texts.items()}
        request = await prepared(there.remote, executor, endpoint, arguments)
        run = Run(plan, there.remote, request)
        await run.try_once()
        async with _stopped_by_signals(run) as signals, _shown(run):
            await run.run()
        where = f"{there.address.server}{request.head.path}"
        return report_of(where, run, request, bool(signals)), signals[0] if signals else 0


@asynccontextmanager
async def _stopped_by_signals(run: Run) -> AsyncIterator[list[int]]:
    """End the run with a signal that came, the first time; the second ends the program, as without this."""
    loop, came = asyncio.get_running_loop(), list[int]()
    numbers = (signal.SIGINT, signal.SIGTERM) if sys.platform != "win32" else ()

    def stop(number: int) -> None:
        came.append(number)
        for one in numbers:
            loop.remove_signal_handler(one)
        run.stop()

    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    try:
        yield came
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _shown(run: Run) -> AsyncIterator[None]:
    """Show on stderr how it goes, where that is a terminal."""
    to = console(sys.stderr)
    if not to.is_terminal:
        yield
        return
    with Live(console=to, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False) as live:

        async def show() -> None:
            while True:
                live.update(Text(_line(run)), refresh=True)
                await asyncio.sleep(_EVERY)

        showing = asyncio.create_task(show())
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.wait({showing})


def _line(run: Run) -> str:
    tally = run.tally
    seconds = tally.seconds
    if not seconds:
        return f"warming up, {run.under_way:,} under way"
    of = f" of {run.plan.duration:g} s" if run.plan.duration < inf else ""
    times = f"p50 {in_seconds(tally.took.at(0.5))}, p99 {in_seconds(tally.took.at(0.99))}"
    rate = f"{tally.answered / seconds:,.1f}/s"
    return f"{seconds:.0f} s{of}: {rate}, {times}, {tally.failed:,} failed, {run.under_way:,} under way"


def _tell(report: Report, before: Report | None, is_for_machines: bool) -> None:
    if is_for_machines and before is not None:
        told = msgspec.to_builtins(report)
        told["compared"] = compared(before, report)
        told["unlike"] = differences(before.conditions, report.conditions)
        click.echo(msgspec.json.encode(told))
    elif is_for_machines:
        click.echo(as_json(report))
    else:
        click.echo(report_text(report))
        if before is not None:
            click.echo(f"\n{comparison(before, report)}")
