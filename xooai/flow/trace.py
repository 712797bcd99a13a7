"""What a run of a Flow did: when each node began and ended, how, and where the time of its calls went."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from html import escape
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from xooai.endpoint import Endpoint
from xooai.errors import XooaiError
from xooai.lazy import lazy
from xooai.metadata import TIMES, Inquiry
from xooai.timing import STAGES, read_timing

if TYPE_CHECKING:
    from xooai import elsewhere
    from xooai.flow import chrome as traces
    from xooai.flow import inner, waterfall
    from xooai.flow.targets import Target
else:
    elsewhere = lazy("xooai.elsewhere")
    traces = lazy("xooai.flow.chrome")
    inner = lazy("xooai.flow.inner")
    waterfall = lazy("xooai.flow.waterfall")

__all__ = ["Called", "Run", "Span", "State", "Trace", "Watch", "watched", "watching"]

_KEPT = "xooai-cached"
_AGE = 10  # digits of the seconds since a reply was made: 300 years


class State(Enum):
    """How a node ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Called(msgspec.Struct, frozen=True):
    """One call of a node: from `began` to `ended`, in seconds since the run began, at a server ("" for this process).

    `stages` are seconds of `queue`, `decode`, `fetch`, `handle` and `encode`, as who answered has told, and `transfer`, which
    is the rest; empty where nothing was told. `sent` and `received` are bytes that crossed a wire: of messages, in `codec`, and
    of contents that the server was sent before them.
    """

    began: float
    ended: float
    is_answered: bool
    host: str = ""
    stages: Mapping[str, float] = {}
    sent: int = 0
    received: int = 0
    codec: str = ""
    contents: int = 0
    """Contents that the handler read and that stood elsewhere; `cached` of them were in its cache."""
    cached: int = 0
    untold: int = 0
    """Nodes of a Flow over there that are not shown, for there are too many."""
    age: int | None = None
    """Seconds since the reply was made, where it is one that was kept."""


class Span(msgspec.Struct, frozen=True):
    """One node: seconds since the run began, how it ended, what was called, and at which server ("" for this process).

    It has several `calls` with `each=` and where calls were made anew. `inside` are the nodes of a Flow: of one that is served
    elsewhere what its server told of them, at `host` and without a `path`.
    """

    id: str
    began: float
    ended: float
    state: State
    path: str
    host: str
    calls: tuple[Called, ...] = ()
    inside: tuple[Span, ...] = ()
    items: int | None = None
    """How many items a node gave that streams: of its call only the whole is known."""

    @property
    def stages(self) -> dict[str, float]:
        """Seconds by stage, of all calls: some may have run at the same time. Where none ran, the node was queued here."""
        found: dict[str, float] = {}
        for call in self.calls:
            for stage, seconds in call.stages.items():
                found[stage] = found.get(stage, 0.0) + seconds
        if found:
            found["queue"] = found.get("queue", 0.0) + sum(ended - began for began, ended in self.waits)
        return found

    @property
    def waits(self) -> list[tuple[float, float]]:
        """From when to when no call ran: before the first, while others of the Flow had their turn, and before one made anew."""
        found, at = [], self.began
        for call in sorted(self.calls, key=lambda call: call.began):
            if call.began > at:
                found.append((at, call.began))
            at = max(at, call.ended)
        return found

    @property
    def sent(self) -> int:
        """Bytes that were sent to the node's server."""
        return sum(call.sent for call in self.calls)

    @property
    def received(self) -> int:
        """Bytes of the messages that it answered."""
        return sum(call.received for call in self.calls)


