"""What `xooai top` shows: tables of endpoints, batches and processes. No name that a server tells moves the cursor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import localtime, strftime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xooai.cli.bench_text import in_seconds
from xooai.cli.top_rates import Endpoint, Seen
from xooai.log import one_line
from xooai.metrics.report import Slot

__all__ = ["KEYS", "ORDERS", "view"]

ORDERS: dict[str, Callable[[Endpoint], Any]] = {
    "name": lambda one: (one.executor, one.endpoint, one.driver),
    "calls/s": lambda one: -one.rate,
    "p99": lambda one: -(one.p99 or 0.0),
    "errors": lambda one: -one.failing,
}
"""What the endpoints may be sorted by."""
KEYS = "q quit   s sort   p pause"
_BUSY = 0.9  # of a core, or of the files that a process may open


def view(url: str, seen: Seen, order: str, note: str = "") -> RenderableType:
    """The whole picture."""
    parts: list[RenderableType] = [_title(url, seen, note), "", _endpoints(seen, order)]
    if seen.batches:
        parts += ["", _batches(seen)]
    parts += ["", _workers(seen)]
    if troubled := [_slot(one) for one in seen.slots if one.state != "ready" or one.restarts]:
        parts += ["", Text("   ".join(troubled), style="red")]
    if seen.missing:
        names = ", ".join(one_line(name) for name in seen.missing)
        parts += ["", Text(f"no answer in time from worker {names}; told of as before", style="red")]
    if more := [f"{one_line(name)} {rate:,.1f}/s" for name, rate in sorted(seen.counts.items())]:
        parts += ["", Text("   ".join(more))]
    return Group(*parts)


def _title(url: str, seen: Seen, note: str) -> Text:
    number = len(seen.workers)
    rate, failing = sum(one.rate for one in seen.endpoints), sum(one.failing for one in seen.endpoints)
    waiting = "".join(f", {count:,} wait for {one_line(queue)}" for queue, count in seen.waiting.items() if count)
    text = Text(f"{url}  {strftime('%H:%M:%S', localtime(seen.now))}  ", style="bold")
    text.append(f"{number} {'process' if number == 1 else 'processes'}, {rate:,.1f} calls/s", style="not bold")
    text.append(f", {failing:,.1f} failing/s", style="red" if failing else "not bold")
    text.append(f"{waiting}  {note}", style="not bold")
    return text


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        is_text = name in ("endpoint", "driver", "failing", "process", "why they left")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    return table


def _endpoints(seen: Seen, order: str) -> RenderableType:
    if not seen.endpoints:
        return Text("no call yet")
    table = _table("endpoint", "driver", "calls/s", "p50", "p90", "p99", "under way", "waiting", "total", "failing")
    for one in sorted(seen.endpoints, key=ORDERS[order]):
        errors = "  ".join(f"{one_line(code)} {rate:,.1f}/s" for code, rate in sorted(one.errors.items()))
        table.add_row(
            one_line(f"{one.executor}/{one.endpoint}"),
            one_line(one.driver) or "local",
            f"{one.rate:,.1f}",
            *("-" if time is None else in_seconds(time) for time in (one.p50, one.p90, one.p99)),
            f"{one.under_way:,}",
            f"{one.waiting:,}",
            f"{one.total:,}",
            Text(errors, style="red"),
        )
    return table


def _batches(seen: Seen) -> Table:
    table = _table("endpoint", "batches/s", "items", "why they left")
    for one in seen.batches:
        reasons = "  ".join(f"{one_line(reason)} {share:.0%}" for reason, share in sorted(one.reasons.items()))
        table.add_row(one_line(f"{one.executor}/{one.endpoint}"), f"{one.rate:,.1f}", f"{one.items:,.1f}", reasons)
    return table


def _workers(seen: Seen) -> Table:
    table = _table("process", "CPU", "memory MiB", "files", "threads", "age")
    for one in seen.workers:
        files = "-" if one.files is None else f"{one.files:,}"
        is_full = one.files is not None and bool(one.file_limit) and one.files > _BUSY * (one.file_limit or 0)
        table.add_row(
            one_line(one.worker),
            Text(f"{one.cpu:.0%}", style="red" if one.cpu > _BUSY else ""),
            "-" if one.memory is None else f"{one.memory / 2**20:,.0f}",
            Text(files, style="red" if is_full else ""),
            f"{one.threads:,}",
            _age(one.age),
        )
    return table


def _slot(slot: Slot) -> str:
    state = slot.state if slot.stage is None else f"{slot.state} ({slot.stage})"
    return f"worker {slot.number} is {one_line(state)}, replaced {slot.restarts:,} times"


def _age(seconds: float) -> str:
    parts: Iterable[tuple[str, int]] = (("d", 86400), ("h", 3600), ("min", 60))
    for unit, size in parts:
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
