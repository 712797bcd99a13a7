"""A run of a Flow in Chrome's trace event format.

The format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from xooai.timing import STAGES

if TYPE_CHECKING:
    from xooai.flow.trace import Called, Span, Trace

__all__ = ["chrome"]


def chrome(trace: Trace) -> str:
    """The JSON of a trace: a process for this one and each server, in it a row for each node."""
    rows = _Rows(trace.name)
    whole = _event(trace.name, "flow", (0.0, trace.seconds), rows.place("", trace.name, ()), {})
    events = [whole, *rows.of_nodes(trace.spans, ())]
    document = {"traceEvents": [*rows.names, *events], "displayTimeUnit": "ms"}
    return msgspec.json.encode(document).decode()


class _Rows:
    """Numbers of processes and rows, with the events that name them."""

    def __init__(self, name: str) -> None:
        self.names: list[dict[str, Any]] = []
        self._processes: dict[str, int] = {}
        self._rows: dict[tuple[int, tuple[str, ...], int], int] = {}
        self._next = count(1)
        self._process("", name)

    def _process(self, host: str, name: str) -> int:
        found = self._processes.get(host)
        if found is None:
            found = self._processes[host] = 1 + len(self._processes)
            self.names.append({"ph": "M", "name": "process_name", "pid": found, "args": {"name": name}})
        return found

    def place(self, host: str, name: str, path: tuple[str, ...], lane: int = 0) -> tuple[int, int]:
        """The numbers of a process and a row in it: of a node, which may have several."""
        pid = self._process(host, host)
        found = self._rows.get((pid, path, lane))
        if found is None:
            found = self._rows[pid, path, lane] = next(self._next)
            self.names.append({"ph": "M", "name": "thread_name", "pid": pid, "tid": found, "args": {"name": name}})
        return pid, found

    def of_nodes(self, spans: Sequence[Span], path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        for span in sorted(spans, key=lambda span: (span.began, span.ended)):
            yield from self._of_node(span, (*path, span.id))
            yield from self.of_nodes(span.inside, (*path, span.id))

    def _of_node(self, span: Span, path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        name, hosts = "/".join(path), {call.host for call in span.calls} or {span.host}
        place = self.place(hosts.pop() if len(hosts) == 1 else "", name, path)
        if span.state.value == "skipped":
            yield {**_event(name, "node", (span.began, span.began), place, {"state": "skipped"}), "ph": "i", "s": "t"}
            return
        told = {"endpoint": span.path, "state": span.state.value, "calls": len(span.calls), **_bytes(span)}
        if span.items is not None:
            told["items"] = span.items
        single = span.calls[0] if len(span.calls) == 1 else None
        yield _event(name, "node", (span.began, span.ended), place, {**told, **(_told(single) if single else {})})
        for wait in span.waits:
            yield _event("queue", "stage", wait, place, {})
        if single:
            yield from _stages(single, place)
            return
        # Calls at the same time stand in rows of their own: those of a row lie within each other.
        ends: dict[str, list[float]] = {}
        for number, call in enumerate(sorted(span.calls, key=lambda call: call.began), 1):
            taken = ends.setdefault(call.host, [])
            lane = next((lane for lane, end in enumerate(taken) if end <= call.began), len(taken))
            taken[lane : lane + 1] = [call.ended]
            there = self.place(call.host, f"{name} ({lane + 1})" if lane else name, path, lane)
            yield _event(f"{name} [{number}]", "call", (call.began, call.ended), there, {**_told(call), **_bytes(call)})
            yield from _stages(call, there)


def _event(
    name: str, category: str, time: tuple[float, float], place: tuple[int, int], told: dict[str, Any]
) -> dict[str, Any]:
    """A complete event. Times are whole microseconds: with parts of them one stage would end after the next has begun."""
    began, ended = (round(seconds * 1e6) for seconds in time)
    event = {"ph": "X", "name": name, "cat": category, "ts": began, "dur": max(0, ended - began)}
    return {**event, "pid": place[0], "tid": place[1], **({"args": told} if told else {})}


def _stages(call: Called, place: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """The stages within a call, in their order. When its server began nobody knows: half of the transfer came before."""
    at = call.began + call.stages.get("transfer", 0.0) / 2
    for stage in STAGES:
        seconds = call.stages.get(stage)
        if seconds:
            until = min(at + seconds, call.ended)  # sums of floats may be off by the last digit
            yield _event(stage, "stage", (at, until), place, {})
            at = until


def _told(call: Called) -> dict[str, Any]:
    told: dict[str, Any] = {"answered": call.is_answered}
    told |= {f"{stage}_ms": round(seconds * 1000, 3) for stage, seconds in call.stages.items()}
    if call.codec:
        told["codec"] = call.codec
    if call.contents:
        told |= {"contents": call.contents, "contents_cached": call.cached}
    if call.age is not None:
        told["reply_age_s"] = call.age
    return told


def _bytes(of: Span | Called) -> dict[str, int]:
    return {"sent": of.sent, "received": of.received} if of.sent or of.received else {}
