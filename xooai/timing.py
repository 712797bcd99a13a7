"""How long the stages of a call take on the side that answers it: what traces and metrics are made of.

A caller asks with the metadata `xooai-timing` and is told in that of the reply, as `Server-Timing` (https://www.w3.org/TR/server-timing/).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from threading import Lock
from time import perf_counter
from typing import Any, Protocol

import msgspec

from xooai.timed import STAGES

__all__ = ["STAGES", "Timing", "Told", "read_timing"]

_LEAST = 5e-6  # seconds that are told: what is shorter is written as 0.00
_DURATION = re.compile(r"dur=([0-9]{1,9}(?:\.[0-9]{1,9})?)")
_CONTENTS = re.compile(r'"([0-9]{1,6}) read, ([0-9]{1,6}) cached"')


class _Threads(Protocol):
    async def run(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any: ...


class Timing:
    """Where the time of one call goes: `seconds` by stage. It begins in `queue`; the handler and readers of contents go on."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.contents = 0
        """Contents that were read and stood elsewhere; `cached` of them were in the cache."""
        self.cached = 0
        self.waited = 0.0
        """Seconds in which the handler of a stream waited for its caller, who sent nothing, or took nothing."""
        self._stage: str | None = "queue"
        self._since = perf_counter()
        self._fetching = 0
        self._lock = Lock()  # a handler may read in several threads at once

    def enter(self, stage: str | None) -> None:
        """The stage before ends, and another begins."""
        with self._lock:
            self._count()
            self._stage = stage

    def fetch(self) -> None:
        """A content is being fetched. What several of them take at the same time counts once."""
        with self._lock:
            self._count()
            self._fetching += 1

    def fetched(self) -> None:
        """It is here, or cannot be had."""
        with self._lock:
            self._count()
            self._fetching -= 1
            self.contents += 1

    def _count(self) -> None:
        now = perf_counter()
        if self._stage is not None:
            self.seconds["fetch" if self._fetching else self._stage] += now - self._since
        self._since = now

    async def run(
        self, function: Callable[..., Any], arguments: dict[str, Any], is_async: bool, threads: _Threads | None
    ) -> Any:
        """Run a handler: a `def` in a thread, for which it queues, as it does from its end until the loop hears of that."""

        def begun(**arguments: Any) -> Any:
            self.enter("handle")
            try:
                return function(**arguments)
            finally:
                self.enter("queue")

        if is_async:
            self.enter("handle")
            result = await function(**arguments)
        elif threads is None:
            result = begun(**arguments)
        else:
            self.enter("queue")
            result = await threads.run(begun, arguments)
        self.enter("encode")
        return result

    def streamed(self) -> None:
        """The handler of a stream has ended; that it ran is told, however long it waited."""
        self.enter(None)
        self.seconds["handle"] = max(_LEAST, self.seconds["handle"] - self.waited)

    def told(self) -> str:
        """All of it, which ends here, in steps of 10 µs: a stranger is to learn no more than by the time of his own call."""
        self.enter(None)
        told = [f"{stage};dur={self.seconds[stage] * 1000:.2f}" for stage in STAGES if self.seconds[stage] >= _LEAST]
        if self.contents:
            told.append(f'contents;desc="{self.contents} read, {self.cached} cached"')
        return ", ".join(told)


class Told(msgspec.Struct, frozen=True):
    """What a server has told of a call."""

    seconds: Mapping[str, float] = {}
    contents: int = 0
    cached: int = 0


def read_timing(text: str) -> Told:
    """Read a `Server-Timing`: of what it says, what we understand."""
    seconds: dict[str, float] = {}
    for metric in text.split(","):
        name, _, rest = metric.strip().partition(";")
        duration = _DURATION.search(rest)
        if name in STAGES and duration is not None:
            seconds[name] = float(duration[1]) / 1000
    contents = _CONTENTS.search(text)
    if contents is None:
        return Told(seconds)
    return Told(seconds, int(contents[1]), min(int(contents[2]), int(contents[1])))
