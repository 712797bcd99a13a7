"""Arguments as they are typed, and replies as they are shown or written, for `xooai post` and `xooai flow post`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import click

from xooai.cli.progress import receiving
from xooai.cli.show import content_of, outline
from xooai.codec import JSON
from xooai.doc import Doc
from xooai.driver import Shape
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument
from xooai.log import printable

__all__ = ["grouped", "output_option", "refuse_upload", "writing"]

_PIECE = 1024 * 1024  # bytes in memory while a reply is written


def grouped(pairs: Sequence[str]) -> dict[str, list[str]]:
    """The texts of arguments by name. Raises UsageError for one that is no `name=value`."""
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


def output_option(_: click.Context, __: click.Parameter, path: str | None) -> str | None:
    """Checked before the call: its reply should not be lost."""
    if path in (None, "-"):
        return path
    if Path(str(path)).is_dir():
        raise click.BadParameter(f"{path!r} is a directory, not a file")
    if not Path(str(path)).absolute().parent.is_dir():
        raise click.BadParameter(f"there is no directory {str(Path(str(path)).parent)!r}")
    return path


def refuse_upload(name: str, endpoint: Endpoint) -> None:
    """Raise InvalidArgument for an endpoint that takes a stream."""
    if endpoint.shape & Shape.CLIENT:
        raise InvalidArgument(
            f"{name} takes a stream as {endpoint.incoming!r}, and the command line sends one request; "
            "in Python it is stream(), astream() or open()"
        )


def writing(output: str | None, as_json: bool) -> Callable[[Endpoint, Any], None]:
    """What takes replies: to a file where one is named, else to stdout, as JSON or for people."""
    return _Written(output, as_json) if output else _as_json if as_json else _shown


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
