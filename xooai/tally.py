"""What is counted in this process, for whoever asks: calls by endpoint, batches, and what happened otherwise.

Counted on the way of every call, so all of it is plain integers in lists: no lock, no look-up by labels. An addition may be lost
where two threads meet in the very same one, which the interpreter allows at few places and a counter can bear. How long the
calls took that ended well, as most do, is noted on their way, and counted for many at a time. What is asked for is put together
when somebody asks, by `xooai.metrics`.

A process may start and end servers, and make executors, without end: what they counted is let go of with them, but for the last.
It is not added to anything that stays, which would pass for as many new calls.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from threading import RLock
from typing import Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from xooai import forks
from xooai.timed import STAGES

__all__ = [
    "BOUNDS",
    "OTHER",
    "SIZES",
    "Batches",
    "Calls",
    "Waiting",
    "batches",
    "calls",
    "count",
    "counted",
    "queue",
    "waiting",
]

BOUNDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
"""Seconds: at most this long, each; what is longer is in one more bucket. From a call of nothing to a client's usual timeout."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Items of a batch: at most as many, each; larger ones are in one more bucket."""
SAMPLED = 0.05  # seconds: of the calls that come within, the stages of one are timed, which takes it up to some 30 µs,
# and those that ended well are counted, which are some thousands at most
KNOWN = (
    1024  # endpoints and drivers that are counted apart at a time: what any program has; those made without end are one
)
LAST = 16  # that are told of though their server is gone, so that their last calls are scraped, too: which takes some 50 ms
OTHER = "-"
"""What stands for the executor and the endpoint of calls to none, and of what is not counted apart. None can be called so."""
_CODES = 17  # gRPC's, 0 to 16


class _Stages(Protocol):
    """How long the stages of a call took; see `xooai.timing.Timing`."""

    seconds: dict[str, float]

    def enter(self, stage: str | None) -> None: ...


class Waiting(Protocol):
    """Something in which calls or items wait."""

    @property
    def waiting(self) -> int: ...


class Calls:
    """The calls of one endpoint over one driver. `due` is the monotonic second from which on the next one is timed by stages."""

    __slots__ = (
        "__weakref__",
        "_is_adding",
        "_lock",
        "begun",
        "buckets",
        "codes",
        "due",
        "given",
        "names",
        "seconds",
        "stages",
        "taken",
        "well",
    )

    def __init__(self, owner: str, endpoint: str, driver: str) -> None:
        self.names = (owner, endpoint, driver)
        self.clear()

    def clear(self) -> None:
        """Begin at nothing."""
        self.well: list[float] = []
        """The seconds of calls that have ended well, by which they are counted when that is asked for."""
        self.begun = 0
        self.codes = [0] * _CODES
        self.buckets = [0] * (len(BOUNDS) + 1)
        """How many took at most as long as each bound, and longer than the one before; the last, those above all."""
        self.seconds = 0.0
        self.taken = self.given = 0
        self.due = 0.0
        self.stages: dict[str, tuple[list[int], list[float]]] = {}
        """Of those that were timed: how often each took how long, and its seconds in all."""
        self._lock, self._is_adding = RLock(), False

    def ended(self, code: int, seconds: float, taken: int, given: int) -> None:
        """A call has ended; it had `taken` bytes of the caller's, and has `given` as many.

        A site counts those by itself that end well and do not stream, which are most: by `well`, `taken` and `given`.
        """
        self.codes[code if code < _CODES else 2] += 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds
        self.taken += taken
        self.given += given

    def add_up(self) -> None:
        """Count the calls in `well`."""
        with self._lock:
            if self._is_adding:  # collecting garbage in here may make a call
                return
            self._is_adding = True
            try:
                self._add_up()
            finally:
                self._is_adding = False

    def _add_up(self) -> None:
        found = self.well[:]
        del self.well[: len(found)]  # another thread may have noted more by now
        found.sort()
        self.codes[0] += len(found)
        self.seconds += sum(found)
        counted = 0
        for index, bound in enumerate((*BOUNDS, inf)):
            if counted == len(found):
                break
            before, counted = counted, bisect_right(found, bound)
            self.buckets[index] += counted - before

    def refused(self, code: int) -> None:
        """A call has ended that never began."""
        self.begun += 1
        self.ended(code, 0.0, 0, 0)

    def timed(self, timing: _Stages) -> None:
        """How long the stages of a call took that ends here."""
        timing.enter(None)
        for stage in STAGES:
            seconds = timing.seconds[stage]
            buckets, total = self.stages.get(stage) or self.stages.setdefault(stage, ([0] * (len(BOUNDS) + 1), [0.0]))
            buckets[bisect_left(BOUNDS, seconds)] += 1
            total[0] += seconds


