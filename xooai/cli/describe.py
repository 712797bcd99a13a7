"""`xooai describe`: what a server, or a class, offers."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any, Unpack
from urllib.error import HTTPError
from urllib.parse import urlsplit

import click
from pydantic import BaseModel
from pydantic_core import to_json, to_jsonable_python
from rich import box
from rich.table import Table

from xooai import describe
from xooai.address import Address
from xooai.annotations import endpoint_from
from xooai.cli.load import unmade
from xooai.cli.remote import Reaching, Server, asked, reaching
from xooai.cli.terminal import console
from xooai.cli.type_names import records, shown
from xooai.driver import MESSAGE_LIMIT, Shape
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument, NotFound, Unavailable, too_large
from xooai.hints import nearest
from xooai.log import printable
from xooai.place import called_at, client_tls

__all__ = ["command"]

TIMEOUT = 10.0  # seconds: a description is small, and a server that takes longer for it is better asked again
_PORTS = {"http": 80, "https": 443}
_LONGEST = 60  # characters of a default that the table shows


def _openapi(server: Server) -> bytes:
    """The server's own OpenAPI document, as browsers get it."""
    address = Address.of(server.url)
    if urlsplit(address.server).scheme not in ("http", "https"):
        raise InvalidArgument(f"OpenAPI describes HTTP, and {address.server} is not; --json describes every server")
    context = client_tls(called_at(address.server, _PORTS), "http", server.options, ["http/1.1"])
    # No proxy: the calls that the document is about go straight to the server too.
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirects
    )
    try:
        with direct.open(
            urllib.request.Request(f"{address.server}/openapi.json", headers=dict(server.metadata)),
            timeout=server.timeout,
        ) as reply:
            content: bytes = reply.read(MESSAGE_LIMIT + 1)
    except HTTPError as error:
        raise Unavailable(f"{address.server}/openapi.json cannot be read: HTTP {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:  # URLError is an OSError
        raise Unavailable(f"{address.server}/openapi.json cannot be read: {getattr(error, 'reason', error)}") from error
    if len(content) > MESSAGE_LIMIT:
        raise too_large(None, MESSAGE_LIMIT, f"{address.server}/openapi.json")
    return content


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects are errors: the metadata, which may hold a token, is for the server that was named."""

    def redirect_request(self, *_: object) -> None:
        return None


def _endpoints(description: Mapping[str, Any], wanted: Sequence[str]) -> list[tuple[str, Endpoint]]:
    """The endpoints that a description tells of, those that the URL names. Raises NotFound."""
    found = [
        (executor, endpoint_from(executor, name, one, description.get("$defs", {})))
        for executor, endpoints in description["executors"].items()
        for name, one in endpoints.items()
    ]
    if not wanted:
        return found
    known = [f"{executor}/{one.name}" for executor, one in found] + list(description["executors"])
    if "/".join(wanted) not in known:
        raise NotFound(
            f"no {'/'.join(wanted)!r} there{nearest('/'.join(wanted), known)}; there are: {', '.join(known)}"
        )
    return [(executor, one) for executor, one in found if [executor, one.name][: len(wanted)] == list(wanted)]


def _show(found: Sequence[tuple[str, Endpoint]]) -> None:
    out = console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("endpoint", "parameter", "type", "default", "reply"):
        table.add_column(title, overflow="fold")
    for executor, endpoint in found:
        for row in _rows(f"{executor}/{endpoint.name}", endpoint):
            table.add_row(*map(printable, row))
    out.print(table)
    for line in _told(found):
        out.print(printable(line), soft_wrap=True)


def _rows(path: str, endpoint: Endpoint) -> list[tuple[str, str, str, str, str]]:
    reply = shown(endpoint.result.annotation)
    if endpoint.shape & Shape.SERVER:
        reply = f"stream of {reply}"
    parameters = list(endpoint.parameters.values())
    rows = [(one.name, shown(one.annotation), "" if one.required else _default(one.default)) for one in parameters]
    if endpoint.items is not None:
        rows.append((endpoint.incoming, f"stream of {shown(endpoint.items.annotation)}", ""))
    rows = rows or [("", "", "")]
    return [
        (path if first else "", *row, reply if first else "")
        for first, row in zip([True, *[False] * len(rows)], rows, strict=False)
    ]


def _default(value: Any) -> str:
    text = to_json(to_jsonable_python(value, fallback=repr)).decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _told(found: Sequence[tuple[str, Endpoint]]) -> list[str]:
    """What the endpoints say of themselves, and the fields of the records that they take and give."""
    lines = [f"{executor}/{one.name}: {one.summary.partition(chr(10))[0]}" for executor, one in found if one.summary]
    models: dict[str, type[BaseModel]] = {}
    for _, one in found:
        parts = [*(parameter.annotation for parameter in one.parameters.values()), one.result.annotation]
        for annotation in parts if one.items is None else [*parts, one.items.annotation]:
            models |= {model.__name__: model for model in records(annotation)}
    fields = [
        f"{name}: {', '.join(f'{key}: {shown(field.annotation)}' for key, field in model.model_fields.items())}"
        for name, model in models.items()
    ]
    return [*lines, *([""] if lines and fields else []), *fields]


@click.command(
    epilog="""\b
Examples:
  xooai describe http://127.0.0.1:8080
  xooai describe http://127.0.0.1:8080/reader/read
  xooai describe my_reader:MyReader
  xooai describe http://127.0.0.1:8080 --openapi > openapi.json
  xooai describe http://127.0.0.1:8080 --json | jq '.executors | keys'"""
)
@click.argument("target", metavar="URL|MODULE:CLASS")
@click.option("--openapi", is_flag=True, help="Write the OpenAPI 3.1 document instead.")
@click.option(
    "--json", "as_json", is_flag=True, help="Write the description as JSON instead, as xooai's own clients read it."
)
@reaching(TIMEOUT)
def command(target: str, openapi: bool, as_json: bool, **way: Unpack[Reaching]) -> None:
    """Show endpoints with their parameters and replies.

    Of a server, by its URL: scheme://host:port, with /executor or /executor/endpoint to see less. Or of a class, as
    MODULE:CLASS or path/to/file.py:CLASS; its constructor does not run and no model is loaded.
    """
    if openapi and as_json:
        raise click.UsageError("--openapi and --json are two forms; take one", click.get_current_context())
    server = Server(target, **way) if "://" in target else None
    if openapi:
        click.echo(_openapi(server) if server else describe.document("openapi", [unmade(target)]))
        return
    description = asyncio.run(asked(server)) if server else describe.plain([unmade(target)])
    if as_json:
        click.echo(to_json(description))
        return
    address = Address.of(target) if server else Address("")
    _show(_endpoints(description, [name for name in (address.executor, address.endpoint) if name]))


command.name = "describe"
