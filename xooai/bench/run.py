"""Calls to one endpoint: at a rate, whatever becomes of them (open loop), or so many at once (closed loop)."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable
from functools import partial
from math import inf
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import msgspec

from xooai import plugins
from xooai.bench.tally import Tally
from xooai.client import Remote
from xooai.driver import Head, Link
from xooai.endpoint import Endpoint
from xooai.errors import Code, Unavailable, XooaiError
from xooai.payload import typed

__all__ = ["AT_ONCE", "Plan", "Request", "Run", "prepared"]

AT_ONCE = 1000  # calls under way at a rate: below the 1,024 files that a process may open by default
LINK = 100  # calls at once to a link: as many connections as one holds over HTTP
_TURN = 16  # calls that begin, or items that are received, before others have a turn
_MOMENT = 0.005  # seconds: what is due so shortly before the end has had no time to begin
_SURE = frozenset({
    Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.ALREADY_EXISTS, Code.PERMISSION_DENIED, Code.FAILED_PRECONDITION,
    Code.UNIMPLEMENTED, Code.UNAUTHENTICATED,
})  # fmt: skip
"""What a call ends with that would end so again."""
_clock = time.monotonic


class Plan(msgspec.Struct, frozen=True):
    """What is asked of a run: `rate` calls a second with at most `at_once` under way, or `at_once` all the time; for `duration`
    seconds (which may be infinite) or `calls` calls, whichever is first, after `warm_up` seconds that do not count.
    """

    at_once: int
    rate: float | None = None
    is_poisson: bool = False
    duration: float = inf
    calls: int | None = None
    warm_up: float = 0.0


class Request(msgspec.Struct, frozen=True):
    """One call, ready to be sent again and again."""

    head: Head
    frame: bytes


async def prepared(remote: Remote, executor: str, endpoint: Endpoint, arguments: dict[str, Any]) -> Request:
    """Write a call once, its contents put where the server reads them. Each sending of it has the time of the remote's calls."""
    if endpoint.batch is not None:
        endpoint = endpoint.for_(arguments)
    frame, _ = await remote.written(endpoint, typed(endpoint.arguments, arguments), remote.timeout)
    path, codec = f"/{executor}/{endpoint.name}", remote.codec.media_type
    return Request(
        Head(path, codec, shape=endpoint.shape, timeout=remote.timeout, metadata=MappingProxyType({**remote.metadata})),
        frame,
    )


def _constant(rate: float) -> float:
    return 1 / rate


