"""A run of a Flow as text: when each node ran, with the stages of its calls, and below them in figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from xooai.flow.terminal_text import columns, cut, padded, printable

if TYPE_CHECKING:
    from xooai.flow.trace import Called, Span, Trace

__all__ = ["drawn"]

MARKS = {"transfer": "-", "queue": ".", "decode": "<", "fetch": "~", "handle": "#", "encode": ">"}
"""How the stages are drawn, and told in the heading of the figures."""
UNTOLD = "="  # a call of which only the whole is known

_WIDTH = 100  # columns of the text, where ids and places allow it
_BARS = range(24, 61)  # columns of the bars
_LABEL = 24  # columns of an id: a longer one is cut
_WHERE = 48  # and of where it ran
_LEAST = 5e-6  # seconds: what is shorter would be 0.00 ms
_UNITS = ("B", "KiB", "MiB", "GiB")

Row = tuple[str, "Span"]
Piece = tuple[float, float, str]
"""From one second to another, as this mark."""


def drawn(trace: Trace) -> str:
    """The text of a trace."""
    rows = list(_rows(trace.spans, ""))
    if not rows:
        return f"{trace.name}: no node was run"
    whole = max([trace.seconds, *(span.ended for _, span in rows)]) or 1e-9
    lines = [f"{_label(trace.name)}: {_ms(whole)} ms", *_bars(rows, whole)]
    figures = [row for row in rows if row[1].stages or row[1].sent or row[1].received]
    if figures:
        lines += ["", *_figures(figures)]
    notes = [f"{id.strip()}: {note}" for id, span in rows if (note := _note(span))]
    return "\n".join([*lines, *notes])


def _rows(spans: Sequence[Span], indent: str) -> Iterator[Row]:
    for span in sorted(spans, key=lambda span: (span.began, span.ended)):
        yield indent + _label(span.id), span
        yield from _rows(span.inside, indent + "  ")


# The bars


def _bars(rows: Sequence[Row], whole: float) -> Iterator[str]:
    first = max(columns(id) for id, _ in rows)
    times = [_ms(span.ended - span.began) if span.state.value != "skipped" else "" for _, span in rows]
    second = max(map(len, times))
    wheres = [_where(span) for _, span in rows]
    room = _WIDTH - first - second - max(map(columns, wheres)) - len("  ||   ms  ")
    width = min(max(room, _BARS.start), _BARS.stop - 1)
    for (id, span), time, where in zip(rows, times, wheres, strict=True):
        bar = "".join(_bar(span, whole, width))
        yield f"{padded(id, first)}  |{bar}|  {time:>{second}} {'ms' if time else '  '}  {where}"


def _where(span: Span) -> str:
    place = f"at {span.host}" if span.host else "in process"
    where = cut(f"{printable(span.path)} {place}" if span.path else f"told by {span.host}", _WHERE)
    return where if span.state.value == "done" else f"{where}  {span.state.value}"


def _bar(span: Span, whole: float, width: int) -> list[str]:
    cells = [" "] * width
    pieces = [*((began, ended, MARKS["queue"]) for began, ended in span.waits), *_pieces(span.calls)]
    if not span.calls and span.state.value != "skipped":  # it ended before it was called
        pieces = [(span.began, span.ended, UNTOLD)]
    for began, ended, mark in pieces:
        for cell in range(round(began / whole * width), min(round(ended / whole * width), width)):
            cells[cell] = mark
    if pieces and set(cells) == {" "}:
        cells[min(int(span.began / whole * width), width - 1)] = max(pieces, key=lambda piece: piece[1] - piece[0])[2]
    return cells


def _pieces(calls: Sequence[Called]) -> list[Piece]:
    """What is drawn of the calls of a node; of those that ran at the same time, the stages in proportion."""
    if not calls:
        return []
    calls = sorted(calls, key=lambda call: call.began)
    if any(one.ended > other.began for one, other in pairwise(calls)):
        stages: dict[str, float] = {}
        for call in calls:
            for stage, seconds in (call.stages or {"": call.ended - call.began}).items():
                stages[stage] = stages.get(stage, 0.0) + seconds
        return _staged(calls[0].began, max(call.ended for call in calls), stages)
    return [piece for call in calls for piece in _staged(call.began, call.ended, call.stages or {"": 1.0})]


def _staged(began: float, ended: float, stages: Mapping[str, float]) -> list[Piece]:
    """Stages one after another; what is transferred goes half before, half after the others, since nobody knows."""
    half = stages.get("transfer", 0.0) / 2
    order = [
        ("transfer", half),
        *((stage, stages.get(stage, 0.0)) for stage in (*list(MARKS)[1:], "")),
        ("transfer", half),
    ]
    total = sum(seconds for _, seconds in order) or 1.0
    found, at = [], began
    for stage, seconds in order:
        until = at + seconds / total * (ended - began)
        found.append((at, until, MARKS.get(stage, UNTOLD)))
        at = until
    return found


# The figures


def _figures(rows: Sequence[Row]) -> Iterator[str]:
    names = [stage for stage in MARKS if any(span.stages.get(stage, 0.0) >= _LEAST for _, span in rows)]
    heads = ["ms", *(f"{MARKS[name]} {name}" for name in names)]
    has_bytes = any(span.sent or span.received for _, span in rows)
    if has_bytes:
        heads += ["sent", "received"]
    table = [heads]
    for id, span in rows:
        stages = span.stages
        cells = [id, *(_ms(stages[name]) if stages.get(name, 0.0) >= _LEAST else "" for name in names)]
        if has_bytes:
            cells += [_size(span.sent), _size(span.received)] if span.host else ["", ""]
        table.append(cells)
    widths = [max(map(columns, column)) for column in zip(*table, strict=True)]
    for first, *others in table:
        cells = [
            padded(first, widths[0]),
            *(f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)),
        ]
        yield "  ".join(cells).rstrip()


def _note(span: Span) -> str:
    """What there is to say of a node beside its times."""
    calls, notes = span.calls, []
    if span.items is not None:
        notes.append(f"{span.items:,} items")
    failed = sum(not call.is_answered for call in calls)
    if len(calls) > 1:
        notes.append(f"{len(calls):,} calls" + (f", {failed:,} without an answer" if failed else ""))
    contents, cached = sum(call.contents for call in calls), sum(call.cached for call in calls)
    if contents:
        notes.append(f"{cached:,} of {contents:,} contents were in its cache")
    untold = sum(call.untold for call in calls)
    if untold:
        notes.append(f"{untold:,} more nodes inside")
    ages = [call.age for call in calls if call.age is not None]
    if ages:
        notes.append(
            f"its reply was kept, {max(ages):,} s old" if len(calls) == 1 else f"{len(ages):,} replies were kept"
        )
    return "; ".join(notes)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.2f}"


def _size(size: float) -> str:
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:,.1f} {_UNITS[unit]}" if unit else f"{size:,} B"


def _label(text: str) -> str:
    return cut(printable(text), _LABEL)
