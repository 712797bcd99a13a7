"""`xooai serve`: executors on the network, until a signal comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import click

from xooai.cli import options
from xooai.cli.listening import ISOLATED, MODULE, OPTIONS, RELOAD, is_for_workers, listen, listen_by_workers
from xooai.cli.load import from_file, is_file, load, made
from xooai.cli.reload import supervised
from xooai.executor import Executor
from xooai.hosting import instead
from xooai.lazy import lazy

if TYPE_CHECKING:
    from xooai import workers
else:
    workers = lazy("xooai.workers")

__all__ = ["command"]

_CLASSES, _OPTIONS = "xooai.cli.serve.classes", "xooai.cli.serve.options"  # where the context keeps them

_STATIC: list[click.Parameter] = [
    click.Argument(["targets"], nargs=-1, required=True, metavar="MODULE:CLASS|FILE.yaml..."),
    *OPTIONS,
    ISOLATED,
    MODULE,
    RELOAD,
]


class Serve(click.Command):
    """A command whose further options are the constructor parameters of the classes that it is given."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get(_OPTIONS, ())]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        targets, modules, values, asks = _looked_through(args)
        if not asks and is_for_workers(values):
            listen_by_workers(values, ["serve", *args])
            ctx.exit(0)
        if values["reload"] and not asks:  # the classes are read by the process that serves, anew after each change
            ctx.exit(supervised(["serve", *(arg for arg in args if arg != "--reload")]))
        ctx.meta[_CLASSES] = _distinct(targets, modules)
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


def _looked_through(args: Sequence[str]) -> tuple[list[str], Sequence[str], dict[str, Any], bool]:
    """The targets, the modules that files may name, all values of serve's own, and whether help is asked for, before the options
    of the classes are known.
    """
    probe = click.Command(
        "serve", params=_STATIC, add_help_option=False, context_settings={"ignore_unknown_options": True}
    )
    context = probe.make_context("serve", list(args), resilient_parsing=True)
    given = context.params["targets"] or ()
    # Behind an option that is not known yet, its value would look like a target.
    targets = list(takewhile(lambda arg: not arg.startswith("-"), given))
    return (
        targets,
        context.params["modules"] or (),
        context.params,
        not {"-h", "--help"}.isdisjoint(given),
    )


def _distinct(targets: Sequence[str], modules: Sequence[str]) -> dict[type[Executor], Mapping[str, Any]]:
    """The classes, with what their constructors get from files."""
    found = [from_file(target, modules) if is_file(target) else (load(target), {}) for target in targets]
    names = [cls._xooai_class_name for cls, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise click.UsageError(
                f"two executors are called {name!r}; serve them from Python, where name= gives one another name, or from files, "
                "where metas: {name: ...} does"
            )
    return dict(found)


def _serve(**values: Any) -> None:
    context = click.get_current_context()

    def opened(stack: ExitStack) -> Sequence[Executor | workers.Apart]:
        given = {cls: {**said, **options.given(context, cls, values)} for cls, said in context.meta[_CLASSES].items()}
        if instead() is None:
            return [stack.enter_context(made(cls, its)) for cls, its in given.items()]
        workers.checked_names(values["isolated"], (workers.name_of(cls, its) for cls, its in given.items()))
        return _hosted(stack, given)

    listen(values, opened)


def _hosted(stack: ExitStack, given: Mapping[type[Executor], Mapping[str, Any]]) -> Sequence[Executor | workers.Apart]:
    """What this worker hosts: some of them may be isolated in others."""
    found: list[Executor | workers.Apart] = []
    for cls, its in given.items():
        one = workers.found(cls, its, lambda cls=cls, its=its: stack.enter_context(made(cls, its)))  # type: ignore[misc]
        if one is not None:
            found.append(one)
    return found


command = Serve(
    "serve",
    params=_STATIC,
    callback=_serve,
    context_settings={"token_normalize_func": lambda name: name.replace("_", "-")},
    help="""Serve executors until Ctrl-C or SIGTERM.

    MODULE:CLASS names a class, as my_reader:MyReader or path/to/reader.py:MyReader; modules are looked for in the
    current directory first. FILE.yaml tells of an executor, with a class of those that --module allows. Both come before
    the options of the classes.

    The parameters of a class's constructor are options: `xooai serve MODULE:CLASS --help` lists them. Of several
    classes, or where serve has an option of that name itself, they carry the executor's name, as
    --my-reader.language. A value is read as the parameter's type: JSON where it is no string; @FILE takes it from a
    file, and @@ begins one that begins with @.

    Without --keys or --insecure only addresses of this machine are served.
    """,
    epilog="""\b
Examples:
  xooai serve my_reader:MyReader
  xooai serve my_reader:MyReader --language de --url http://127.0.0.1:9000
  xooai serve examples/reader.py:Reader my_ranker:Ranker --reader.side 1024
  xooai serve my_reader:MyReader --url https://0.0.0.0:443 --certificate cert.pem --key key.pem --insecure
  xooai serve reader.yaml --module my_reader
  xooai serve my_reader:MyReader --reload""",
)