class Run:
    """One run of a plan. What was counted is in `tally`."""

    def __init__(self, plan: Plan, remote: Remote, request: Request) -> None:
        self.plan, self.tally = plan, Tally(plan.duration, plan.calls)
        self.sent = self.unsent = self.left = 0
        """Calls that began while it counted; that were due and never began; that were given up when it was stopped."""
        self.under_way = 0
        self.was_full = False
        """Whether a call that was due had to wait for a place."""
        self._remote, self._head, self._frame = remote, request.head, request.frame
        self._once = self._stream if request.head.shape else self._unary
        self._is_over = False
        self._trial: XooaiError | None = None
        """What the call ended with that is made before the others."""
        self._calling: asyncio.Task[None] | None = None
        self._nap: asyncio.Future[None] | None = None

    def stop(self) -> None:
        """End now, and wait for no answer."""
        self._finish()
        if self._calling is not None and not self._calling.done():
            self.left = self.under_way
            self._calling.cancel()

    async def try_once(self) -> None:
        """Make one call that is not counted. Raises what every call would raise; not what load or chance may bring."""
        await self._once(await self._remote.link(), -1.0)  # before all that counts
        error, self._trial = self._trial, None
        if error is not None and error.code in _SURE:
            raise error

    async def run(self) -> None:
        """Make the calls, and wait for the last answers. Raises XooaiError where no link can be made."""
        links = await self._links()
        places = [link for link in links for _ in range(LINK)][: self.plan.at_once]
        gc.collect()
        gc.freeze()  # what was made before is looked through by no collection during the run
        loop = asyncio.get_running_loop()
        timers = []
        if self.plan.warm_up:
            timers.append(loop.call_later(self.plan.warm_up, self.tally.begin))
        else:
            self.tally.begin()
        if self.plan.duration < inf:
            timers.append(loop.call_later(self.plan.warm_up + self.plan.duration, self._finish))
        rate = self.plan.rate
        self._calling = asyncio.create_task(self._closed(places) if rate is None else self._open(places[::-1], rate))
        try:
            await asyncio.wait({self._calling})
            if not self._calling.cancelled():
                self._calling.result()
        finally:
            self._calling.cancel()
            self._finish()
            for timer in timers:
                timer.cancel()
            gc.unfreeze()
            for link in links[1:]:
                await link.aclose()

    async def _links(self) -> list[Link]:
        """As many as the calls at once need: the first is the remote's own."""
        driver = plugins.driver(urlsplit(self._remote.server).scheme)
        more = (self.plan.at_once - 1) // LINK
        dialled = [await driver.dial(self._remote.server, self._remote.options) for _ in range(more)]
        return [await self._remote.link(), *dialled]

    def _finish(self) -> None:
        self._is_over = True
        self.tally.end()
        self._wake()

    def _begins(self, due: float) -> bool:
        """Whether one more call may begin; one that counts is counted."""
        if self._is_over or self.sent == self.plan.calls:
            return False
        if due >= self.tally.begun:
            self.sent += 1
        return True

    async def _closed(self, places: list[Link]) -> None:
        """Each place makes one call after another."""
        await asyncio.gather(*map(self._caller, places))

    async def _caller(self, link: Link) -> None:
        while self._begins(now := _clock()):
            await self._once(link, now)

    async def _open(self, places: list[Link], rate: float) -> None:
        """Begin each call when it is due, or as soon after as a place is free: it counts from when it was due."""
        gap: Callable[[], float] = partial(random.expovariate if self.plan.is_poisson else _constant, rate)
        due, tasks = _clock(), set[asyncio.Task[None]]()
        try:
            while not self._is_over and self.sent != self.plan.calls:
                now = _clock()
                if due < self.tally.begun <= now:
                    due = self.tally.begun  # what could not begin while it warmed up is not asked for any more
                if due > now or not places:
                    self.was_full |= due <= now
                    await self._rest(due - now if places else inf)
                    continue
                self._begins(due)
                if due >= self.tally.begun:
                    self.tally.late.add(now - due)
                task = asyncio.create_task(self._placed(places, places.pop(), due))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                due += gap()
                if len(tasks) % _TURN == 0:
                    await asyncio.sleep(0)
            ended = min(self.tally.ended, self.tally.begun + self.plan.duration)
            while self.tally.begun <= due < ended - min(_MOMENT, 1 / rate) < inf:
                self.unsent += 1
                due += gap()
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _placed(self, places: list[Link], link: Link, due: float) -> None:
        try:
            await self._once(link, due)
        finally:
            places.append(link)  # to be taken next: few calls at once need few connections
            if len(places) == 1:
                self._wake()

    async def _rest(self, seconds: float) -> None:
        """So long, or until it is woken."""
        loop = asyncio.get_running_loop()
        self._nap = loop.create_future()
        timer = loop.call_later(seconds, self._wake) if seconds < inf else None
        try:
            await self._nap
        finally:
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._nap is not None and not self._nap.done():
            self._nap.set_result(None)

    async def _unary(self, link: Link, due: float) -> None:
        self.under_way += 1
        try:
            reply = await (await link.open(self._head, self._frame)).receive()
            if reply is None:
                raise Unavailable("the server ended the call without an answer")
        except XooaiError as error:
            self._trial = error if due < 0 else None
            self.tally.fail(due, _clock(), error)
        else:
            self.tally.add(due, _clock(), len(reply))
        finally:
            self.under_way -= 1

    async def _stream(self, link: Link, due: float) -> None:
        """A call whose replies are a stream, read to its end."""
        self.under_way += 1
        items = size = 0
        try:
            channel = await link.open(self._head, self._frame)
            while (frame := await channel.receive()) is not None:
                if not items:
                    self.tally.begin_stream(due, _clock())
                items += 1
                size += len(frame)
                if items % _TURN == 0:
                    await asyncio.sleep(0)  # what has come already is received without waiting, and others call too
        except XooaiError as error:
            self._trial = error if due < 0 else None
            self.tally.fail(due, _clock(), error)
        else:
            self.tally.add(due, _clock(), size, items)
        finally:
            self.under_way -= 1
