"""The text that Prometheus reads, of what a server has counted: its names and labels are all of closed sets.

`prometheus_client` writes it (both formats, their escapes and their end) and counts nothing: its counters are for any thread and
find their labels anew at each call, which would cost a small call a tenth.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import accumulate
from typing import Any, Literal, TypeVar

from xooai.metrics.process import Process
from xooai.metrics.report import COUNTS, Batches, Calls, Counted, Slot, Stage, merged
from xooai.optional import load
from xooai.tally import BOUNDS, SIZES

__all__ = ["families", "written"]

_WORKER = ("worker",)
_OWN = (*_WORKER, "executor", "endpoint")
_CALL = (*_OWN, "driver")
_Found = Iterable[tuple[tuple[str, ...], float]]
_Buckets = Iterable[tuple[tuple[str, ...], Sequence[int], float]]
_One = TypeVar("_One")


class _Once:
    """What is asked once for all families."""

    def __init__(self, found: Iterable[Any]) -> None:
        self._found = list(found)

    def collect(self) -> list[Any]:
        return self._found


def written(
    answers: Sequence[Counted], slots: Sequence[Slot], form: Literal["text", "openmetrics"], is_known: bool
) -> bytes:
    """In Prometheus' own format, or OpenMetrics 1.0. Raises PluginError without its package."""
    load("prometheus_client", "/metrics", "http")
    name = "prometheus_client.openmetrics.exposition" if form == "openmetrics" else "prometheus_client.exposition"
    found: bytes = load(name, "/metrics", "http").generate_latest(_Once(families(answers, slots, is_known)))
    return found


def families(answers: Sequence[Counted], slots: Sequence[Slot], is_known: bool) -> Iterator[Any]:
    """All metrics, as families of `prometheus_client`.

    Each worker has sums of its own: one that is replaced begins at nothing, which in a sum of all would pass for many more calls.
    """
    core = load("prometheus_client.core", "/metrics", "http")
    yield from _calls(core, _of(answers, lambda one: one.calls))
    yield _histogram(
        core,
        "xooai_stage_seconds",
        "Seconds that a stage of calls took, of one call in fifty milliseconds of each endpoint and driver",
        (*_OWN, "stage"),
        (
            ((worker, one.executor, one.endpoint, one.stage), one.buckets, one.seconds)
            for worker, one in _stages(answers)
        ),
        BOUNDS,
    )
    yield from _batches(core, _of(answers, lambda one: one.batches))
    queues = (
        ((worker, one.executor, one.endpoint, one.queue), one.waiting)
        for worker, one in _of(answers, lambda one: one.queues)
    )
    yield _gauge(core, "xooai_queue_waiting", "Calls or items that wait now", (*_OWN, "queue"), queues)
    counts = _of(answers, lambda one: one.counts)
    for name, (label, text) in COUNTS.items():
        found = [
            ((worker, one.executor, one.endpoint, one.what), one.number) for worker, one in counts if one.name == name
        ]
        yield _counter(core, f"xooai_{name}", text, (*_OWN, label), found)
    yield from _processes(core, [one.process for one in answers])
    yield from _slots(core, slots)
    if is_known:
        labels = {"version": version("xooai"), "python": platform.python_version()}
        yield core.InfoMetricFamily("xooai_build", "What answers", value=labels)


def _of(answers: Iterable[Counted], part: Callable[[Counted], Iterable[_One]]) -> list[tuple[str, _One]]:
    """A part of all answers, each with the worker that it is of."""
    return [(answer.process.worker, one) for answer in answers for one in part(answer)]


def _stages(answers: Iterable[Counted]) -> list[tuple[str, Stage]]:
    """By worker, those of an endpoint over its drivers together."""
    return [(answer.process.worker, one) for answer in answers for one in merged([answer], 0.0).stages]


