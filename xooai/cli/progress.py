"""Progress bars on stderr while large contents are sent and received."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from xooai import ref as refs
from xooai.doc import Doc
from xooai.elsewhere import moved
from xooai.walk import documents
from xooai.way import leaves

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["receiving", "sending"]

LARGE = 4 * 1024 * 1024  # bytes from which on it shows: less is there before anybody reads a bar


@contextmanager
def _bar(size: int) -> Iterator[Progress | None]:
    """A bar, where stderr is a terminal and there is enough to show."""
    console = Console(file=sys.stderr)
    if not console.is_terminal or size < LARGE:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield progress


@contextmanager
def sending(arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The arguments, to be sent while the block runs; with a bar for large local files."""
    sizes = [refs.size_of(str(doc.ref)) or 0 for doc in documents(arguments) if not leaves(doc)]
    total = sum(sizes)
    with _bar(total) as progress:
        if progress is None:
            yield arguments
            return
        # What the server has already is not sent: the bar pulses until the first bytes go out, and behind the last.
        task = progress.add_task("looking at the files", total=None)

        def tell(_: str, count: int) -> None:
            progress.update(task, description="sending", total=total, advance=count)
            if progress.tasks[task].completed >= total:
                progress.update(task, description="sending, waiting for the reply", total=None)

        token = moved.set(tell)
        try:
            yield arguments
        finally:
            moved.reset(token)


@contextmanager
def receiving(reply: Doc) -> Iterator[BinaryIO]:
    """The content of a reply, as a file; with a bar while a large one is read."""
    with reply.open() as content, _bar(reply.size or 0) as progress:
        if progress is None:
            yield content
            return
        task = progress.add_task("receiving", total=reply.size)
        yield cast("BinaryIO", io.BufferedReader(_Watched(content, progress, task)))


class _Watched(io.RawIOBase):
    def __init__(self, content: BinaryIO, progress: Progress, task: Any) -> None:
        self._content, self._progress, self._task = content, progress, task

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count: int = self._content.readinto(buffer)  # type: ignore[attr-defined]
        self._progress.advance(self._task, count)
        return count
