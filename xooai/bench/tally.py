"""What is counted of the calls of one run: in buckets, so that hours of it take no more memory than seconds."""

from __future__ import annotations

import time
from math import inf

import msgspec

from xooai.bench.histogram import Histogram
from xooai.errors import XooaiError

__all__ = ["PARTS", "Failures", "Part", "Tally"]

PARTS = 20  # of a run: how far they lie apart tells its noise


class Part(msgspec.Struct, frozen=True):
    """What a part of a run came to: its seconds, its answers, and percentiles in seconds."""

    seconds: float
    answered: int
    p50: float
    p90: float
    p99: float


class Failures(msgspec.Struct):
    """The calls that ended with one code: how long they took, and what the first of them said."""

    message: str
    took: Histogram = msgspec.field(default_factory=Histogram)


class Tally:
    """Counts calls that are due from `begin` on. Times are those of `time.monotonic`."""

    def __init__(self, duration: float, calls: int | None) -> None:
        """A run of so many seconds (which may be infinite) or calls at most."""
        self.took, self.late, self.first = Histogram(), Histogram(), Histogram()
        """From when a call was due until its answer; until it began; until the first item of its stream."""
        self.failures: dict[str, Failures] = {}
        self.received = self.items = 0
        self.answered = 0
        """Calls that were answered between begin and end, whenever they were due."""
        self.parts: list[Part] = []
        self.begun = self.ended = inf
        self._length = duration / PARTS
        self._full = max(1, (calls or 0) // PARTS) if duration == inf else None
        self._part, self._part_began, self._turn = Histogram(), inf, inf
        self._cpu = self._own_cpu = 0.0

    def begin(self) -> None:
        """Count from now on."""
        self._cpu, self._own_cpu = time.process_time(), time.thread_time()
        self.begun = self._part_began = time.monotonic()
        self._turn = self.begun + self._length

    def end(self) -> None:
        """The run is over: calls that are under way still tell how long they took."""
        if self.ended == inf:
            if self.begun == inf:  # stopped while it warmed up
                self.begin()
            self.ended = time.monotonic()
            self._cpu, self._own_cpu = time.process_time() - self._cpu, time.thread_time() - self._own_cpu
            self._close_part(self.ended)
            self._turn = inf

    @property
    def seconds(self) -> float:
        """How long it has counted; at most until its end."""
        return 0.0 if self.begun == inf else min(self.ended, time.monotonic()) - self.begun

    @property
    def cpu(self) -> float:
        """The share of a core that this process used; after the end."""
        return self._cpu / self.seconds if self.seconds else 0.0

    @property
    def own_cpu(self) -> float:
        """The share of a core that the thread used which makes the calls: at 1 it can make no more."""
        return self._own_cpu / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        return sum(one.took.count for one in self.failures.values())

    def begin_stream(self, due: float, now: float) -> None:
        """The first item of a stream has come."""
        if due >= self.begun:
            self.first.add(now - due)

    def add(self, due: float, ended: float, size: int, items: int = 0) -> None:
        """One call was answered by so many bytes; a stream by so many items."""
        if self.begun <= ended < self.ended:
            self.answered += 1
        if due < self.begun:
            return
        self.received += size
        self.items += items
        took = ended - due
        self.took.add(took)
        if ended >= self._turn or self._part.count == self._full:
            self._close_part(ended)
        self._part.add(took)

    def fail(self, due: float, ended: float, error: XooaiError) -> None:
        if due < self.begun:
            return
        code = error.code.name
        found = self.failures.get(code)
        if found is None:
            found = self.failures[code] = Failures(error.message)
        found.took.add(ended - due)

    def _close_part(self, now: float) -> None:
        part, self._part = self._part, Histogram()
        seconds, self._part_began = now - self._part_began, now
        if self._full is None:
            self._turn = max(self._turn + self._length, now)
        if seconds > 0 and len(self.parts) < 2 * PARTS:
            self.parts.append(Part(seconds, part.count, part.at(0.5), part.at(0.9), part.at(0.99)))
