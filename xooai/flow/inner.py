"""The nodes of a served Flow, as it tells them to who asks for the times of a call: names and numbers beside the reply.

They stand among the metrics of `Server-Timing` (https://www.w3.org/TR/server-timing/), each node before those inside of it:
`node;desc="ocr";start=0.12;dur=3.40;depth=0;state=done`, in milliseconds. What a peer says of it is drawn, not believed.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote, unquote

from xooai.call import Call
from xooai.flow.trace import Called, Span, State, Trace, watched
from xooai.metadata import TIMES

__all__ = ["MOST", "spans", "telling", "written"]

MOST = 64  # nodes that are told, and that are believed of all calls of a node: a terminal shows as many
_ROOM = 3072  # bytes of the text: gRPC has 8 KiB for all that comes with a status, and errors of ours take 3 of them
_NAME = 32  # characters of an id: a waterfall shows 24
_DEEPEST = 8  # Flows in Flows: a row is indented by as much
_NODE = re.compile(
    r'node;desc="([!#-~]{0,400})";start=([0-9]{1,9}\.[0-9]{1,3});dur=([0-9]{1,9}\.[0-9]{1,3});depth=([0-9]);state=([a-z]{1,9})'
)
_REST = re.compile(r'nodes;desc="([0-9]{1,6}) more"')
_STATES = {state.value: state for state in State}


async def telling(who: object, name: str, call: Call, answer: Callable[[Call], Awaitable[None]]) -> None:
    """Answer a call to the Flow of `who`, and tell beside the reply, or the error, what its nodes did."""
    trace = Trace(name, keeps=False)
    try:
        with watched(who, trace):
            await answer(call)
    finally:
        own, told = call.reply_metadata.get(TIMES), written(trace)
        if told:
            call.reply_metadata[TIMES] = f"{own}, {told}" if own else told


def written(trace: Trace) -> str:
    """What is told of a run: as many nodes as there is room for, and how many more there were."""
    pieces: list[str] = []
    room, more = _ROOM, 0
    for span, depth in _in_order(trace.spans, 0):
        piece = _piece(span, depth)
        if more or len(pieces) == MOST or len(piece) + 2 > room:
            more += 1
            continue
        pieces.append(piece)
        room -= len(piece) + 2
    if more:
        pieces.append(f'nodes;desc="{min(more, 999_999)} more"')
    return ", ".join(pieces)


def _in_order(spans: Sequence[Span], depth: int) -> Iterator[tuple[Span, int]]:
    for span in sorted(spans, key=lambda span: (span.began, span.ended)):
        yield span, depth
        if depth < _DEEPEST:
            yield from _in_order(span.inside, depth + 1)


def _piece(span: Span, depth: int) -> str:
    name = quote(span.id[:_NAME], safe="/()[]", errors="replace")
    start, took = max(span.began, 0.0) * 1000, max(span.ended - span.began, 0.0) * 1000
    return f'node;desc="{name}";start={start:.2f};dur={took:.2f};depth={depth};state={span.state.value}'


def spans(text: str, call: Called, most: int = MOST) -> tuple[list[Span], int]:
    """The nodes that a server has told of a call, at most so many, with those inside of them; and how many more there were.

    All lie within the call, wherever the server says that they did.
    """
    zero = call.began + call.stages.get("transfer", 0.0) / 2 + call.stages.get("queue", 0.0)
    found: list[tuple[int, Any]] = []
    more = 0
    for metric in text.split(","):
        node = _NODE.fullmatch(metric.strip())
        if node is None or node[5] not in _STATES:
            continue
        if len(found) == most:
            more += 1
            continue
        began = min(max(zero + float(node[2]) / 1000, call.began), call.ended)
        ended = min(began + float(node[3]) / 1000, call.ended)
        name = unquote(node[1])[:_NAME]
        found.append((int(node[4]), (name, began, ended, _STATES[node[5]], call.host)))
    rest = _REST.search(text)
    told, _ = _nested(found, 0, 0)
    return told, more + (int(rest[1]) if rest else 0)


def _nested(found: Sequence[tuple[int, Any]], at: int, depth: int) -> tuple[list[Span], int]:
    """The spans of one depth from this place on, each with those deeper that follow it; and the place after them."""
    told: list[Span] = []
    while at < len(found) and found[at][0] >= depth:
        name, began, ended, state, host = found[at][1]
        inside, at = _nested(found, at + 1, depth + 1)
        told.append(Span(name, began, ended, state, "", host, inside=tuple(inside)))
    return told, at
