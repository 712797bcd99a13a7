"""Gathers items of many calls into batches, on one loop: nothing is polled, and an item that is alone does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextvars import Context
from enum import Enum
from functools import partial
from secrets import token_hex
from time import monotonic
from typing import Any

from xooai.batch.cost import Cost
from xooai.batch.items import NOTHING, Before, Group, Item, Run
from xooai.batching import Batch
from xooai.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, XooaiError
from xooai.layers.limit import back_after
from xooai.tally import Batches, count, queue

__all__ = ["Batcher", "Why", "anew", "weighed"]

QUEUE_LIMIT = 1024  # items that wait: as many as calls wait for a thread, or two full batches for each of two callers
AHEAD = 2  # batches that one call with many items has waiting or running at a time, so that it leaves room for others
DEEPEST = 64  # times that a method calls itself within its process: each takes a thread, where it blocks
HEAVIEST = 1e9  # what an item weighs at most: sums of such weights, and of their squares, are finite and exact enough
BURST = 3.0  # times the usual gap between two items: after as long without one, no other is coming
RECENT = 1 / 8  # what the last gap counts for the usual one
WORTH = 0.5  # of what having a batch costs: a longer gap is not waited for, since the handler would idle for more than it saves


class Why(Enum):
    """Why a batch left."""

    FULL = "full"
    WAITED = "waited"  # its oldest item has waited long enough
    IDLE = "idle"  # the handler has nothing to do, and nothing is coming


class Batcher:
    """The batches of one endpoint on one loop. All is called in that loop."""

    def __init__(self, batch: Batch, tally: Batches, method: object, *, cancels: bool) -> None:
        """`cancels` says that a run of the handler ends where it is cancelled; `method` is what that is, and whose."""
        self._method = method  # lives as long, so that no other is taken for it
        self._batch, self._cancels = batch, cancels
        self._tally = tally
        queue("batch", self, *tally.names)
        is_counted = batch.weight is None
        self._limit = max(QUEUE_LIMIT, 2 * AHEAD * batch.size) if is_counted else QUEUE_LIMIT
        self.ahead = AHEAD * batch.size if is_counted else min(AHEAD * batch.size, QUEUE_LIMIT // 2)
        """Items that one call may have here at a time."""
        # It is of many calls: nothing of one of them is to be seen there. One of our own, since a thread at a time may be in it.
        self._context = Context()
        self._groups: dict[Hashable, Group] = {}  # that of the oldest item first
        self._waiting = 0
        self._running: set[asyncio.Task[None]] = set()
        self._names: set[str] = set()  # of the batches that run
        self._cost = Cost()
        self._gap: float | None = None  # seconds between two items, usually
        self._last: float | None = None  # when the last one came
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self.left = dict.fromkeys(Why, 0)
        """How many batches left, by why."""

    async def submit(
        self,
        run: Run,
        value: Any,
        weight: float,
        arguments: Mapping[str, Any],
        key: Hashable,
        deadline: float | None = None,
        before: Before = NOTHING,
    ) -> Any:
        """The reply for one item; `arguments` are the call's others, of which those with one `key` are alike; where it is no
        text of bytes, they are one caller's own.

        Raises what the handler raised, and ResourceExhausted where too much waits.
        """
        batch = self._batch
        now = monotonic()
        item = Item(run, value, weight, now, deadline)
        item.before = before
        if before.batches and not self._names.isdisjoint(before.batches):
            return await self._alone(
                item, arguments
            )  # such a batch waits for this one, so to wait for it takes for ever
        if self._waiting >= self._limit:
            raise self._refusal()
        if self._last is not None:
            gap = min(now - self._last, batch.wait or now - self._last)
            self._gap = gap if self._gap is None else self._gap + (gap - self._gap) * RECENT
        self._last = now
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key, arguments)
        group.items.append(item)
        group.weight += item.weight
        self._waiting += 1
        if len(self._running) < batch.concurrency and (self._timer is None or group.weight >= self._size):
            self._look_at(now)
        try:
            return await item.future
        finally:
            if item.future.cancelled():
                self._withdraw(group, item)
            elif item.future.done():
                item.future.exception()  # nobody hears of it who was cancelled in the same turn

    def _refusal(self) -> ResourceExhausted:
        count("refusals", "full", *self._tally.names)
        whole, each = self._cost.line()
        size = self._size
        seconds = self._waiting / size * (whole + each * size) / self._batch.concurrency
        text = f"{self._waiting:,} items are waiting for a batch already; come back later"
        return ResourceExhausted(text, retry_after=back_after(seconds), details={"limit": "server"})

    async def _alone(self, item: Item, arguments: Mapping[str, Any]) -> Any:
        before = item.before
        if before.depth >= DEEPEST:
            raise FailedPrecondition(f"a method that takes batches calls itself, {DEEPEST} times; does it ever end?")
        within = Before(before.hops, before.batches, before.depth + 1)
        # In a task of its own: else each time would be further up the stack, which ends before that many.
        (reply,) = await asyncio.create_task(self._replies([item], lambda: arguments, within))
        if isinstance(reply, BaseException):
            raise _raisable(reply)
        return reply

    @property
    def _size(self) -> float:
        """What a batch may weigh: where there is a target, an item waits for the batch that runs, and then for its own."""
        size, target = self._batch.size, self._batch.target
        return size if target is None else max(1.0, min(float(size), self._cost.weight_within(target / 2)))

    @property
    def waiting(self) -> int:
        """Items that are in no batch yet."""
        return self._waiting

    # When a batch leaves

    def _look_at(self, when: float) -> None:
        """Decide again at this monotonic second, and not before; items of this turn of the loop come first."""
        if self._timer is not None:
            self._timer.cancel()
        delay, loop = when - monotonic(), asyncio.get_running_loop()
        if delay <= 0:
            self._timer = loop.call_soon(self._decide, context=self._context)
        else:
            self._timer = loop.call_later(delay, self._decide, context=self._context)

    def _decide(self) -> None:
        """Send the batches that are to leave, and see to it that the others are looked at in time."""
        self._timer = None
        size = self._size
        while self._groups and len(self._running) < self._batch.concurrency:
            oldest = next(iter(self._groups.values()))
            now = monotonic()
            until = oldest.items[0].came + self._batch.wait
            if until <= now:  # before a full one of others, which may be full time and again
                self._leave(oldest, size, Why.FULL if oldest.weight >= size else Why.WAITED)
            elif (full := next((group for group in self._groups.values() if group.weight >= size), None)) is not None:
                self._leave(full, size, Why.FULL)
            elif not self._running:
                until = min(until, self._coming_until())
                if until > now:
                    self._look_at(until)
                    return
                self._leave(oldest, size, Why.IDLE)
            else:
                self._look_at(until)
                return

    def _coming_until(self) -> float:
        """Until when another item may be expected that is worth waiting for; the time of the last one where none is."""
        last = 0.0 if self._last is None else self._last
        if self._gap is None or not self._cost.is_known:
            return last
        whole, _ = self._cost.line()
        return last + BURST * self._gap if self._gap < WORTH * whole else last

    def _leave(self, group: Group, size: float, why: Why) -> None:
        """Take what fits into one batch, one item at least, and run it."""
        taken: list[Item] = []
        weight = 0.0
        while group.items and (not taken or weight + group.items[0].weight <= size):
            item = group.items.popleft()
            self._waiting -= 1
            group.weight -= item.weight
            if not item.future.done():  # else its caller has left in this turn of the loop
                weight += item.weight
                taken.append(item)
        del self._groups[group.key]
        if group.items:  # in the order of the oldest items
            self._groups[group.key] = group
            if len(self._groups) > 1:
                self._groups = dict(sorted(self._groups.items(), key=lambda entry: entry[1].items[0].came))
        if not taken:
            return
        self.left[why] += 1
        self._tally.left(why.value, len(taken))
        task = asyncio.get_running_loop().create_task(self._run_batch(taken, weight, group), context=Context())
        self._running.add(task)
        if self._cancels:
            for item in taken:
                item.future.add_done_callback(_Leaving(task, taken))
        task.add_done_callback(partial(self._over, taken))

    def _withdraw(self, group: Group, item: Item) -> None:
        """Forget an item whose caller has left, unless it is being run."""
        try:
            group.items.remove(item)
        except ValueError:
            return
        group.weight -= item.weight
        self._waiting -= 1
        if not group.items:
            self._groups.pop(group.key, None)

    # How it is run

    async def _run_batch(self, items: list[Item], weight: float, group: Group) -> None:
        name = token_hex(8)  # that nobody guesses: who knows it does not wait
        before = Before.of(items)
        began = monotonic()
        self._names.add(name)
        try:
            within = Before(before.hops, before.batches | {name}, before.depth)
            replies = await self._replies(items, group.arguments, within)
        finally:
            self._names.discard(name)
        self._cost.took(weight, monotonic() - began)
        task = asyncio.current_task()
        assert task is not None
        self._ended(task)  # the next batch is on its way before the replies of this one are written
        for item, reply in zip(items, replies, strict=True):
            if item.future.done():  # its caller has left
                continue
            if isinstance(reply, BaseException):
                item.future.set_exception(_raisable(reply))
            else:
                item.future.set_result(reply)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let others run in the place of this batch."""
        if task in self._running:
            self._running.discard(task)
            if self._timer is not None:
                self._timer.cancel()
            self._decide()

    def _over(self, items: Sequence[Item], task: asyncio.Task[None]) -> None:
        """The task has ended, by itself or because it was cancelled; nobody waits in vain."""
        error = None if task.cancelled() else task.exception()
        for item in items:
            if not item.future.done():
                item.future.set_exception(_raisable(error or RuntimeError("the batch was cancelled")))
        self._ended(task)

    async def _replies(
        self, items: Sequence[Item], arguments: Callable[[], Mapping[str, Any]], within: Before
    ) -> Sequence[Any]:
        """A reply, or an exception, for each item; where the handler fails and that is safe, halves tell which item it is."""
        try:
            return await items[-1].run(items, arguments(), within)  # that of the last is surely not closed yet
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return [RuntimeError(f"the handler of a batch was cancelled: {error!r}")] * len(items)
        except GeneratorExit:  # its loop was closed
            raise
        except Exception as error:  # noqa: BLE001 - told to all who wait
            if len(items) == 1 or not self._batch.split:
                return [error] * len(items)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler ends its batch, not the server
            return [error] * len(items)
        half = len(items) // 2
        first = await self._replies(items[:half], arguments, within)
        return [*first, *await self._replies(items[half:], arguments, within)]


