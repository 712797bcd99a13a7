"""What was counted, as it goes from the processes of a server to the one that is asked, and to who asked: sums, added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import time
from typing import TypeVar

import msgspec

from xooai import tally
from xooai.errors import Code
from xooai.metrics.process import ALONE, Process, own_process
from xooai.tally import BOUNDS, SIZES

__all__ = [
    "COUNTS",
    "Batches",
    "Calls",
    "Count",
    "Counted",
    "Queue",
    "Report",
    "Slot",
    "Stage",
    "counted",
    "merged",
    "newest",
]

COUNTS = {
    "refusals": ("reason", "Calls refused before they began, by why"),
    "retries": ("reason", "Calls made again by clients in these processes, by why"),
    "hedges": ("result", "Calls made twice on purpose by clients in these processes, by which attempt answered"),
    "idempotency": ("result", "Calls with an idempotency key, by what came of them"),
    "result_cache": ("result", "Calls of endpoints whose replies are kept, by what came of them"),
    "passed_on": ("driver", "Calls passed on to a worker with less to do, by the driver that they came by"),
    "content_cache": ("result", "Contents looked for in the cache of this machine, by what came of them"),
}
"""What is counted beside calls and batches: the label that says what, and a sentence. See `xooai.tally.count`."""


READY = "ready"


class Calls(msgspec.Struct):
    """The calls of one endpoint over one driver, which is "" within the process.

    `codes` are ended calls by the name of gRPC's code; `buckets` how many took at most as long as each of the report's `bounds`,
    and one more for all that took longer, none counted twice; `seconds` their sum; `taken` and `given` bytes of frames.
    """

    executor: str
    endpoint: str
    driver: str
    codes: dict[str, int]
    under_way: int
    seconds: float
    buckets: list[int]
    taken: int
    given: int


class Stage(msgspec.Struct):
    """A stage of the calls of one endpoint that were timed: one in fifty milliseconds, so all of them where there are few."""

    executor: str
    endpoint: str
    stage: str
    seconds: float
    buckets: list[int]


class Batches(msgspec.Struct):
    """The batches of one endpoint: `reasons` why they left; `buckets` by how many `items` they had, by the report's `sizes`."""

    executor: str
    endpoint: str
    reasons: dict[str, int]
    items: int
    buckets: list[int]


class Queue(msgspec.Struct):
    """How many wait now: for a thread, for a batch, or to begin."""

    queue: str
    executor: str
    endpoint: str
    waiting: int


class Count(msgspec.Struct):
    """How often something happened: `name` is one of `COUNTS`, `what` as its label says."""

    name: str
    what: str
    executor: str
    endpoint: str
    number: int


class Counted(msgspec.Struct):
    """By one process. `now` is when, in seconds since 1970."""

    process: Process
    calls: list[Calls] = []
    stages: list[Stage] = []
    batches: list[Batches] = []
    queues: list[Queue] = []
    counts: list[Count] = []
    now: float = 0.0


class Slot(msgspec.Struct):
    """A worker as its supervisor sees it: READY, or what it is at instead; and how often it was replaced. `stage` is how far one
    is that loads.
    """

    number: int
    state: str
    device: str | None = None
    restarts: int = 0
    stage: str | None = None


class Report(msgspec.Struct):
    """By all processes of a server. `now` is in seconds since 1970; `bounds` in seconds, `sizes` in items.

    Where a server is one process, `slots` and `answers` are empty; else `answers` are what each said, and `missing` those workers
    that are ready and said nothing in time: the sums are without them.
    """

    now: float
    workers: list[Process]
    slots: list[Slot]
    calls: list[Calls]
    stages: list[Stage]
    batches: list[Batches]
    queues: list[Queue]
    counts: list[Count]
    bounds: list[float] = msgspec.field(default_factory=lambda: list(BOUNDS))
    sizes: list[int] = msgspec.field(default_factory=lambda: list(SIZES))
    answers: list[Counted] = []
    missing: list[str] = []


def counted() -> bytes:
    """By this process, to be sent to another."""
    calls, batches, counts = tally.counted()
    return msgspec.msgpack.encode(
        Counted(
            own_process(),
            [_calls(one) for one in calls],
            [
                Stage(*one.names[:2], stage, total[0], list(buckets))
                for one in calls
                for stage, (buckets, total) in list(one.stages.items())
            ],
            [Batches(*one.names, dict(one.reasons), one.items, list(one.buckets)) for one in batches],
            [Queue(*key, number) for key, number in tally.waiting().items()],
            [Count(*key, number) for key, number in counts.items()],
            time(),
        )
    )


def _calls(one: tally.Calls) -> Calls:
    codes, begun = list(one.codes), one.begun
    return Calls(
        *one.names,
        codes={Code(code).name: number for code, number in enumerate(codes) if number},
        under_way=max(0, begun - sum(codes)),
        seconds=one.seconds,
        buckets=list(one.buckets),
        taken=one.taken,
        given=one.given,
    )


def newest(found: Iterable[Counted]) -> list[Counted]:
    """One answer of each worker: while one is replaced, both are there, and what is told of two would pass for one."""
    by_start = sorted(found, key=lambda one: one.process.started)
    by_worker = {one.process.worker: one for one in by_start}
    return [by_worker[worker] for worker in sorted(by_worker)]


def merged(found: Iterable[Counted], now: float, slots: Sequence[Slot] = ()) -> Report:
    """All of them together, in a fixed order."""
    answers = list(found)
    here = newest(answers)
    told = {one.process.worker for one in here}
    return Report(
        now,
        [one.process for one in here],
        list(slots),
        _added(one for answer in answers for one in answer.calls),
        _added(one for answer in answers for one in answer.stages),
        _added(one for answer in answers for one in answer.batches),
        _added(one for answer in answers for one in answer.queues),
        _added(one for answer in answers for one in answer.counts),
        answers=here if slots or told != {ALONE} else [],
        missing=[str(slot.number) for slot in slots if slot.state == READY and str(slot.number) not in told],
    )


_One = TypeVar("_One", Calls, Stage, Batches, Queue, Count)


def _added(found: Iterable[_One]) -> list[_One]:
    """Those with the same names added up: what is text names them, all else is a sum."""
    sums: dict[tuple[str, ...], _One] = {}
    for one in found:
        key = tuple(value for value in msgspec.structs.astuple(one) if isinstance(value, str))
        have = sums.get(key)
        if have is None:
            sums[key] = msgspec.structs.replace(one)
            continue
        for name in one.__struct_fields__:
            setattr(have, name, _sum(getattr(have, name), getattr(one, name)))
    return [sums[key] for key in sorted(sums)]


def _sum(one: object, other: object) -> object:
    if isinstance(one, str):
        return one
    if isinstance(one, list) and isinstance(other, list):
        return [first + second for first, second in zip(one, other, strict=True)]
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}
    assert isinstance(one, int | float)
    assert isinstance(other, int | float)
    return one + other
