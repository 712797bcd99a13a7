"""Many calls of one kind: the items of a source, some at a time, and what became of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from inspect import isasyncgen
from typing import Any, NoReturn

import msgspec

from xooai.errors import Unavailable, XooaiError, error_from
from xooai.steps import Steps
from xooai.threads import Threads

__all__ = ["Many", "Mapped", "Way"]

_log = logging.getLogger("xooai")
_END: Any = object()
_LATER: Any = object()
_SOURCES = Threads(64)  # for blocking iterators of callers: each may hold a thread for as long as it waits
GATHER = 0.003  # seconds for which a result may wait for others: giving each out by itself costs as much as a call
AHEAD = 64  # items that a source in a thread makes at once: a change of threads costs as much as hundreds of small ones
FAIR = 16  # items after which others have a turn: neither reading them nor calling has to wait for anything

_working: set[asyncio.Task[None]] = set()
"""Loops hold their tasks weakly: one of calls that were forgotten would be collected before it is cancelled."""


class Mapped(msgspec.Struct, frozen=True, eq=False):
    """What became of one item: its place among the items, from 0, itself, and its `result` or the `error` of its call."""

    index: int
    item: Any
    result: Any = None
    error: Exception | None = None


class Way(msgspec.Struct, frozen=True):
    """How many calls are made at a time, whether they are given out in order, and whether the others go on after one failed."""

    concurrency: int
    is_ordered: bool
    keeps_errors: bool


class Many:
    """Calls for the items of a source. Each of its tasks asks for the next item when it has done with one.

    At most four times `concurrency` items are read and not yet given out: as many as are called may wait to be given, so that a
    slow call does not stop the others, as many again may be with who takes them, and a source in a thread is that much ahead.
    Belongs to the loop on which it is made.
    """

    def __init__(self, call: Callable[[Any], Awaitable[Any]], source: Any, way: Way) -> None:
        self._call, self._way = call, way
        self._items = _items(source, min(AHEAD, max(1, way.concurrency // 2)))
        self._window = 2 * way.concurrency
        self._turn = asyncio.Lock()  # whoever reads
        self._tasks: dict[asyncio.Task[None], int | None] = {}  # and at which item each is
        self._waiting = 0  # of them, for an item
        self._done: dict[int, Mapped] = {}  # by their places in what is given out
        self._read = self._given = 0
        self._is_read = False  # nothing more is
        self._broken: BaseException | None = None  # what the source raised
        self._room: asyncio.Future[None] | None = None
        self._taker: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.ended = self.failed = 0

    async def more(self) -> list[Mapped]:
        """Some of what is to be given out next, at most as many as are called at a time; nothing at the end.

        Raises what the source raised, after what came before; and the error of a call, unless these are kept.
        """
        if not self._read:
            self._waiting += 1
            self._start()
        while self._given not in self._done:
            if not self._tasks:
                return self._end()
            self._taker = asyncio.get_running_loop().create_future()
            await self._taker
            self._taker = None
        batch: list[Mapped] = []
        while len(batch) < self._way.concurrency and (one := self._done.get(self._given + len(batch))) is not None:
            if one.error is not None and not self._way.keeps_errors:
                if not batch:
                    _raise(one.index, one.error)
                break
            batch.append(one)
        for place in range(self._given, self._given + len(batch)):
            del self._done[place]
        self._given += len(batch)
        _wake(self._room)
        return batch

    async def aclose(self) -> None:
        """Cancel the calls under way, and close the source where it is a generator."""
        self._is_read = True
        if self._timer is not None:
            self._timer.cancel()
        for task in (tasks := list(self._tasks)):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if isinstance(self._items, Steps) or isasyncgen(self._items):
            try:
                await self._items.aclose()
            except Exception:  # noqa: BLE001 - the log is told: who took the results has what there was
                _log.exception("what gives the items failed while it was closed")

    def _end(self) -> list[Mapped]:
        if self._broken is not None:
            raise self._broken
        if self._given != self._read:
            raise Unavailable(f"{self._read - self._given} calls were cancelled before their end")
        return []

    def _start(self) -> None:
        if self._is_read:
            self._waiting -= 1
            return
        task = asyncio.ensure_future(self._work())
        self._tasks.setdefault(task, None)  # on a loop that starts tasks at once it is somewhere already
        _working.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        _working.discard(task)
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = self._broken or error
        if not self._tasks:
            _wake(self._taker)

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        while True:
            item = self._now()
            if item is _LATER:
                item = await self._next()
            self._waiting -= 1
            if item is _END:
                return
            index = self._tasks[task] = self._read - 1
            if not self._waiting and len(self._tasks) < self._way.concurrency:
                self._waiting += 1
                asyncio.get_running_loop().call_soon(self._start)  # not from here, lest tasks that start at once nest
            try:
                if index % FAIR == 0:
                    await asyncio.sleep(0)
                one = Mapped(index, item, await self._call(item))
            except asyncio.CancelledError:
                self._is_read = True  # where nobody of here did that, the others end too, and `_end` tells
                _wake(self._room)
                raise
            except Exception as error:  # noqa: BLE001 - kept, or raised where the results are taken
                one = Mapped(index, item, None, error)
            self._tasks[task] = None
            self._waiting += 1
            self._put(one)

    def _now(self) -> Any:
        """The next item, where neither it nor room for it is to be waited for."""
        if self._is_read or self._turn.locked() or self._read - self._given >= self._window:
            return _LATER
        item = self._items.now(_LATER) if isinstance(self._items, Steps | _Listed) else _LATER
        if item is not _LATER:
            self._read += 1
        return item

    async def _next(self) -> Any:
        """The next item, once there is room for it. What the source raises is its end."""
        async with self._turn:
            while not self._is_read and self._read - self._given >= self._window:
                self._room = asyncio.get_running_loop().create_future()
                await self._room
            if self._is_read:
                return _END
            try:
                item = await anext(self._items, _END)
            except asyncio.CancelledError:
                if not self._is_read:  # nobody of here did that
                    self._broken = Unavailable("what gives the items was cancelled")
                    self._is_read = True
                raise
            except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - raised where the results are taken
                self._broken, item = _raisable(error), _END
            if item is _END:
                self._is_read = True
            else:
                self._read += 1
            return item

    def _put(self, one: Mapped) -> None:
        place = one.index if self._way.is_ordered else self.ended
        self._done[place] = one
        self.ended += 1
        if one.error is not None:
            self.failed += 1
            if not self._way.keeps_errors:
                self._cut(one.index)
        if self._taker is not None and self._given in self._done:
            self._tell()

    def _tell(self) -> None:
        """Wake whoever takes the results: at once where there are many, or no call is under way, else when more may have come."""
        if len(self._done) * 4 >= self._way.concurrency * 3 or self._waiting == len(self._tasks):
            _wake(self._taker)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER, self._told)

    def _told(self) -> None:
        self._timer = None
        _wake(self._taker)

    def _cut(self, index: int) -> None:
        """Read nothing more, and cancel the calls beside one that failed; in order, those behind it."""
        self._is_read = True
        for task, at in self._tasks.items():
            if task is not asyncio.current_task() and (at is None or at > index or not self._way.is_ordered):
                task.cancel()


def _items(source: Any, ahead: int) -> AsyncIterator[Any]:
    """The items of an iterable, async or not. A blocking one is asked in a thread."""
    if isinstance(source, AsyncIterable):
        return aiter(source)
    return (
        _Listed(source) if isinstance(source, list | tuple | range) else Steps(partial(iter, source), _SOURCES, ahead)
    )


class _Listed:
    """Items that are there already."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = iter(items)

    def now(self, default: Any) -> Any:
        return next(self._items, default)

    def __aiter__(self) -> _Listed:
        return self

    async def __anext__(self) -> Any:
        item = next(self._items, _END)
        if item is _END:
            raise StopAsyncIteration
        return item


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _raisable(error: BaseException) -> BaseException:
    """An error of the source: some would end the loop."""
    if isinstance(error, Exception):
        return error
    failure = RuntimeError(f"what gives the items raised {error!r}")
    failure.__cause__ = error
    return failure


def _raise(index: int, error: Exception) -> NoReturn:
    """Raise the error of a call, of the same type, saying of which item it is."""
    if not isinstance(error, XooaiError):
        error.add_note(f"at item {index}")
        raise error
    made = error_from(error.code, f"item {index}: {error.message}", {**error.details, "index": index}, error.id)
    made.remote, made._is_of_here = error.remote, error._is_of_here
    raise made from error
