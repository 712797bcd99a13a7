"""`xooai serve`: executors on the network, until a signal comes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from xooai.cli import logs, options
from xooai.cli.load import load, made
from xooai.cli.reload import supervised
from xooai.declare import snake_case
from xooai.driver import ListenOptions
from xooai.executor import Executor
from xooai.hosting import DEFAULT_URL, GRACE, check, serve_until_signal
from xooai.lazy import lazy
from xooai.server import Hosted
from xooai.shared_stores import store_of

if TYPE_CHECKING:
    from xooai import fetch
else:
    fetch = lazy("xooai.fetch")

__all__ = ["command"]

_CLASSES, _OPTIONS = "xooai.cli.serve.classes", "xooai.cli.serve.options"  # where the context keeps them
_TERMINATED = 128 + signal.SIGTERM

_FILE = click.Path(exists=True, dir_okay=False)
_STATIC: list[click.Parameter] = [
    click.Argument(["targets"], nargs=-1, required=True, metavar="MODULE:CLASS..."),
    click.Option(
        ["--url", "urls"], multiple=True, default=(DEFAULT_URL,), metavar="URL", show_default=True,
        help="Where to listen, scheme://host:port; may be repeated. Port 0 is any free one, the banner tells which.",
    ),
    click.Option(["--certificate"], type=_FILE, metavar="FILE", help="PEM file with the certificate, for https://."),
    click.Option(["--key"], type=_FILE, metavar="FILE", help="PEM file with the certificate's key."),
    click.Option(
        ["--clients"], type=_FILE, metavar="FILE",
        help="PEM file of authorities; only clients with a certificate of one of them may connect.",
    ),
    click.Option(
        ["--host", "hosts"], multiple=True, metavar="NAME",
        help="A name by which clients call this server, beside its own and those of its certificate; may be repeated.",
    ),
    click.Option(
        ["--grace"], type=click.FloatRange(min=0), default=GRACE, metavar="SECONDS", show_default=True,
        help="How long calls under way may take when the server stops; a second Ctrl-C ends them.",
    ),
    click.Option(
        ["--store"], metavar="NAME=URL",
        help="Where clients put large files and find those of replies, as media=s3://bucket/prefix; else the server keeps them.",
    ),
    click.Option(
        ["--fetch", "fetched"], multiple=True, metavar="HOST",
        help="A host whose https:// and http:// URLs in calls are fetched, as files.example.com, '*.example.com' or '*' for all "
        "that are public; may be repeated.  [default: none]",
    ),
    click.Option(["--insecure"], is_flag=True, help="Allow addresses beyond this machine, where anybody may call."),
    click.Option(["--reload"], is_flag=True, help="Start again when a .py file below this directory changes."),
    click.Option(
        ["--log"], type=click.Choice(["text", "json"]), default="text", show_default=True,
        help="How the log on stderr is written.",
    ),
]  # fmt: skip


class Serve(click.Command):
    """A command whose further options are the constructor parameters of the classes that it is given."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get(_OPTIONS, ())]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        targets, reload, asks = _looked_through(args)
        if reload and not asks:  # the classes are read by the process that serves, anew after each change
            ctx.exit(supervised(["serve", *(arg for arg in args if arg != "--reload")]))
        ctx.meta[_CLASSES] = _distinct(targets)
        taken = ["--help", *(flag for param in _STATIC for flag in param.opts)]
        ctx.meta[_OPTIONS] = options.options(ctx.meta[_CLASSES], taken)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write(formatter, ctx, "Options", super().get_params(ctx))
        for cls in ctx.meta[_CLASSES]:
            theirs = [option for option in ctx.meta[_OPTIONS] if option.cls is cls]
            _write(formatter, ctx, f"Options of {cls.__name__}", theirs)


def _write(formatter: click.HelpFormatter, ctx: click.Context, title: str, params: Sequence[click.Parameter]) -> None:
    records = [record for param in params if isinstance(param, click.Option) and (record := param.get_help_record(ctx))]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)


