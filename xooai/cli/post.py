"""`xooai post`: one call, typed by the endpoint's description."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, Unpack

import click

from xooai.cli.progress import receiving, sending
from xooai.cli.remote import Reaching, Server, reached, reaching
from xooai.cli.show import content_of, outline
from xooai.cli.values import value_of
from xooai.codec import CODECS, JSON
from xooai.doc import Doc
from xooai.driver import Shape
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument
from xooai.log import printable

__all__ = ["command"]

TIMEOUT = 60.0  # seconds, as for clients made in Python
_PIECE = 1024 * 1024  # bytes in memory while a reply is written


def _grouped(pairs: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(
                f"{pair[:80]!r} is no argument; write name=value, or name=@FILE for what a file holds",
                click.get_current_context(),
            )
        found.setdefault(name, []).append(text)
    return found


async def _call(server: Server, texts: dict[str, list[str]], write: Callable[[Endpoint, Any], None]) -> None:
    """Call, and write each reply as it comes: one, or those of a stream."""
    async with reached(server) as there:
        executor, endpoint = await there.endpoint()
        if endpoint.shape & Shape.CLIENT:
            raise InvalidArgument(
                f"{executor}/{endpoint.name} takes a stream as {endpoint.incoming!r}, and the command line sends one request; "
                "in Python it is stream(), astream() or open()"
            )
        endpoint.check(texts)
        arguments = {name: value_of(endpoint.parameters[name].annotation, given, name) for name, given in texts.items()}
        with sending(arguments) as prepared:
            if not endpoint.shape:
                reply = await there.call(executor, endpoint, prepared)
                await asyncio.to_thread(write, endpoint, reply)
                return
            stream = await there.open(executor, endpoint, prepared)
        with closing(stream):
            async for item in stream:
                await asyncio.to_thread(write, endpoint, item)  # which may have to fetch what is not inline


def _output(_: click.Context, __: click.Parameter, path: str | None) -> str | None:
    """Checked before the call: its reply should not be lost."""
    if path not in (None, "-") and not Path(str(path)).absolute().parent.is_dir():
        raise click.BadParameter(f"there is no directory {str(Path(str(path)).parent)!r}")
    return path


@click.command(
    epilog="""\b
Arguments, by the type of the parameter:
  doc=@scan.jpg             a document: the file's content goes along; a large one once, however often it is posted
  doc=@https://host/a.jpg   a document that is elsewhere: the address alone goes, and the server fetches it, if it does
  doc=@-                    a document from standard input
  docs=@a.jpg docs=@b.jpg   a list: one argument for each item
  text='to be or not'       a Text or a string, as it stands; @@ begins one that begins with @
  min_score=0.7             anything else: JSON where it parses, else a string; bytes are base64
  page='{"scan": {"ref": "scan.jpg"}}'   a ComboDoc: JSON, in which refs to local files are sent as their content
  page=@page.json           the same from a file

\b
Examples:
  xooai post http://127.0.0.1:8080/reader/read doc=@scan.jpg min_score=0.7
  xooai post http://127.0.0.1:8080/reader/read doc=@scan.jpg --json | jq .text
  xooai post http://127.0.0.1:8080/my_executor/echo doc=@scan.jpg -o copy.jpg
  xooai post https://host/reader/read doc=@scan.jpg --metadata authorization=@token.txt"""
)
@click.argument("url")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
@click.option(
    "--json", "as_json", is_flag=True, help="Write the reply to stdout as JSON, on one line; a stream's one by one."
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    callback=_output,
    help="Write the reply to FILE (-: stdout): a document's content, anything else as JSON.",
)
@click.option("--codec", type=click.Choice(list(CODECS)), help="How the call is written.  [default: msgpack]")
@click.option(
    "--store",
    metavar="NAME=URL",
    help="Where large files go that the server reads there, as media=s3://bucket/prefix; else they are sent to the server.",
)
@reaching(TIMEOUT)
def command(
    url: str,
    arguments: Sequence[str],
    as_json: bool,
    output: str | None,
    store: str | None,
    **way: Unpack[Reaching],
) -> None:
    """Call an endpoint and show its reply, or its replies as they come.

    URL is scheme://host:port/executor/endpoint; a name may be left out where the server has only one. The types of the
    arguments come from the server's description (see: xooai describe URL). Text is shown as it is, a picture or other
    media is described: -o writes it to a file.
    """
    texts = _grouped(arguments)
    asyncio.run(
        _call(
            Server(url, store=store, **way),
            texts,
            _Written(output, as_json) if output else _as_json if as_json else _shown,
        )
    )


def _shown(_: Endpoint, reply: Any) -> None:
    shown = outline(reply)
    click.echo(printable(shown) if sys.stdout.isatty() else shown)
    if isinstance(reply, Doc) and shown.startswith("<") and sys.stderr.isatty():
        click.echo("xooai: -o FILE writes it to a file", err=True)


def _as_json(endpoint: Endpoint, reply: Any) -> None:
    click.echo(JSON.encode(endpoint.result, reply))


class _Written:
    """Writes replies to a file: the first one makes it anew, those of a stream stand one after the other."""

    def __init__(self, output: str, as_json: bool) -> None:
        self._output = output
        self._as_json = as_json
        self._mode: Literal["wb", "ab"] = "wb"

    def __call__(self, endpoint: Endpoint, reply: Any) -> None:
        with self._file() as file:
            if not self._as_json and isinstance(reply, Doc) and reply.value is None:
                with receiving(reply) as kept:
                    shutil.copyfileobj(kept, file, _PIECE)
                return
            content = None if self._as_json else content_of(reply)
            if content is None:
                content = JSON.encode(endpoint.result, reply) + (b"\n" if endpoint.shape else b"")
            file.write(content)

    @contextmanager
    def _file(self) -> Iterator[BinaryIO]:
        if self._output == "-":
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        with Path(self._output).open(self._mode) as file:
            self._mode = "ab"
            yield file


command.name = "post"
