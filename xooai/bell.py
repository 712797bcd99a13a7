"""What a thread waits at for its next work: rung, where the system allows it, without holding the interpreter's lock.

Who rings a lock of the standard library wakes a thread that finds the interpreter's own lock taken, and sleeps again.
A write to an eventfd releases that lock meanwhile, and waiting edge-triggered spares the read.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from threading import Lock
from typing import Protocol

__all__ = ["Bell", "LockBell", "make"]


class Bell(Protocol):
    """Rung at most once for each time that its one thread waits. What it needs goes with the last who holds it."""

    def ring(self) -> None: ...

    def wait(self, timeout: float) -> bool:
        """Wait at most so many seconds; whether it rang."""

    def close(self) -> None:
        """Let go of it at once, in the child of a fork: there nobody waits at it, or rings it."""


class LockBell:
    """Works everywhere."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()
        self.ring = self._lock.release

    def wait(self, timeout: float) -> bool:
        return self._lock.acquire(timeout=timeout)

    def close(self) -> None:
        pass


if sys.platform == "linux":

    class _Event:
        """A file to be written to, closed when nobody holds it: who rings late still writes into this one and no other."""

        def __init__(self) -> None:
            self.file = -1
            self.file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

        def close(self) -> None:
            file, self.file = self.file, -1
            if file >= 0:
                os.close(file)

        __del__ = close

    class _EventBell:
        """Two file descriptors."""

        def __init__(self) -> None:
            self._event = _Event()
            self._poll = select.epoll(1)
            self._poll.register(self._event.file, select.EPOLLIN | select.EPOLLET)

        def ring(self) -> None:
            os.eventfd_write(self._event.file, 1)  # its count never comes near 64 bits

        def wait(self, timeout: float) -> bool:
            return bool(self._poll.poll(timeout, 1))

        def close(self) -> None:
            self._poll.close()
            self._event.close()


_HAS_EVENTS = sys.platform == "linux" and hasattr(os, "eventfd") and hasattr(select, "epoll")


def make() -> Bell:
    """The quickest bell there is; where no more files may be opened, the one that needs none."""
    if _HAS_EVENTS:
        with suppress(OSError):
            return _EventBell()
    return LockBell()
