"""The text that Prometheus reads, of what a server has counted: its names and labels are all of closed sets.

`prometheus_client` writes it (both formats, their escapes and their end) and counts nothing: its counters are for any thread and
find their labels anew at each call, which would cost a small call a tenth.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import accumulate
from typing import Any, Literal

from xooai.metrics.process import Process
from xooai.metrics.report import COUNTS, Batches, Calls, Queue, Report, Stage
from xooai.optional import load

__all__ = ["families", "written"]

_OWN = ("executor", "endpoint")


class _Once:
    """What is asked once for all families."""

    def __init__(self, found: Iterable[Any]) -> None:
        self._found = list(found)

    def collect(self) -> list[Any]:
        return self._found


def written(report: Report, form: Literal["text", "openmetrics"], is_known: bool) -> bytes:
    """In Prometheus' own format, or OpenMetrics 1.0. Raises PluginError without its package."""
    load("prometheus_client", "/metrics", "http")
    name = "prometheus_client.openmetrics.exposition" if form == "openmetrics" else "prometheus_client.exposition"
    found: bytes = load(name, "/metrics", "http").generate_latest(_Once(families(report, is_known)))
    return found


def families(report: Report, is_known: bool) -> Iterator[Any]:
    """All metrics, as families of `prometheus_client`."""
    core = load("prometheus_client.core", "/metrics", "http")
    yield from _calls(core, report.calls, report.bounds)
    yield _histogram(
        core,
        "xooai_stage_seconds",
        "Seconds that a stage of unary calls took, of one call in ten milliseconds of each endpoint and driver",
        (*_OWN, "stage"),
        [((one.executor, one.endpoint, one.stage), one.buckets, one.seconds) for one in _of_stages(report.stages)],
        report.bounds,
    )
    yield from _batches(core, report.batches, report.sizes)
    yield _gauge(core, "xooai_queue_waiting", "Calls or items that wait now", ("queue", *_OWN), _queues(report.queues))
    for name, (label, text) in COUNTS.items():
        found = [((one.executor, one.endpoint, one.what), one.number) for one in report.counts if one.name == name]
        yield _counter(core, f"xooai_{name}", text, (*_OWN, label), found)
    yield from _processes(core, report.workers)
    if is_known:
        labels = {"version": version("xooai"), "python": platform.python_version()}
        yield core.InfoMetricFamily("xooai_build", "What answers", value=labels)


def _calls(core: Any, calls: Sequence[Calls], bounds: Sequence[float]) -> Iterator[Any]:
    labels = (*_OWN, "driver")
    found = [((one.executor, one.endpoint, one.driver or "local"), one) for one in calls]
    yield _counter(
        core,
        "xooai_calls",
        "Calls that ended, by gRPC's code",
        (*labels, "code"),
        [((*key, code), number) for key, one in found for code, number in sorted(one.codes.items())],
    )
    yield _histogram(
        core,
        "xooai_call_seconds",
        "Seconds from a call's arrival to its end",
        labels,
        [(key, one.buckets, one.seconds) for key, one in found],
        bounds,
    )
    under_way = "Calls that have begun and not ended"
    yield _gauge(core, "xooai_calls_under_way", under_way, labels, [(key, one.under_way) for key, one in found])
    taken, given = "Bytes of the frames that callers sent", "Bytes of the frames that callers were sent"
    yield _counter(core, "xooai_received_bytes", taken, labels, [(key, one.taken) for key, one in found])
    yield _counter(core, "xooai_sent_bytes", given, labels, [(key, one.given) for key, one in found])


def _of_stages(stages: Iterable[Stage]) -> list[Stage]:
    return [one for one in stages if sum(one.buckets)]


def _batches(core: Any, batches: Sequence[Batches], sizes: Sequence[int]) -> Iterator[Any]:
    yield _counter(
        core,
        "xooai_batches",
        "Batches that left, by why",
        (*_OWN, "reason"),
        [
            ((one.executor, one.endpoint, reason), number)
            for one in batches
            for reason, number in sorted(one.reasons.items())
        ],
    )
    yield _histogram(
        core,
        "xooai_batch_items",
        "Items of the batches that left",
        _OWN,
        [((one.executor, one.endpoint), one.buckets, one.items) for one in batches],
        sizes,
    )


def _queues(queues: Iterable[Queue]) -> list[tuple[tuple[str, ...], int]]:
    return [((one.queue, one.executor, one.endpoint), one.waiting) for one in queues]


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
        yield _gauge(core, name, text, ("worker",), [(key, value) for key, value in found if value is not None])
    cpu = [((one.worker,), one.cpu) for one in workers]
    yield _counter(core, "process_cpu_seconds", "Seconds of processors that a process took", ("worker",), cpu)


_Found = Iterable[tuple[tuple[str, ...], float]]


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
    found: Iterable[tuple[tuple[str, ...], Sequence[int], float]],
    bounds: Sequence[float],
) -> Any:
    family = core.HistogramMetricFamily(name, text, labels=labels)
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    for key, buckets, total in found:
        family.add_metric(key, list(zip(names, accumulate(buckets), strict=True)), total)
    return family
