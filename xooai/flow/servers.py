"""Which of several servers gets the next call: of two the one with less to do, and none that is out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from random import Random
from threading import Lock
from time import monotonic

from xooai import forks

__all__ = ["FIRST", "MOST", "SETTLED", "TOKENS", "Server", "Servers"]

FIRST = 0.2  # seconds for which a server is out: a part of what a process takes to start, and asking it costs one small call
MOST = 5.0  # seconds at most: what a server that is back waits for its calls
SETTLED = 10.0  # seconds after which a server that was out counts as one that never was
JITTER = 0.2  # a part of the time, more or less: many clients do not come back in the same moment
TOKENS = 10.0  # of the budget: a call that a server turned away takes one, one that went well brings a tenth (gRFC A6)
_EARNED = 0.1


class Server:
    """One server: how many calls are under way there from here, and since when and why it gets none."""

    __slots__ = ("asked_at", "back_at", "calls", "failures", "is_out", "name", "times_out", "why")

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0
        self.is_out = False
        self.times_out = 0
        """How often it was: what a call tells that began before the last time is old."""
        self.why = ""
        self.failures = 0
        self.asked_at = 0.0
        """When it is to be asked whether it is back, in monotonic seconds."""
        self.back_at = -SETTLED

    def __str__(self) -> str:
        return f"{self.name} ({self.why})" if self.why else self.name


class Servers:
    """Several servers of the same calls, for any number of threads. `random` and `clock` (monotonic seconds) are for tests."""

    def __init__(
        self, names: Sequence[str], random: Callable[[], float] | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self.all = tuple(map(Server, names))
        self.has_out = False
        """Whether one of them is out."""
        self._in = self.all
        self._random, self._clock = random or Random().random, clock
        self._tokens = TOKENS
        self._lock = Lock()
        forks.renewed(self)

    def renew(self) -> None:
        """Begin without calls under way, in the child of a fork."""
        self._lock = Lock()
        for server in self.all:
            server.calls = 0

    def take(self, tried: Collection[Server] = ()) -> Server | None:
        """A server for a call, which counts as under way there until `give_back`; None where all are out, or were `tried`."""
        with self._lock:
            found = self._in if not tried else tuple(server for server in self._in if server not in tried)
            count = len(found)
            if count == 2:
                one, other = found
                # Equally busy ones are left to chance.
                chosen = one if (one.calls - other.calls or self._random() - 0.5) < 0 else other
            elif count > 2:
                first = int(self._random() * count)
                second = int(self._random() * (count - 1))
                one, other = found[first], found[second + (second >= first)]
                chosen = other if other.calls < one.calls else one
            elif count:
                chosen = found[0]
            else:
                return None
            chosen.calls += 1
            return chosen

    def give_back(self, server: Server) -> None:
        """The call is over."""
        with self._lock:
            server.calls -= 1

    def out(self, server: Server, times: int, why: str, seconds: float | None = None) -> bool:
        """A call that began after the server had been out so many `times` says that it does not work: give it none for some
        time, longer and longer where that does not help. Whether this is news.
        """
        with self._lock:
            if server.is_out or server.times_out != times:
                return False
            if self._clock() - server.back_at >= SETTLED:
                server.failures = 0
            server.is_out = self.has_out = True
            server.times_out += 1
            self._in = tuple(one for one in self.all if not one.is_out)
            self._put_off(server, why, seconds)
            return True

    def still_out(self, server: Server, why: str) -> None:
        """It was asked, and is not back."""
        with self._lock:
            if server.is_out:
                self._put_off(server, why, None)

    def back(self, server: Server) -> None:
        """It works again."""
        with self._lock:
            if server.is_out:
                server.is_out, server.why = False, ""
                server.back_at = self._clock()
                self._in = tuple(one for one in self.all if not one.is_out)
                self.has_out = len(self._in) < len(self.all)

    def due(self) -> list[Server]:
        """Those that are out, and are to be asked now whether they are back."""
        now = self._clock()
        return [server for server in self.all if server.is_out and server.asked_at <= now]

    def may_repeat(self) -> bool:
        """Whether a call that a server has turned away may be made at another: not where most of them are turned away,
        since then the others are to have no more to do by it.
        """
        with self._lock:
            self._tokens = max(0.0, self._tokens - 1)
            return self._tokens > TOKENS / 2

    def went_well(self) -> None:
        """A call did."""
        if self._tokens < TOKENS:
            with self._lock:
                self._tokens = min(TOKENS, self._tokens + _EARNED)

    def _put_off(self, server: Server, why: str, seconds: float | None) -> None:
        server.why = why
        if seconds is None:
            server.failures += 1
            seconds = FIRST * 2 ** min(server.failures - 1, 16)
            seconds = min(MOST, seconds) * (1 - JITTER + 2 * JITTER * self._random())
        server.asked_at = self._clock() + min(seconds, MOST)