def _calls(core: Any, calls: Sequence[tuple[str, Calls]]) -> Iterator[Any]:
    found = [((worker, one.executor, one.endpoint, one.driver or "local"), one) for worker, one in calls]
    yield _counter(
        core,
        "xooai_calls",
        "Calls that ended, by gRPC's code",
        (*_CALL, "code"),
        (((*key, code), number) for key, one in found for code, number in sorted(one.codes.items())),
    )
    text = "Seconds from a call's arrival to its end"
    buckets = ((key, one.buckets, one.seconds) for key, one in found)
    yield _histogram(core, "xooai_call_seconds", text, _CALL, buckets, BOUNDS)
    text = "Calls that have begun and not ended"
    yield _gauge(core, "xooai_calls_under_way", text, _CALL, ((key, one.under_way) for key, one in found))
    text = "Bytes of the frames that callers sent"
    yield _counter(core, "xooai_received_bytes", text, _CALL, ((key, one.taken) for key, one in found))
    text = "Bytes of the frames that callers were sent"
    yield _counter(core, "xooai_sent_bytes", text, _CALL, ((key, one.given) for key, one in found))


def _batches(core: Any, batches: Sequence[tuple[str, Batches]]) -> Iterator[Any]:
    found = [((worker, one.executor, one.endpoint), one) for worker, one in batches]
    yield _counter(
        core,
        "xooai_batches",
        "Batches that left, by why",
        (*_OWN, "reason"),
        (((*key, reason), number) for key, one in found for reason, number in sorted(one.reasons.items())),
    )
    text, buckets = "Items of the batches that left", ((key, one.buckets, one.items) for key, one in found)
    yield _histogram(core, "xooai_batch_items", text, _OWN, buckets, SIZES)


def _processes(core: Any, workers: Sequence[Process]) -> Iterator[Any]:
    """As Prometheus' own clients call them, by worker."""
    yield _gauge(core, "xooai_workers", "Processes that answered", (), [((), len(workers))])
    for name, text, attribute in (
        ("process_resident_memory_bytes", "Memory that a process has now", "memory"),
        ("process_open_fds", "Files that a process has open", "files"),
        ("process_max_fds", "Files that a process may open", "file_limit"),
        ("process_threads", "Threads of Python in a process", "threads"),
        ("process_start_time_seconds", "When a process began, in seconds since 1970", "started"),
    ):
        found = [((one.worker,), getattr(one, attribute)) for one in workers]
        yield _gauge(core, name, text, _WORKER, [(key, value) for key, value in found if value is not None])
    cpu = [((one.worker,), one.cpu) for one in workers]
    yield _counter(core, "process_cpu_seconds", "Seconds of processors that a process took", _WORKER, cpu)


def _slots(core: Any, slots: Sequence[Slot]) -> Iterator[Any]:
    labels = (*_WORKER, "device")
    keys = [(str(one.number), one.device or "") for one in slots]
    text = "Whether a worker is ready, as its supervisor sees it"
    ready = [(key, float(one.state == "ready")) for key, one in zip(keys, slots, strict=True)]
    yield _gauge(core, "xooai_worker_ready", text, labels, ready)
    restarts = [(key, one.restarts) for key, one in zip(keys, slots, strict=True)]
    yield _counter(
        core, "xooai_worker_restarts", "Times that a worker was replaced after it had ended", labels, restarts
    )


def _counter(core: Any, name: str, text: str, labels: Sequence[str], found: _Found) -> Any:
    family = core.CounterMetricFamily(name, text, labels=labels)
    for key, value in found:
        family.add_metric(key, value)
    return family


def _gauge(core: Any, name: str, text: str, labels: Sequence[str], found: _Found) -> Any:
    family = core.GaugeMetricFamily(name, text, labels=labels)
    for key, value in found:
        family.add_metric(key, value)
    return family


def _histogram(
    core: Any,
    name: str,
    text: str,
    labels: Sequence[str],
    found: _Buckets,
    bounds: Sequence[float],
) -> Any:
    family = core.HistogramMetricFamily(name, text, labels=labels)
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    for key, buckets, total in found:
        family.add_metric(key, list(zip(names, accumulate(buckets), strict=True)), total)
    return family