class Batches:
    """The batches of one endpoint: by why they left, and how many items they had."""

    __slots__ = ("__weakref__", "buckets", "items", "names", "reasons")

    def __init__(self, owner: str, endpoint: str) -> None:
        self.names = (owner, endpoint)
        self.clear()

    def clear(self) -> None:
        """Begin at nothing."""
        self.reasons: dict[str, int] = {}
        self.buckets = [0] * (len(SIZES) + 1)
        self.items = 0

    def left(self, reason: str, items: int) -> None:
        """A batch has left with as many items; `reason` is of a closed set."""
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self.buckets[bisect_left(SIZES, items)] += 1
        self.items += items


_Tally = TypeVar("_Tally", bound=Calls | Batches)


class _Living(Generic[_Tally]):
    """Those of one kind that servers hold, and the last that were made, by their names."""

    def __init__(self, make: Callable[..., _Tally]) -> None:
        self._make = make
        self._held: WeakValueDictionary[tuple[str, ...], _Tally] = WeakValueDictionary()
        self._last: deque[_Tally] = deque(maxlen=LAST)
        self._others: dict[
            tuple[str, ...], _Tally
        ] = {}  # of calls to none, and of what is not counted apart: one by driver
        self.renew()

    def renew(self) -> None:
        """Begin at nothing."""
        self._lock = RLock()  # once for each endpoint and driver; collecting garbage in it may make a call
        for one in self.all():
            one.clear()

    def of(self, *names: str) -> _Tally:
        with self._lock:
            found = self._held.get(names)
            if found is not None:
                return found
            if len(self._held) >= KNOWN:
                names = (OTHER, OTHER, *names[2:])
            if names[0] == OTHER:
                return self._others.setdefault(names, self._make(*names))
            found = self._held[names] = self._make(*names)
            self._last.append(found)
            return found

    def all(self) -> list[_Tally]:
        held = [one for ref in self._held.valuerefs() if (one := ref()) is not None]
        return held + list(self._others.values())


class _Tallies:
    """All of one process."""

    def __init__(self) -> None:
        self.calls: _Living[Calls] = _Living(Calls)
        self.batches: _Living[Batches] = _Living(Batches)
        self.counts: dict[tuple[str, str, str, str], int] = {}
        self.queues: WeakKeyDictionary[Waiting, tuple[str, str, str]] = WeakKeyDictionary()

    def renew(self) -> None:
        """Begin at nothing, in the child of a fork: what the parent has counted, the parent tells."""
        self.calls.renew()
        self.batches.renew()
        self.counts.clear()

    def forget(self) -> None:
        """Let go of what was counted of endpoints that are gone."""
        here = {one.names[:2] for one in self.calls.all()} | {one.names for one in self.batches.all()}
        for key in list(self.counts):
            if key[2] not in ("", OTHER) and key[2:] not in here:
                self.counts.pop(key, None)


_tallies = _Tallies()
forks.renewed(_tallies)


def calls(owner: str, endpoint: str, driver: str) -> Calls:
    """Where the calls of an endpoint over a driver are counted, as long as somebody holds it; executors of one name are one."""
    return _tallies.calls.of(owner, endpoint, driver)


def batches(owner: str, endpoint: str) -> Batches:
    """Where the batches of an endpoint are counted, as `calls`."""
    return _tallies.batches.of(owner, endpoint)


def count(name: str, what: str, owner: str = "", endpoint: str = "", number: int = 1) -> None:
    """Count something else that happened: `name` is one of `xooai.metrics.COUNTS`, `what` one of a closed set of its own."""
    key = (name, what, owner, endpoint)
    counts = _tallies.counts
    if key not in counts and len(counts) >= KNOWN:
        _tallies.forget()
        if len(counts) >= KNOWN:
            key = (name, what, OTHER, OTHER)
    counts[key] = counts.get(key, 0) + number


def queue(name: str, thing: Waiting, owner: str = "", endpoint: str = "") -> None:
    """Tell how many wait in `thing`, as long as it lives; several of one name are added up. `name` is of a closed set."""
    _tallies.queues[thing] = (name, owner, endpoint)


def waiting() -> dict[tuple[str, str, str], int]:
    """How many wait now, by queue, executor and endpoint."""
    found: dict[tuple[str, str, str], int] = {}
    for thing, key in list(_tallies.queues.items()):
        found[key] = found.get(key, 0) + thing.waiting
    return found


def counted() -> tuple[list[Calls], list[Batches], Mapping[tuple[str, str, str, str], int]]:
    """All that was counted until now."""
    _tallies.forget()
    found = _tallies.calls.all()
    for one in found:
        one.add_up()
    return found, _tallies.batches.all(), dict(_tallies.counts)
