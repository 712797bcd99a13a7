"""What a thread waits at for its next work: rung, where the system allows it, without holding the interpreter's lock.

Who rings a lock of the standard library wakes a thread that finds the interpreter's own lock taken, and sleeps again.
A write to an eventfd releases that lock meanwhile, and waiting edge-triggered spares the read.
"""

from __future__ import annotations

import os
import select
import sys
from threading import Lock
from typing import Protocol

__all__ = ["Bell", "LockBell", "make"]


class Bell(Protocol):
    """Rung once for each time that its one thread lies down."""

    def ring(self) -> None: ...

    def wait(self, timeout: float) -> bool:
        """Wait at most so many seconds; whether it rang."""

    def close(self) -> None: ...


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

    class _EventBell:
        """Two file descriptors, for as long as the thread lives."""

        def __init__(self) -> None:
            self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            try:
                self._poll = select.epoll(1)
            except OSError:
                os.close(self._event)
                raise
            self._poll.register(self._event, select.EPOLLIN | select.EPOLLET)

        def ring(self) -> None:
            os.eventfd_write(self._event, 1)  # its count never comes near 64 bits

        def wait(self, timeout: float) -> bool:
            return bool(self._poll.poll(timeout, 1))

        def close(self) -> None:
            self._poll.close()
            os.close(self._event)


def make() -> Bell:
    """The quickest bell there is; where no more files may be opened, the one that needs none."""
    if sys.platform == "linux":
        try:
            return _EventBell()
        except OSError:
            pass
    return LockBell()
