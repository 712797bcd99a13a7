"""`xooai flow post`: a Flow from a file, run once, or for each line of a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import click
from pydantic_core import to_json
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from xooai.cli.amounts import Number
from xooai.cli.arguments import FromLines
from xooai.cli.lines import Line, Lines, Output
from xooai.cli.listening import MODULE
from xooai.cli.load import flow_from
from xooai.cli.progress import sending
from xooai.cli.replies import grouped, output_option, refuse_upload, writing
from xooai.cli.values import value_of
from xooai.codec import JSON
from xooai.errors import Internal, InvalidArgument, XooaiError
from xooai.flow import Flow

__all__ = ["command"]

AT_A_TIME = 32  # calls, as `map` makes
TIMEOUT = 60.0  # seconds, as for other calls from the command line


@click.command(
    "post",
    epilog="""\b
Examples:
  xooai flow post flow.yaml --module my_reader doc=@scan.jpg
  xooai flow post flow.yaml doc='to be or not to be' --json
  xooai flow post flow.yaml --input docs.jsonl --output out.jsonl
  xooai flow post flow.yaml min_score=0.7 --input docs.jsonl --output out.jsonl --concurrency 8""",
)
@click.argument("file")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--input", "source", metavar="FILE", help="Run it for each line of this file (-: stdin); needs --output.")
@click.option("--json", "as_json", is_flag=True, help="Write the result to stdout as JSON, on one line.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    callback=output_option,
    help="Write the result to FILE (-: stdout): a document's content, anything else as JSON; with --input a line for each.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1024),
    default=AT_A_TIME,
    show_default=True,
    metavar="NUMBER",
    help="With --input: how many lines are run at a time.",
)
@click.option(
    "--on-error",
    type=click.Choice(["keep", "stop"]),
    default="keep",
    show_default=True,
    help="With --input: keep errors as lines of the output, or stop before the first, for another run to begin there.",
)
@click.option(
    "--timeout", type=Number(min=0, min_open=True), default=TIMEOUT, metavar="SECONDS", show_default=True,
    help="How long it may take; with --input each line.",
)  # fmt: skip
def command(  # noqa: PLR0913 - the options
    file: str,
    arguments: Sequence[str],
    source: str | None,
    as_json: bool,
    output: str | None,
    concurrency: int,
    on_error: str,
    timeout: float,
    modules: Sequence[str],
) -> int | None:
    """Run a Flow and show its result, or run it for each line of a file.

    Arguments are written as for `xooai post`. With --input each line is JSON: an object of arguments by name, as
    {"doc": {"ref": "scan.jpg"}}, or the value of the one that is needed, as {"ref": "scan.jpg"}; arguments on the command
    line are for all. The output has a line for each, in the same order: {"line": 1, "input": ..., "result": ...}, or "error" with
    code and message. The same command goes on where an output ends, after a crash too; `input` tells that it is of the same
    lines. Exit code 1 where a line is an error.
    """
    if source is not None and output is None:
        raise click.UsageError("--input needs --output", click.get_current_context())
    texts = grouped(arguments)
    with flow_from(file, modules) as flow:
        if source is None:
            _once(flow, texts, timeout, writing(output, as_json))
            return None
        run = _Run(flow, texts, timeout)
        return run.all(source, str(output), concurrency, on_error == "stop")


def _once(flow: Flow, texts: dict[str, list[str]], timeout: float, write: Callable[[Any, Any], None]) -> None:
    endpoint = flow._xooai_endpoint(None)
    refuse_upload(flow.name, endpoint)
    endpoint.check(texts)
    given = {name: value_of(endpoint.parameters[name].annotation, text, name) for name, text in texts.items()}
    with sending(given) as prepared:
        if not endpoint.shape:
            write(endpoint, flow.post(timeout=timeout, **prepared))
            return
        with closing(flow.stream(timeout=timeout, **prepared)) as replies:
            for reply in replies:
                write(endpoint, reply)


class _Run:
    """A Flow run for many lines."""

    def __init__(self, flow: Flow, texts: dict[str, list[str]], timeout: float) -> None:
        self._flow, self._timeout = flow, timeout
        self._endpoint = endpoint = flow._xooai_endpoint(None)
        if endpoint.shape:
            raise InvalidArgument(
                f"{flow.name} streams, and --input is for Flows that take one request and give one reply"
            )
        endpoint.check({**dict.fromkeys(endpoint.parameters), **texts})
        self._constants = {
            name: value_of(endpoint.parameters[name].annotation, text, name) for name, text in texts.items()
        }
        self._salt = to_json(sorted(texts.items())) if texts else b""

    def all(self, source: str, target: str, concurrency: int, is_stopped: bool) -> int:
        """Run for all lines; the exit code."""
        lines = Lines(source, self._salt, FromLines(self._endpoint, self._constants))
        with closing(lines), closing(Output(target)) as output:
            output.take_up(lines)
            before = output.done
            with _bar(lines, output, before) as show:
                results = self._flow.map(calls=lines, concurrency=concurrency, on_error="keep", timeout=self._timeout)
                with closing(results):
                    for one in results:
                        result, error = self._written(one)
                        if error is not None and is_stopped:
                            raise click.ClickException(f"line {one.item.number:,} of {source}: {error.message}")
                        output.write(one.item, result, error)
                        show()
        told = f" ({before:,} of them before)" if before else ""
        if sys.stderr.isatty() or output.failed:
            click.echo(f"xooai: {output.done:,} lines done{told}, {output.failed:,} with errors", err=True)
        return 1 if output.failed else 0

    def _written(self, one: Any) -> tuple[bytes | None, XooaiError | None]:
        """What a line of the output says: a result, as JSON, or an error."""
        line: Line = one.item
        error = line.error or one.error
        if error is None:
            try:
                return JSON.encode(self._endpoint.result, one.result), None
            except XooaiError as unwritten:
                error = unwritten
        return None, error if isinstance(error, XooaiError) else Internal(f"{type(error).__name__}: {error}")


@contextmanager
def _bar(lines: Lines, output: Output, before: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr, where that is a terminal; what is given shows it anew."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda: None
        return
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[done]:,} lines"),
        TextColumn("{task.fields[rate]:,.1f}/s"),
        TextColumn("{task.fields[failed]:,} errors"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as progress:
        task = progress.add_task("", total=lines.size or None, done=0, failed=0, rate=0.0)

        def show() -> None:
            elapsed = progress.tasks[0].elapsed or 1e-9
            rate = (output.done - before) / elapsed
            progress.update(task, completed=lines.at, done=output.done, failed=output.failed, rate=rate)

        show()
        yield show


command.params.append(MODULE)
