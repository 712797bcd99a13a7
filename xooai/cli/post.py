"""`xooai post`: one call, typed by the endpoint's description."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Unpack

import click

from xooai.cli.progress import sending
from xooai.cli.remote import Reaching, Server, reached, reaching
from xooai.cli.replies import grouped, output_option, refuse_upload, writing
from xooai.cli.values import value_of
from xooai.codec import CODECS
from xooai.endpoint import Endpoint

__all__ = ["command"]

TIMEOUT = 60.0  # seconds, as for clients made in Python


async def _call(server: Server, texts: dict[str, list[str]], write: Callable[[Endpoint, Any], None]) -> None:
    """Call, and write each reply as it comes: one, or those of a stream."""
    async with reached(server) as there:
        executor, endpoint = await there.endpoint()
        refuse_upload(f"{executor}/{endpoint.name}", endpoint)
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
    callback=output_option,
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
    texts = grouped(arguments)
    asyncio.run(
        _call(
            Server(url, store=store, **way),
            texts,
            writing(output, as_json),
        )
    )


command.name = "post"
