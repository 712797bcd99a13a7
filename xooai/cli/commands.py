"""The commands by name, each imported when it is run, and how a run ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import click

from xooai.cli.version import version_line

__all__ = ["commands", "run"]

COMMANDS = {
    "serve": "Serve executors until Ctrl-C or SIGTERM.",
    "post": "Call an endpoint and show its reply.",
    "bench": "Put load on an endpoint and show what it made of it.",
    "top": "Show what a server does now: calls, times, queues, failures.",
    "describe": "Show endpoints with their parameters and replies.",
    "flow": "Check, show, serve and run Flows that are written in YAML files.",
    "export": "Write what tools of other languages read: a .proto file.",
    "plugins": "List the installed drivers and stores.",
    "cache": "Show, empty or verify the cache of contents.",
    "keys": "Say who may call: make, list, replace and revoke keys.",
    "new": "Write a small project that runs and tests itself.",
}
INTERRUPTED = 130  # 128 + SIGINT, as shells tell it


class Commands(click.Group):
    """A group that imports a command when it is asked for: listing them imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"xooai.cli.{cmd_name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"no command {args[0]!r}{hint}; there are: {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(version_line())
        ctx.exit()


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  xooai new my-reader
  xooai serve my_reader:MyReader
  xooai describe http://127.0.0.1:8080
  xooai post http://127.0.0.1:8080/my_reader/count doc='to be or not to be'

\b
Exit codes: 0 done, 1 failed, 2 typed wrongly, 130 interrupted, 143 terminated before it was ready.
A failure is one line on stderr; XOOAI_TRACEBACK=1 shows where it came from.""",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Put machine-learning models into production.

    An executor is a class whose methods are endpoints: `serve` puts it on the network, `post` calls it from anywhere.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


def run(args: Sequence[str]) -> int:
    """Run a command; return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character shows its number
    try:
        code = commands.main(list(args), prog_name="xooai", standalone_mode=False)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output (`| head`) has left: as click and rich, end without a word
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the one place that turns errors into a line
        if _was_interrupted(error):
            return INTERRUPTED
        code = import_module("xooai.cli.failure").report(error)  # imported now: no command that works needs it
    return code if isinstance(code, int) else 0


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind it: Python 3.11 makes a RuntimeError of one that comes while a class is made."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None
