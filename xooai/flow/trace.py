"""What a run of a Flow did: when each node began and ended, and how."""

from __future__ import annotations

from contextvars import ContextVar
from enum import Enum
from time import monotonic
from typing import Any

import msgspec

from xooai.flow.answered import answered
from xooai.flow.targets import Target

__all__ = ["Span", "State", "Trace", "watching"]

_WIDTH = 40  # columns of a waterfall's bars


class State(Enum):
    """How a node ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Span(msgspec.Struct, frozen=True):
    """One node: seconds since the run began, how it ended, what was called, and at which server ("" for this process)."""

    id: str
    began: float
    ended: float
    state: State
    path: str
    host: str


class Trace:
    """The nodes of one run, in the order in which they ended. As text it is a waterfall."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.replies: dict[str, Any] = {}
        self._began = monotonic()

    def ended(self, id: str, target: Target, state: State, began: float) -> None:
        """A node has ended that began at this monotonic second."""
        host = ", ".join(answered.get() or ()) if target.host else ""
        span = Span(id, began - self._began, monotonic() - self._began, state, target.path, host or target.host)
        self.spans.append(span)

    def __str__(self) -> str:
        if not self.spans:
            return "no node was run"
        spans = sorted(self.spans, key=lambda span: (span.began, span.ended))
        whole = max(span.ended for span in spans) or 1e-9
        wide = max(len(span.id) for span in spans)
        return "\n".join(f"{span.id:<{wide}}  {_bar(span, whole)}  {_told(span)}" for span in spans)


def _bar(span: Span, whole: float) -> str:
    if span.state is State.SKIPPED:
        return "|" + " " * _WIDTH + "|"
    start = min(int(span.began / whole * _WIDTH), _WIDTH - 1)
    length = max(1, round((span.ended - span.began) / whole * _WIDTH))
    return "|" + (" " * start + "#" * length)[:_WIDTH].ljust(_WIDTH) + "|"


def _told(span: Span) -> str:
    time = "" if span.state is State.SKIPPED else f"{(span.ended - span.began) * 1000:9.2f} ms"
    state = "" if span.state is State.DONE else span.state.value
    where = f"{span.path} {f'at {span.host}' if span.host else 'in process'}"
    return "  ".join(filter(None, [f"{time:>12}", where, state]))


watching: ContextVar[Trace | None] = ContextVar("xooai_flow_trace", default=None)
"""Who wants to know about the next run of a Flow in this context."""
