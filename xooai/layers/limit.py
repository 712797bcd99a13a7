"""How many calls run at a time: of an endpoint, of a whole server. The others wait in a bounded line, or are refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import uniform
from time import monotonic
from typing import TYPE_CHECKING

from xooai.call import Call, Service
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument, ResourceExhausted
from xooai.lazy import lazy
from xooai.tally import count
from xooai.tally import queue as queue_told
from xooai.threads import SIZE

if TYPE_CHECKING:
    from xooai import deadline
    from xooai.layers import line as lines
else:
    deadline = lazy("xooai.deadline")
    lines = lazy("xooai.layers.line")  # nobody waits before a server has much to do

__all__ = ["CALLS", "QUEUE", "Admission", "Gate", "back_after", "checked"]

CALLS = 1024  # of an `async def` endpoint at a time: each costs some KiB, and connections end at about as many
AHEAD = 64  # calls of a quick `def` endpoint given to the threads, so that one that is done finds the next there
QUICK = 0.001  # seconds from one call that ends to the next, below which a `def` endpoint is quick
QUEUE = 1024  # calls that wait: more would wait for longer than callers have patience
PATIENCE = 30.0  # seconds that a call without a deadline waits
SOONEST, LATEST = 1.0, 30.0  # seconds after which one who is refused may come back
RECENT = 1 / 8  # what the last gap between two calls that ended counts for the usual one
UNKNOWN_SIZE = 64 * 1024  # bytes of a request that streams, which its driver holds in its window


class Gate:
    """The places of an endpoint or a server, and who waits for one. Used in one loop.

    `what` is told to those who are refused.
    """

    def __init__(self, what: str, limit: int, queue: int, ahead: int = 0) -> None:
        """With `ahead`, which is above `limit`, so many calls are let in while they are quick."""
        executor, _, endpoint = what.rpartition("/") if "/" in what else ("", "", "")
        self._names = (executor, endpoint)
        queue_told("calls", self, executor, endpoint)
        self._what, self._few, self._many, self._queue = what, limit, max(ahead, limit), queue
        self.limit = self._many
        """How many may run now."""
        self._line: lines.Line[_Waiter] | None = None
        self._gap: float | None = None  # seconds from one call that ends to the next, while others wait
        self._ended = 0.0  # when the last one did
        self.is_waited_for = False
        """Whether to tell it by `left` that a call has ended."""
        self.running = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """How many calls wait for a place."""
        return 0 if self._line is None else len(self._line)

    def around(self, service: Service) -> Service:
        """The service, with so many calls in it at a time.

        A site does for most calls what stands here by itself: while there are places, nothing waits.
        """

        async def admitted(call: Call) -> None:
            if self.running < self.limit:
                self.running += 1
            else:
                await self._wait(call)
            try:
                await service(call)
            finally:
                self.running -= 1
                if self.is_waited_for:
                    self.left()

        return admitted

    async def _wait(self, call: Call) -> None:
        """Wait for a place; it is held then. Raises ResourceExhausted."""
        if call.timing is not None:
            call.timing.enter("queue")
        waiter = self._joined(call)
        timer = None
        if call.deadline is None:
            timer = asyncio.get_running_loop().call_later(PATIENCE, self._give_up, waiter)
        try:
            await waiter.future
        except (asyncio.CancelledError, GeneratorExit):  # the other: its loop was closed, or nobody runs it any more
            if waiter.is_admitted:  # in the same turn of the loop
                self.running -= 1
                self.left()
            else:
                self._gone(waiter)
                if waiter.future.done() and not waiter.future.cancelled():
                    waiter.future.exception()  # refused in the same turn, of which nobody hears now
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _joined(self, call: Call) -> _Waiter:
        """The call in the line. Raises ResourceExhausted where there is no room."""
        line = self._line
        if line is None:
            line = self._line = lines.Line(self._queue)
        if not len(line):
            self._ended = monotonic()
        waiter = _Waiter(call)
        try:
            lost = line.join(waiter)
        except lines.Full as full:
            raise self._refusal("own" if full.is_own else "full", is_own=full.is_own) from None
        self.is_waited_for = True
        for one in lost:
            one.fail(self._refusal("displaced"))
        return waiter

    def left(self) -> None:
        """A call has ended: let those in whose turn it is, as far as there are places. What has expired is not begun."""
        line = self._line
        assert line is not None
        now = monotonic()
        gap, self._ended = now - self._ended, now
        self._gap = gap if self._gap is None else self._gap + (gap - self._gap) * RECENT
        if self._many != self._few:
            self.limit = self._many if self._gap < QUICK else self._few
        while self.running < self.limit:
            waiter = line.next()
            if waiter is None:
                break
            if waiter.deadline is not None and waiter.deadline <= now:
                count("refusals", "expired", *self._names)
                waiter.fail(deadline.passed(waiter.deadline - waiter.came))
            elif waiter.admit():
                self.running += 1
        self.is_waited_for = len(line) > 0

    def _gone(self, waiter: _Waiter) -> None:
        if self._line is not None and self._line.leave(waiter):
            self.is_waited_for = len(self._line) > 0

    def _give_up(self, waiter: _Waiter) -> None:
        """It has waited for so long that whoever called has no use for the answer, or is not there."""
        self._gone(waiter)
        waiter.fail(self._refusal("waited"))

    def _refusal(self, why: str, *, is_own: bool = False) -> ResourceExhausted:
        """`why` is told to who counts, and not to the caller."""
        count("refusals", why, *self._names)
        self.refused += 1
        text = f"{self._what} has {self.running:,} calls under way and {self.waiting:,} waiting"
        if is_own:
            text += ", most of them yours"
        limit = "caller" if is_own else "server"
        return ResourceExhausted(f"{text}; come back later", retry_after=self.retry_after(), details={"limit": limit})

    def retry_after(self) -> float:
        """Seconds until those who wait now have had their turn, at the present pace: from 1 to 30, and up to half longer at
        random, so that those who are refused together do not come back together.
        """
        waiting = self.waiting
        since = monotonic() - self._ended if waiting else 0.0
        gap = max(since, self._gap or 0.0)  # where all stands still, nobody ends
        return back_after(gap * (waiting + 1))


def back_after(seconds: float) -> float:
    """When one who is refused may come back, where all is done in so many seconds."""
    return round(min(min(max(seconds, SOONEST), LATEST) * uniform(1, 1.5), LATEST), 3)


class _Waiter:
    """A call that waits: see `xooai.layers.line.Waiting`."""

    __slots__ = ("came", "deadline", "future", "is_admitted", "priority", "size", "tenant")

    def __init__(self, call: Call) -> None:
        head = call.head
        self.tenant, self.priority = lines.tenant_of(head), lines.priority_of(head)
        self.size: int = getattr(call.channel, "held", UNKNOWN_SIZE)
        self.came, self.deadline = monotonic(), call.deadline
        self.is_admitted = False
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def admit(self) -> bool:
        """Let it in; False where it has just left."""
        if self.future.done():
            return False
        with suppress(RuntimeError):  # its loop is closed, and so it will not come
            self.future.set_result(None)
            self.is_admitted = True
        return self.is_admitted

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            with suppress(RuntimeError):  # its loop is closed
                self.future.set_exception(error)


class Admission:
    """The gates of one server: one for each endpoint, and one for all where there is a `limit` for them."""

    def __init__(self, limit: int | None = None, queue: int | None = None) -> None:
        """Raises InvalidArgument for a `queue` without a limit, or what is no number of calls."""
        checked(limit, queue)
        if limit is None and queue is not None:
            raise InvalidArgument(
                f"queue={queue} is of the whole server, and goes with limit=; or say it by @post(queue=)"
            )
        self.whole = None if limit is None else Gate("this server", limit, QUEUE if queue is None else queue)
        self.gates: dict[str, Gate] = {}
        """By path."""

    def gate(self, path: str, endpoint: Endpoint) -> Gate:
        """That of an endpoint; what `outer` returns stands behind it.

        Who has a place of the endpoint may wait for one of the server: the other way round, calls that wait for a slow
        endpoint would keep others from the quick ones.
        """
        gate = self.gates[path] = _gate_of(path, endpoint)
        return gate

    def outer(self, service: Service) -> Service:
        """The service behind the gate of the server alone."""
        return service if self.whole is None else self.whole.around(service)


def _gate_of(path: str, endpoint: Endpoint) -> Gate:
    queue, limit, ahead = endpoint.queue, endpoint.limit, 0
    if limit is None:
        limit = CALLS
        if not endpoint.is_async and not endpoint.shape and endpoint.batch is None:  # each takes a thread
            limit, ahead = SIZE, AHEAD
    return Gate(path.removeprefix("/"), limit, QUEUE if queue is None else queue, ahead)


def checked(limit: object, queue: object) -> None:
    """Raise InvalidArgument for what is no number of calls."""
    for name, given, least in (("limit", limit, 1), ("queue", queue, 0)):
        if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < least):
            raise InvalidArgument(
                f"{name}={repr(given)[:80]} is no number of calls; it takes a whole number from {least} on"
            )