class _Leaving:
    """Ends a batch that runs once nobody waits for it any more."""

    __slots__ = ("_items", "_task")

    def __init__(self, task: asyncio.Task[None], items: Sequence[Item]) -> None:
        self._task, self._items = task, items

    def __call__(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled() and all(item.future.cancelled() for item in self._items):
            self._task.cancel()


def weighed(weigh: Callable[[Any], float], value: Any) -> float:
    """What an item counts. Raises InvalidArgument: only the caller's item can be what a function of it refuses."""
    try:
        weight = float(weigh(value))
    except XooaiError:
        raise
    except BaseException as error:  # sys.exit() there ends the call, not the server
        raise RuntimeError(f"weight= of the endpoint failed: {type(error).__name__}: {error}") from error
    if not 0 <= weight <= HEAVIEST:
        raise InvalidArgument(f"an item weighs {weight:g}; it takes a number from 0 to {HEAVIEST:,.0f}")
    return weight


def _raisable(error: BaseException) -> Exception:
    """The error as one that a future takes; ours anew for each caller, since something may be added to it on its way."""
    if isinstance(error, XooaiError):
        return anew(error)
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(f"the handler of a batch gave {error!r}")


def anew(error: XooaiError, message: str | None = None) -> XooaiError:
    """The same error once more, whatever its class is made with; with another message, if one is given."""
    made: XooaiError = type(error).__new__(type(error), *error.args)
    made.__dict__.update(error.__dict__)
    made.details = dict(error.details)
    made.args = error.args if message is None else (message,)
    made.message = error.message if message is None else message
    made.__cause__ = error.__cause__
    return made
