"""`xooai export`: an executor's endpoints in a form that tools of other languages read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Unpack

import click

from xooai import describe
from xooai.address import Address
from xooai.cli.load import unmade
from xooai.cli.remote import Reaching, Server, asked, reaching
from xooai.declare import checked_name
from xooai.errors import NotFound
from xooai.hints import nearest
from xooai.proto_schema import files
from xooai.proto_text import text

__all__ = ["command"]

TIMEOUT = 10.0  # seconds, as for `xooai describe`


@click.group(
    epilog="""\b
Examples:
  xooai export proto my_reader:MyReader > my_reader.proto
  xooai export proto --help"""
)
def command() -> None:
    """Write an executor's endpoints in a form that tools of other languages read."""


@command.command(
    epilog="""\b
Examples:
  xooai export proto my_reader:MyReader > my_reader.proto
  xooai export proto grpc://127.0.0.1:50051/my_reader > my_reader.proto
  protoc --go_out=. --go-grpc_out=. my_reader.proto"""
)
@click.argument("target", metavar="URL|MODULE:CLASS")
@click.option("--name", metavar="NAME", help="What a class is served as, where that is not its own name in snake_case.")
@reaching(TIMEOUT)
def proto(target: str, name: str | None, **way: Unpack[Reaching]) -> None:
    """Write the .proto file of an executor: a service, and messages that mirror documents and parameters.

    A server with the gRPC driver answers stubs that protoc makes of it. Of a class, as MODULE:CLASS or
    path/to/file.py:CLASS, whose constructor does not run; or of a server of any driver, by its URL: scheme://host:port,
    with /executor where it has several.
    """
    if "://" in target:
        if name is not None:
            raise click.UsageError(f"--name is for a class; write {target}/{name}", click.get_current_context())
        description = asyncio.run(asked(Server(target, **way)))
        description["executors"] = _one(description["executors"], Address.of(target).executor, target)
    else:
        description = describe.plain([unmade(target)])
        (endpoints,) = description["executors"].values()
        if name is not None:
            description["executors"] = {_checked(name): endpoints}
    (file,) = files(description)
    click.echo(text(file), nl=False)


def _one(executors: Mapping[str, Any], name: str, target: str) -> dict[str, Any]:
    """The executor that a URL names. Raises NotFound."""
    known = ", ".join(executors)
    if not name and len(executors) != 1:
        raise NotFound(f"{target} has {len(executors)} executors; write one of them into the URL: {known}")
    if name and name not in executors:
        raise NotFound(f"no {name!r} there{nearest(name, list(executors))}; there are: {known}")
    name = name or next(iter(executors))
    return {name: executors[name]}


def _checked(name: str) -> str:
    try:
        return checked_name(name)
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None


command.name = "export"
