"""A run as it is told to machines, and read again to be compared with another: times in seconds, sizes in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from xooai.bench.histogram import Histogram
from xooai.bench.run import Request, Run
from xooai.bench.tally import Part
from xooai.errors import InvalidArgument, NotFound

__all__ = ["PERCENTILES", "Calls", "Conditions", "Failed", "Report", "Times", "as_json", "read_report", "report_of"]

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999}
_ABOVE = 0.5  # calls, rounded up to one: a percentile that none lies above says no more than the highest
_LARGEST = 16 * 1024 * 1024  # bytes of a file that is read as a report: ours have some tens of KiB


class Times(msgspec.Struct, frozen=True):
    """A histogram. Of percentiles those that some calls lie above; `buckets` are pairs: an end, and how many are below it."""

    count: int
    mean: float
    low: float
    high: float
    percentiles: dict[str, float]
    buckets: Sequence[tuple[float, int]]


class Conditions(msgspec.Struct, frozen=True):
    """What was asked of the run: two that differ in it compare unlike things."""

    endpoint: str
    scheme: str
    codec: str
    request_bytes: int
    rate: float | None
    arrivals: str | None
    at_once: int


class Calls(msgspec.Struct, frozen=True):
    """How many calls while it counted: `answered` well and `failed` of those that were `sent`; `unsent` were due and did not
    begin until the end, `left` were given up when the run was stopped.
    """

    sent: int
    answered: int
    failed: int
    unsent: int
    left: int


class Failed(msgspec.Struct, frozen=True):
    """The calls that failed with one code, and what the first one said."""

    count: int
    message: str
    took: Times


class Report(msgspec.Struct, frozen=True):
    """A run. `rate` is the good answers a second; `late` how long after they were due calls began, at a rate, and `was_full` that
    some had to wait until others ended; `first` until the first item of a stream; `client_cpu` the share of a core that this
    side used, `caller_cpu` that of the thread which calls.
    """

    url: str
    conditions: Conditions
    seconds: float
    calls: Calls
    rate: float
    sent_rate: float
    latency: Times
    late: Times | None
    first: Times | None
    items: int | None
    received_bytes: int
    errors: dict[str, Failed]
    client_cpu: float
    caller_cpu: float
    parts: Sequence[Part]
    was_full: bool = False
    was_stopped: bool = False
    xooai_bench: int = 1
    """The version of this form."""


def report_of(url: str, run: Run, request: Request, was_stopped: bool) -> Report:
    """What a run came to, once it is over."""
    tally, plan = run.tally, run.plan
    seconds = tally.seconds or 1e-9
    streams = bool(request.head.shape)
    return Report(
        url=url,
        conditions=Conditions(
            endpoint=request.head.path,
            scheme=url.partition(":")[0],
            codec=request.head.codec,
            request_bytes=len(request.frame),
            rate=plan.rate,
            arrivals=None if plan.rate is None else "poisson" if plan.is_poisson else "constant",
            at_once=plan.at_once,
        ),
        seconds=tally.seconds,
        calls=Calls(run.sent, tally.took.count, tally.failed, run.unsent, run.left),
        rate=tally.answered / seconds,
        sent_rate=run.sent / seconds,
        latency=_times(tally.took),
        late=None if plan.rate is None else _times(tally.late),
        first=_times(tally.first) if streams else None,
        items=tally.items if streams else None,
        received_bytes=tally.received,
        errors={code: Failed(one.took.count, one.message, _times(one.took)) for code, one in tally.failures.items()},
        client_cpu=tally.cpu,
        caller_cpu=tally.own_cpu,
        parts=tally.parts,
        was_full=run.was_full,
        was_stopped=was_stopped,
    )


def read_report(path: str) -> Report:
    """What `xooai bench --json` or `-o` wrote. Raises NotFound, InvalidArgument."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path!r}") from None
    if len(text) > _LARGEST:
        raise InvalidArgument(f"{path!r} is too large for the report of a run; write one with: xooai bench URL -o FILE")
    try:
        return msgspec.json.decode(text, type=Report)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(
            f"{path!r} is no report of a run ({error}); write one with: xooai bench URL -o FILE"
        ) from None


def _times(histogram: Histogram) -> Times:
    count = histogram.count
    return Times(
        count=count,
        mean=histogram.mean,
        low=histogram.low if count else 0.0,
        high=histogram.high,
        percentiles={name: histogram.at(share) for name, share in PERCENTILES.items() if count * (1 - share) >= _ABOVE},
        buckets=list(histogram.buckets()),
    )


def as_json(report: Report) -> bytes:
    """The report on one line."""
    return msgspec.json.encode(report)
