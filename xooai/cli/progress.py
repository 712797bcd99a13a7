"""A progress bar on stderr while large files are read and sent."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from xooai import ref as refs
from xooai.doc import Doc
from xooai.driver import MESSAGE_LIMIT
from xooai.walk import documents, replaced
from xooai.way import leaves

__all__ = ["sending"]

LARGE = 4 * 1024 * 1024  # bytes from which on it shows: less is sent before anybody reads a bar
_PIECE = 1024 * 1024  # bytes read between two steps of the bar


@contextmanager
def sending(arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The arguments, to be sent while the block runs; with large local files, their contents read already, and a bar.

    Nothing is shown where stderr is no terminal. What is beyond the limit is left alone: the call refuses it.
    """
    console = Console(file=sys.stderr)
    local = [doc for doc in documents(arguments) if not leaves(doc)] if console.is_terminal else []
    sizes = [refs.size_of(str(doc.ref)) or 0 for doc in local]
    if not LARGE <= sum(sizes) <= MESSAGE_LIMIT:
        yield arguments
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reading", total=sum(sizes))
        read = replaced(
            arguments, lambda doc: doc if leaves(doc) else _read(doc, lambda count: progress.advance(task, count))
        )
        # How much has gone out only the driver knows, and it does not say: the bar pulses until the reply is there.
        progress.update(task, description="sending, waiting for the reply", total=None)
        yield read


def _read(doc: Doc, advance: Callable[[int], None]) -> Doc:
    """The document with its content inline, as it is sent."""
    parts: list[bytes] = []
    with doc.open() as file:
        while data := file.read(_PIECE):
            parts.append(data)
            advance(len(data))
    return doc.model_copy(update={"value": type(doc).decode(b"".join(parts)), "ref": None})
