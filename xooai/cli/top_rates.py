"""What a server did between two looks at what it counts: rates, and times of that while alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from xooai.metrics.report import Batches, Calls, Report, Slot

__all__ = ["Batching", "Endpoint", "Seen", "Worker", "between", "is_sound"]

_OWN = "xooai"  # the executor that every server has: who looks is no load
_GOOD = "OK"
_More = Callable[[float, float], float]
"""How much more something is than it was before."""
_LAST = 253_402_300_800  # seconds since 1970: the year 10000, which no clock shows


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint over one driver ("" within the process): calls a second and percentiles of their seconds, None where there
    was none; `under_way` and `waiting` now; failed calls a second by code; bytes a second; `total` calls since the server began.
    """

    executor: str
    endpoint: str
    driver: str
    rate: float
    p50: float | None
    p90: float | None
    p99: float | None
    under_way: int
    waiting: int
    errors: dict[str, float]
    received: float
    sent: float
    total: int

    @property
    def failing(self) -> float:
        return sum(self.errors.values())


class Batching(msgspec.Struct, frozen=True):
    """The batches of one endpoint: how many a second, of how many items in the mean, and the shares of why they left."""

    executor: str
    endpoint: str
    rate: float
    items: float
    reasons: dict[str, float]


class Worker(msgspec.Struct, frozen=True):
    """A process of the server; `cpu` in cores, `memory` in bytes, `age` in seconds."""

    worker: str
    cpu: float
    memory: int | None
    files: int | None
    file_limit: int | None
    threads: int
    age: float


class Seen(msgspec.Struct, frozen=True):
    """A server for `seconds`; `counts` a second by name and what; `slots` as their supervisor sees the workers.

    `missing` workers did not answer now: they are told of as before, and not among `workers`.
    """

    now: float
    seconds: float
    endpoints: list[Endpoint]
    batches: list[Batching]
    workers: list[Worker]
    waiting: dict[str, int]
    counts: dict[str, float]
    slots: list[Slot]
    missing: list[str]


def is_sound(report: Report) -> bool:
    """Whether a report can be compared with others: each call in a bucket that is told of, at a time that there is."""
    times, items = len(report.bounds) + 1, len(report.sizes) + 1
    calls = [*report.calls, *(one for answer in report.answers for one in answer.calls)]
    return (
        0 <= report.now < _LAST
        and all(len(one.buckets) == times for one in calls)
        and all(len(one.buckets) == times for answer in report.answers for one in answer.stages)
        and all(len(one.buckets) == items for answer in report.answers for one in answer.batches)
    )


def between(before: Report, after: Report) -> Seen:
    """What was between two reports of one server, which tell of the same processes: see `xooai.cli.top_answers`.

    What is less than before has begun anew where all processes are new. Where only some are, nobody knows how much of it is: it
    counts as nothing, since the sums of the others are in it, too. So does all where the server's clock was put back.
    """
    seconds = after.now - before.now
    if seconds <= 0:
        seconds, before = 1.0, after
    calls = {(one.executor, one.endpoint, one.driver): one for one in before.calls}
    batches = {(one.executor, one.endpoint): one for one in before.batches}
    workers = {(one.worker, one.started): one for one in before.workers}
    counts = {(one.name, one.what, one.executor, one.endpoint): one.number for one in before.counts}
    is_new = not any((one.worker, one.started) in workers for one in after.workers)
    more = partial(_more, is_new=is_new)
    summed: dict[str, float] = {}
    for count in after.counts:
        had = counts.get((count.name, count.what, count.executor, count.endpoint), 0)
        name = f"{count.name} {count.what}"
        summed[name] = summed.get(name, 0.0) + more(count.number, had) / seconds
    found = [one for one in after.calls if one.executor != _OWN and (one.codes or one.under_way)]
    return Seen(
        now=after.now,
        seconds=seconds,
        endpoints=[
            _endpoint(calls.get((one.executor, one.endpoint, one.driver)), one, after, seconds, more) for one in found
        ],
        batches=[_batching(batches.get((one.executor, one.endpoint)), one, seconds, more) for one in after.batches],
        workers=[
            Worker(
                one.worker,
                (one.cpu - was.cpu) / seconds if (was := workers.get((one.worker, one.started))) else 0.0,
                one.memory,
                one.files,
                one.file_limit,
                one.threads,
                after.now - one.started,
            )
            for one in after.workers
        ],
        waiting={one.queue: sum(o.waiting for o in after.queues if o.queue == one.queue) for one in after.queues},
        counts={name: rate for name, rate in summed.items() if rate},
        slots=after.slots,
        missing=after.missing,
    )


def _endpoint(before: Calls | None, after: Calls, report: Report, seconds: float, more: _More) -> Endpoint:
    had = before
    if had is None or len(had.buckets) != len(after.buckets):  # another version may have taken the server's place
        had = Calls(after.executor, after.endpoint, after.driver, {}, 0, 0.0, [0] * len(after.buckets), 0, 0)
    codes = {code: more(number, had.codes.get(code, 0)) / seconds for code, number in after.codes.items()}
    buckets = [more(one, was) for one, was in zip(after.buckets, had.buckets, strict=True)]
    p50, p90, p99 = (_percentile(buckets, report.bounds, share) for share in (0.5, 0.9, 0.99))
    queues = [one for one in report.queues if (one.executor, one.endpoint) == (after.executor, after.endpoint)]
    return Endpoint(
        after.executor,
        after.endpoint,
        after.driver,
        rate=sum(codes.values()),
        p50=p50,
        p90=p90,
        p99=p99,
        under_way=after.under_way,
        waiting=sum(one.waiting for one in queues),
        errors={code: rate for code, rate in codes.items() if rate and code != _GOOD},
        received=more(after.taken, had.taken) / seconds,
        sent=more(after.given, had.given) / seconds,
        total=sum(after.codes.values()),
    )


def _batching(before: Batches | None, after: Batches, seconds: float, more: _More) -> Batching:
    had = before.reasons if before is not None else {}
    reasons = {reason: more(number, had.get(reason, 0)) for reason, number in after.reasons.items()}
    number = sum(reasons.values())
    items = more(after.items, before.items if before is not None else 0)
    return Batching(
        after.executor,
        after.endpoint,
        number / seconds,
        items / number if number else 0.0,
        {reason: count / number for reason, count in reasons.items() if count},
    )


def _more(now: float, before: float, *, is_new: bool) -> float:
    if now >= before:
        return now - before
    return now if is_new else 0


def _percentile(buckets: Sequence[float], bounds: Sequence[float], share: float) -> float | None:
    """The time that this share of calls took at most, evenly spread in its bucket; the last bound for all beyond."""
    wanted, seen, low = share * sum(buckets), 0.0, 0.0
    if not wanted:
        return None
    for count, bound in zip(buckets, bounds, strict=False):
        if count and seen + count >= wanted:
            return low + (bound - low) * (wanted - seen) / count
        seen, low = seen + count, bound
    return low