def _looked_through(args: Sequence[str]) -> tuple[list[str], bool, bool]:
    """The targets, whether to reload, and whether help is asked for, before the options of the classes are known."""
    probe = click.Command(
        "serve", params=_STATIC, add_help_option=False, context_settings={"ignore_unknown_options": True}
    )
    context = probe.make_context("serve", list(args), resilient_parsing=True)
    given = context.params["targets"] or ()
    # Behind an option that is not known yet, its value would look like a target.
    targets = list(takewhile(lambda arg: not arg.startswith("-"), given))
    return targets, bool(context.params["reload"]), not {"-h", "--help"}.isdisjoint(given)


def _distinct(targets: Sequence[str]) -> list[type[Executor]]:
    classes = [load(target) for target in targets]
    names = [snake_case(cls.__name__) for cls in classes]
    for name in names:
        if names.count(name) > 1:
            raise click.UsageError(
                f"two executors are called {name!r}; serve them from Python, where name= gives one another name"
            )
    return classes


def _serve(urls: Sequence[str], grace: float, log: str, **values: Any) -> None:
    context = click.get_current_context()
    logs.configure(log)
    with _terminable(), ExitStack() as stack:
        hosts = tuple(values.pop("hosts"))
        files = {name: values.pop(name) for name in ("certificate", "key", "clients")}
        listening = ListenOptions(hosts=hosts, insecure=values.pop("insecure"), **files)
        stores, fetched = store_of(values.pop("store")), values.pop("fetched")
        if fetched:
            os.environ["XOOAI_FETCH"] = ",".join(fetched)
            fetch.switched_on()  # raises here what is wrong with it
        check(urls, listening)
        classes = context.meta[_CLASSES]
        executors = [stack.enter_context(made(cls, options.given(context, cls, values))) for cls in classes]
        for executor in executors:
            if stores and not executor._xooai_stores:
                executor._xooai_keep(_xooai_stores=stores)
        hosted = [executor._xooai_local() for executor in executors]
        serve_until_signal(hosted, urls, listening, grace, lambda bound: _announce(bound, hosted))


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the program as Ctrl-C does, also while models are loaded: `close` is called."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _announce(urls: Sequence[str], executors: Sequence[Hosted]) -> None:
    """The banner: one line with the URLs, then one for each endpoint."""
    lines = [f"xooai serves at {' '.join(urls)}"]
    for url in urls:
        lines += [f"  {url}/{one.name}/{endpoint.name}" for one in executors for endpoint, _ in one.endpoints()]
        if urlsplit(url).scheme in ("http", "https"):
            lines.append(f"  {url}/docs")
    click.echo("\n".join(lines))
    sys.stdout.flush()


command = Serve(
    "serve",
    params=_STATIC,
    callback=_serve,
    context_settings={"token_normalize_func": lambda name: name.replace("_", "-")},
    help="""Serve executors until Ctrl-C or SIGTERM.

    MODULE:CLASS names a class, as my_reader:MyReader or path/to/reader.py:MyReader; modules are looked for in the
    current directory first. The classes come before their options.

    The parameters of a class's constructor are options: `xooai serve MODULE:CLASS --help` lists them. Of several
    classes, or where serve has an option of that name itself, they carry the executor's name, as
    --my-reader.language. A value is read as the parameter's type: JSON where it is no string; @FILE takes it from a
    file, and @@ begins one that begins with @.

    Without --insecure only addresses of this machine are served.
    """,
    epilog="""\b
Examples:
  xooai serve my_reader:MyReader
  xooai serve my_reader:MyReader --language de --url http://127.0.0.1:9000
  xooai serve examples/reader.py:Reader my_ranker:Ranker --reader.side 1024
  xooai serve my_reader:MyReader --url https://0.0.0.0:443 --certificate cert.pem --key key.pem --insecure
  xooai serve my_reader:MyReader --reload""",
)
