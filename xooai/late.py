"""What is done a moment later, in case that it is still needed then: to wake a thread takes longer than most of what it would do.

One thread looks after a moment at what it was given before that; while there is nothing it sleeps, and in the end it leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from threading import Lock, Thread
from time import sleep

from xooai import bell, forks
from xooai.log import logger

__all__ = ["MOMENT", "Late", "later", "take_back"]

_log = logger("xooai")

MOMENT = 0.001  # seconds, at least, and at most twice as many where threads get their turn
_QUIET = 5  # moments without anything after which the thread sleeps until it is woken
_IDLE = 0.1  # seconds of sleep after which it ends: another one is made as soon as half a call takes
_NUMBERS = count()
_LIMIT = 1024  # of those that wait: more than threads would do at once, and each is held for a moment only


class Late:
    """Calls what it is given later."""

    def __init__(self) -> None:
        self._bell: bell.Bell | None = None
        self.renew()
        forks.renewed(self)

    def renew(self) -> None:
        """Begin without a thread, in the child of a fork."""
        if self._bell is not None:
            self._bell.close()
        self._waiting: dict[int, Callable[[], object]] = {}
        self._given = -1
        self._lock = Lock()
        self._bell = None
        self._is_awake = False

    def give(self, work: Callable[[], object]) -> int:
        """Have `work` called in a moment by another thread; now and by this one where too many wait, or no thread can be had.

        Returns what it is taken back by.
        """
        number = self._given = next(_NUMBERS)
        if len(self._waiting) >= _LIMIT:
            work()
            return number
        self._waiting[number] = work
        if not self._is_awake:
            self._wake()
        return number

    def take_back(self, number: int) -> None:
        """Call what was given no more, if it was not called yet: what is over by then costs that thread nothing."""
        self._waiting.pop(number, None)

    def _wake(self) -> None:
        with self._lock:
            if self._is_awake:
                return
            self._is_awake = True
            if self._bell is not None:
                self._bell.ring()
                return
            self._bell = bell.make()
            try:
                Thread(target=self._run, args=(self._bell,), name="xooai-late", daemon=True).start()
                return
            except RuntimeError:
                self._bell, self._is_awake = None, False
        while self._waiting:
            for work in self._taken(list(self._waiting)):
                work()

    def _taken(self, numbers: Sequence[int]) -> Iterator[Callable[[], object]]:
        """What was given by these numbers, as far as nobody has taken it."""
        for number in numbers:
            work = self._waiting.pop(number, None)
            if work is not None:
                yield work

    def _run(self, rung: bell.Bell) -> None:
        waiting, quiet, seen = self._waiting, 0, -1
        while True:
            numbers = list(waiting)
            sleep(MOMENT)
            for work in self._taken(numbers):
                try:
                    work()
                except Exception:  # noqa: BLE001 - the others are waited for as well
                    _log.exception("what was to be done later failed")
                del work  # nothing of it outlives it here
            quiet = 0 if self._given != seen else quiet + 1
            seen = self._given
            if quiet < _QUIET:
                continue
            quiet = 0
            with self._lock:  # so that it is rung only where it waits
                self._is_awake = False
                if waiting:  # given by one who saw it awake
                    self._is_awake = True
                    continue
            if rung.wait(_IDLE):
                continue
            with self._lock:
                if not self._is_awake:
                    self._bell = None
                    return
                rung.wait(0)  # that came as it gave up


_OWN = Late()
later, take_back = _OWN.give, _OWN.take_back
"""Those of this process."""
