"""`xooai flow`: Flows in YAML files, checked, shown, explained, served and run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from xooai.cli.amounts import Number
from xooai.cli.flow_post import command as post
from xooai.cli.listening import MODULE, OPTIONS, RELOAD, is_for_workers, listen, listen_by_workers
from xooai.cli.load import flow_from
from xooai.cli.reload import supervised
from xooai.log import printable

__all__ = ["command"]

_ARGS = "xooai.cli.flow.args"  # where the context keeps them
TIMEOUT = 10.0  # seconds, as for `xooai describe`


@click.group(
    "flow",
    epilog="""\b
Examples:
  xooai flow check flow.yaml --module my_reader
  xooai flow show flow.yaml --svg > flow.svg
  xooai flow serve flow.yaml --url http://127.0.0.1:9000
  xooai flow post flow.yaml doc=@scan.jpg
  xooai flow post flow.yaml --input docs.jsonl --output out.jsonl""",
)
def command() -> None:
    """Check, show, explain, serve and run Flows that are written in YAML files.

    A file names classes and functions as module:name, of the modules alone that --module allows, or the variable XOOAI_MODULES,
    with spaces between them. Modules are looked for in the current directory first; other files that it names, from its own.
    """


class _Reloading(click.Command):
    """A command that is run by a process of its own, anew after each change, where that is asked for."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_alone = not any(arg.startswith(("--workers", "--devices")) for arg in args)
        if "--reload" in args and is_alone and {"-h", "--help"}.isdisjoint(args):
            ctx.exit(supervised(["flow", "serve", *(arg for arg in args if arg != "--reload")]))
        ctx.meta[_ARGS] = list(args)
        return super().parse_args(ctx, args)


def _subcommand(
    name: str, *params: click.Parameter, kind: type[click.Command] = click.Command
) -> Callable[[Callable[..., Any]], click.Command]:
    """A command about one file, with the option that allows modules."""

    def add(function: Callable[..., Any]) -> click.Command:
        file = click.Argument(["file"])
        made = kind(name, params=[file, *params, MODULE], callback=function, help=function.__doc__)
        command.add_command(made)
        return made

    return add


_WAIT = click.Option(
    ["--timeout"], type=Number(min=0, min_open=True), default=TIMEOUT, metavar="SECONDS", show_default=True,
    help="How long servers may take to tell what their endpoints take and give.",
)  # fmt: skip


@_subcommand("check", _WAIT)
def check(file: str, modules: Sequence[str], timeout: float) -> None:
    """Ask the servers of remote nodes what they take and give, and see that all fits."""
    with flow_from(file, modules) as flow:
        for warning in flow.check(timeout=timeout):
            click.echo(f"warning: {printable(warning)}")
        count = len(flow._planning.graph.nodes)
        click.echo(f"{file}: {count} node{'s' if count != 1 else ''}, and all fits")


@_subcommand(
    "show",
    click.Option(["--mermaid"], is_flag=True, help="In the language of Mermaid instead."),
    click.Option(["--svg"], is_flag=True, help="As SVG instead."),
)
def show(file: str, modules: Sequence[str], mermaid: bool, svg: bool) -> None:
    """Draw a Flow. Nothing is asked of servers."""
    if mermaid and svg:
        raise click.UsageError("--mermaid and --svg are two forms; take one", click.get_current_context())
    flow = flow_from(file, modules)
    if mermaid or svg:
        click.echo(flow.mermaid() if mermaid else flow.svg())
    else:
        click.echo(_safe(str(flow)))


@_subcommand("explain")
def explain(file: str, modules: Sequence[str]) -> None:
    """Tell where each node runs, what it takes from where, and what crosses a wire."""
    with flow_from(file, modules) as flow:
        click.echo(_safe(flow.explain()))


@_subcommand("serve", *OPTIONS, RELOAD, kind=_Reloading)
def serve(file: str, modules: Sequence[str], **values: Any) -> None:
    """Serve a Flow until Ctrl-C or SIGTERM, as an executor with the one endpoint `call`.

    Without --keys or --insecure only addresses of this machine are served.
    """
    if is_for_workers(values):
        listen_by_workers(values, ["flow", "serve", *click.get_current_context().meta[_ARGS]])
        return
    listen(values, lambda stack: [stack.enter_context(flow_from(file, modules))])


def _safe(text: str) -> str:
    """For a terminal without what would move its cursor; the lines stay."""
    return "\n".join(map(printable, text.split("\n"))) if sys.stdout.isatty() else text


command.add_command(post)
