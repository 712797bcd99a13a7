"""The TLS files of a listener, watched while it listens: renewed ones serve new connections, without a restart."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from logging import INFO, WARNING
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

from xooai.driver import ListenOptions
from xooai.errors import XooaiError
from xooai.log import logger

__all__ = ["Renewal"]

EVERY = 1.0  # seconds between two looks at the files: a new certificate may wait so long, thousands of connections cost one look
_LOG = logger("xooai.tls")

T = TypeVar("T")
Marks = list[tuple[int, int, int] | None]


class Renewal(Generic[T]):
    """What a listener has made of its TLS files, made anew once they have changed.

    `make` reads the files and checks them; it raises where they cannot be used, as while only one of certificate and key has been
    replaced. What was made before then stays in use. There is no timer: files are looked at when a connection begins,
    and when somebody says so.
    """

    def __init__(self, url: str, options: ListenOptions, make: Callable[[], T]) -> None:
        """To be made on the loop of the listener. Raises what `make` does."""
        self._loop = asyncio.get_running_loop()
        self._url = url
        self._names = [name for name in (options.certificate, options.key, options.clients) if name is not None]
        self._make = make
        self._marks = self._look()
        self._made = make()
        self._next = monotonic() + EVERY
        self._looking = Lock()  # gRPC asks from threads of its own
        self._complaint = ""

    def current(self) -> T:
        """What serves a connection that begins now: the same object until the files are renewed. Raises nothing."""
        if monotonic() >= self._next and self._looking.acquire(blocking=False):
            try:
                self._next = monotonic() + EVERY
                self._renew()
            finally:
                self._looking.release()
        return self._made

    def look(self) -> None:
        """Look at the files now, whenever that was done last. Raises nothing."""
        with self._looking:
            self._renew()

    def _look(self) -> Marks:
        return [_mark(name) for name in self._names]

    def _renew(self) -> None:
        marks = self._look()
        if marks == self._marks:
            return
        try:
            made = self._make()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with them, a connection begins as before
            # Looked at again even if nothing changes: what was missing may be permission, which no mark shows.
            self._complain(str(error) if isinstance(error, XooaiError | OSError) else type(error).__name__)
            return
        if self._look() != marks:  # they changed while they were read, and may not belong together: another time
            return
        self._marks, self._made, self._complaint = marks, made, ""
        self._tell(INFO, "the TLS files were renewed; new connections are made with them")

    def _complain(self, complaint: str) -> None:
        """Once, until something else is wrong, or nothing."""
        if complaint != self._complaint:
            self._complaint = complaint
            self._tell(WARNING, f"the renewed TLS files are not used, those before stay in use: {complaint}")

    def _tell(self, level: int, text: str) -> None:
        """Write to the log from the loop's thread: what handlers of logs do is nothing for those of gRPC."""
        with suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(_LOG.log, level, "%s: %s", self._url, text)


def _mark(name: str) -> tuple[int, int, int] | None:
    """What differs once a file has been written or replaced, also by way of a link; None where there is none."""
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
