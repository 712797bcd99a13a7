"""Calls under way: of several with one key the first runs, and the others wait for its reply."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextvars import ContextVar
from enum import Enum
from threading import Lock

from xooai import forks
from xooai.results.shelf import Kept

__all__ = ["Ended", "Flights", "leading"]


class Ended(Enum):
    """How the first call ended, where it has no reply for the others."""

    LEFT = "left"  # its caller is gone: the next one goes first
    ALONE = "alone"  # it failed, or its reply is for its own caller: each runs for itself, all at once


leading: ContextVar[frozenset[bytes]] = ContextVar("xooai_leading", default=frozenset())
"""The keys of the calls inside of which this code runs: to wait for one of them would never end."""


class _Flight:
    def __init__(self, is_inline: bool) -> None:
        self.is_inline = is_inline
        self.waiting: list[Future[Kept | Ended]] = []


class Flights:
    """Of one server. Used from any thread and loop."""

    def __init__(self) -> None:
        self.renew()
        forks.renewed(self)

    def renew(self) -> None:
        """Forget what is under way: in the child of a fork it never ends."""
        self._lock = Lock()
        self._flights: dict[bytes, _Flight] = {}

    def join(self, key: bytes, is_inline: bool) -> Future[Kept | Ended] | None:
        """Wait by this for the call under way; None for who goes first, and has to `land`.

        Who waits `is_inline` blocks a thread, so only for a call that has its own: another one may be in need of this thread.
        """
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                self._flights[key] = _Flight(is_inline)
                return None
            waiter: Future[Kept | Ended] = Future()
            if key in leading.get() or (is_inline and not flight.is_inline):
                waiter.set_result(Ended.ALONE)
            else:
                flight.waiting.append(waiter)
            return waiter

    def land(self, key: bytes, ended: Kept | Ended) -> None:
        """Tell those who wait how it ended."""
        with self._lock:
            flight = self._flights.pop(key, None)
        for waiter in () if flight is None else flight.waiting:
            try:
                waiter.set_result(ended)
            except InvalidStateError:
                pass  # who waited has left