class Trace:
    """The nodes of one run, in the order in which they ended. As text it is a waterfall."""

    def __init__(self, name: str, zero: float | None = None, keeps: bool = True) -> None:
        """`zero` is where the clock of a run began that this one is a part of. Nobody reads replies for one that `keeps` none."""
        self.name, self.keeps = name, keeps
        self.seconds = 0.0
        """How long the whole took."""
        self.spans: list[Span] = []
        self.replies: dict[str, Any] = {}
        self._zero = perf_counter() if zero is None else zero
        self._began: dict[str, float] = {}
        self._calls: dict[str, list[Called]] = {}
        self._inside: dict[str, list[Span]] = {}

    def chrome(self) -> str:
        """The run as JSON in Chrome's trace event format, as https://ui.perfetto.dev and https://www.speedscope.app show it."""
        return traces.chrome(self)

    def __str__(self) -> str:
        return waterfall.drawn(self)

    def __repr__(self) -> str:
        return f"<Trace of {self.name!r}: {len(self.spans)} nodes, {self.seconds * 1000:,.2f} ms>"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    # What a run tells.

    def restart(self) -> None:
        """The run begins now: what came before was made ready for it."""
        self._zero = perf_counter()

    def stop(self) -> None:
        """The run has ended."""
        self.seconds = self._now()

    def begin(self, id: str) -> None:
        """A node begins, or what came before its call has ended."""
        self._began[id] = self._now()

    def end(self, id: str, target: Target, state: State, items: int | None = None) -> None:
        """A node has ended, which gave so many items where it streams."""
        began, calls, inside = self._began.pop(id), self._calls.pop(id, ()), self._inside.pop(id, ())
        host = ", ".join(dict.fromkeys(call.host for call in calls)) or target.host
        self.spans.append(Span(id, began, self._now(), state, target.path, host, tuple(calls), tuple(inside), items))

    def calling(self, id: str, target: Target) -> Callable[[Endpoint, dict[str, Any], float | None], Awaitable[Any]]:
        """The target's `call`, noted as one of a node's."""

        async def call(endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None) -> Any:
            watch, began, is_answered = Watch(self._zero, target.host), self._now(), False
            token = elsewhere.moved.set(watch.uploading(elsewhere.moved.get())) if target.host else None
            try:
                reply = await target.call(endpoint, arguments, timeout, watch)
                is_answered = True
            except XooaiError as error:
                watch.beside = watch.beside or error._beside
                raise
            finally:
                if token is not None:
                    elsewhere.moved.reset(token)
                self._note(id, watch, _called(watch, began, self._now(), is_answered))
            return reply

        return call

    def _note(self, id: str, watch: Watch, called: Called) -> None:
        """A call of a node has ended."""
        text = watch.beside.get(TIMES, "") if watch.host else ""
        if watch.inside is not None:
            self._inside.setdefault(id, []).extend(watch.inside.spans)
        elif "node;" in text:
            known = self._inside.setdefault(id, [])
            told, untold = inner.spans(text, called, max(inner.MOST - len(known), 0))
            known += told
            called = structs.replace(called, untold=untold)
        self._calls.setdefault(id, []).append(called)

    def _now(self) -> float:
        return perf_counter() - self._zero


class Run(msgspec.Struct, frozen=True):
    """What `Flow.run` gives: the result, the replies of all nodes that were called, by id, and when each ran."""

    result: Any
    replies: Mapping[str, Any]
    trace: Trace


class Watch(Inquiry):
    """Metadata of one call of a node, by which it is asked where the time went. `inside` is filled by a Flow of this process."""

    inside: Trace | None = None

    def __init__(self, zero: float, host: str) -> None:
        super().__init__({})
        self.zero = zero
        """Where the clock of the run began."""
        self.host = host
        """The server; of several, the one that was called last."""
        self.uploaded = 0
        """Bytes of contents that went to it before the message."""

    def uploading(self, before: Callable[[str, int], None] | None) -> Callable[[str, int], None]:
        """What is told of contents that go to a server, and tells who wanted to know before."""

        def told(signature: str, size: int) -> None:
            self.uploaded += size
            if before is not None:
                before(signature, size)

        return told


def _called(watch: Watch, began: float, ended: float, is_answered: bool) -> Called:
    text = watch.beside.get(TIMES)
    age = watch.beside.get(_KEPT, "")
    told = read_timing(text or "")
    stages: dict[str, float] = {}
    if text is not None:
        # Of a server that says more than the time that there was, only the proportions can be right.
        whole, given = ended - began, sum(told.seconds.values())
        scale = min(1.0, whole / given) if given else 1.0
        stages = {stage: told.seconds[stage] * scale for stage in STAGES if stage in told.seconds}
        stages["transfer"] = whole - sum(stages.values())
    return Called(
        began,
        ended,
        is_answered,
        watch.host,
        stages,
        watch.sent + watch.uploaded,
        watch.received,
        watch.codec,
        told.contents,
        told.cached,
        0,
        int(age) if age.isdecimal() and age.isascii() and len(age) <= _AGE else None,
    )


watching: ContextVar[tuple[object, Trace] | None] = ContextVar("xooai_flow_trace", default=None)
"""Who is to be traced where it runs next in this context, and by what."""


@contextmanager
def watched(who: object, trace: Trace) -> Iterator[None]:
    """Trace what runs within this block: this one alone, and no Flow that others post to on the way."""
    token = watching.set((who, trace))
    try:
        yield
    finally:
        trace.stop()
        watching.reset(token)
