"""What begins anew in the child of a fork: there a process has one thread, and locks that others held are never released."""

from __future__ import annotations

import os
import sys
from threading import Lock
from typing import Any, Protocol
from weakref import WeakSet

__all__ = ["LEFT", "FreshLock", "renewed"]


class _Renewable(Protocol):
    def renew(self) -> None:
        """Forget what belongs to the parent's threads and loops."""


_KNOWN: WeakSet[_Renewable] = WeakSet()
LEFT: list[Any] = []
"""The parent's loops and links, which stay as they are: to close them here would reach into the parent's."""


def renewed(thing: _Renewable) -> None:
    """Have `thing` begin anew in each child, as long as it lives."""
    _KNOWN.add(thing)


class FreshLock:
    """A lock that nobody holds in the child of a fork. To be used by `with`."""

    def __init__(self) -> None:
        self.renew()
        renewed(self)

    def renew(self) -> None:
        self._lock = Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _in_child() -> None:
    for thing in list(_KNOWN):
        thing.renew()


if sys.platform != "win32":  # which has no fork
    os.register_at_fork(after_in_child=_in_child)
