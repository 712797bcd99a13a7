"""Calls that come to a worker which has more to do than another: they go on to that one, over a Unix socket, as they came.

However well connections are dealt, a client with one would have one worker, and those that are busy may meet in one. Whoever gets
a call that was passed on answers it as its own: it asks for keys, counts, limits and traces, and passes it to nobody else.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from xooai.call import never
from xooai.driver import Channel, Outcome, Shape, Site
from xooai.errors import Internal, Unavailable, XooaiError
from xooai.isolated.far import FarLine, sent_on
from xooai.isolated.near import Near, listen
from xooai.log import logger
from xooai.outcomes import failure
from xooai.over import Accept, Handling
from xooai.tally import count
from xooai.workers.table import Table

__all__ = ["Passing"]

_LOG = logger("xooai.workers")
WORTH = 0.0005  # seconds that a handler takes at least whose calls are passed on: that itself takes some 0.2 ms of both
CLEAR = 4  # calls go on to a worker where there are more of them here than its own and a fourth part of these
AGAIN = 0.1  # seconds between two attempts to reach a worker: whose socket is not there yet, or not any more


class Passing:
    """Of one worker. Belongs to the loop on which its calls come. Implements `xooai.over.Passing`."""

    def __init__(self, table: Table, row: int, folder: str) -> None:
        """`folder` has the sockets of all workers."""
        self._table, self._row, self._folder = table, row, folder
        self._under_way = 0  # calls that others might have run as well, and those that were passed here
        self._told = table.under_way(row)
        self._passed: Counter[int] = Counter()  # calls that others have from here, by row
        self._others: dict[int, _Other] = {}

    def accepting(self, accept: Accept, site: Handling, driver: str) -> Accept:
        """What accepts the calls that come by a driver, in place of `accept`, which answers them here."""

        def accepted(channel: Channel) -> Coroutine[Any, Any, None]:
            # Calls with an idempotency key stay: this process may know the key.
            if self._under_way and not channel.head.is_keyed and site.handling(driver, channel.head.path) >= WORTH:
                other = self._freer()
                if other is not None and other.line is not None:
                    channel.head.driver = driver
                    return self._pass_on(channel, other.row, other.line)
            return self._counted(accept, channel)

        return accepted

    async def listen(self, site: Site) -> Near | None:
        """Take what others pass on. Where that cannot be, the log says so, and their calls stay where they are."""
        try:
            return await listen(_path(self._folder, self._row), _Taking(partial(self._counted, site.accept)))
        except OSError as error:  # the folder has a longer name than a socket may, or there is no room
            _LOG.warning("no calls are passed on to this worker: %s", error)
            return None

    async def aclose(self) -> None:
        """Close the connections to others."""
        await asyncio.gather(*(other.aclose() for other in self._others.values()))

    async def _counted(self, accept: Accept, channel: Channel) -> None:
        """Answer a call here."""
        told = self._told
        self._under_way = told[0] = self._under_way + 1
        try:
            await accept(channel)
        finally:
            self._under_way = told[0] = self._under_way - 1

    def _freer(self) -> _Other | None:
        """A worker that has clearly fewer calls than this one: between many of them, one more or less is chance."""
        row, calls = self._table.freest(self._row, self._passed)
        if calls + calls // CLEAR >= self._under_way:
            return None
        other = self._others.get(row)
        if other is None:
            other = self._others[row] = _Other(row, _path(self._folder, row))
        if other.line is None:
            other.connect()
        return other

    async def _pass_on(self, channel: Channel, row: int, line: FarLine) -> None:
        """Have another answer a call."""
        count("passed_on", channel.head.driver)
        self._passed[row] += 1
        reply: bytes | None = None
        try:
            reply, outcome = await (_streamed(channel, line) if channel.head.shape else _unary(channel, line))
        except XooaiError as error:
            outcome = failure(error, None, channel)
        finally:
            self._passed[row] -= 1
        try:
            await channel.end(reply, outcome)
        except Unavailable:  # the caller has left
            channel.abort()
        except Exception as error:  # noqa: BLE001 - what was put beside the reply cannot be written
            told = Internal("the reply cannot be written; the server's log tells more under this id")
            outcome = failure(told, None, channel)
            _LOG.error("call %s: the reply of another worker cannot be written", outcome.id, exc_info=error)
            await channel.end(None, outcome)


class _Taking:
    """The site to others, as `xooai.isolated.near` has it."""

    def __init__(self, accept: Accept) -> None:
        self.accept = accept


class _Other:
    """A worker, by its row. The `line` to it is there once it is connected, and until one of both ends."""

    def __init__(self, row: int, path: str) -> None:
        self.row = row
        self.line: FarLine | None = None
        self._path = path
        self._lines: set[FarLine] = set()
        self._connecting: asyncio.Task[None] | None = None
        self._not_before = 0.0  # of the loop's clock

    def connect(self) -> None:
        """Begin to connect, unless that was tried a moment ago; until then, calls stay where they are."""
        loop = asyncio.get_running_loop()
        if self._connecting is None and loop.time() >= self._not_before:
            self._not_before = loop.time() + AGAIN
            self._connecting = loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            _, line = await asyncio.get_running_loop().create_unix_connection(lambda: FarLine(self), self._path)
        except OSError:  # it is not there
            return
        finally:
            self._connecting = None
        self._lines.add(line)
        self.line = line

    def going(self, line: FarLine) -> None:
        """It is about to end: it gets no more calls, and ends those that it has."""
        if self.line is line:
            self.line = None
        line.leave()

    def lost(self, line: FarLine) -> None:
        self._lines.discard(line)
        if self.line is line:
            self.line = None

    async def aclose(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        for line in list(self._lines):
            line.transport.abort()
        await asyncio.sleep(0)  # for the transports to close their sockets


def _path(folder: str, row: int) -> str:
    """The socket of a worker."""
    return os.path.join(folder, f"worker-{row}")


async def _unary(channel: Channel, line: FarLine) -> tuple[bytes | None, Outcome]:
    """The reply to a call and how it has ended. Raises the error that it ends with here."""
    end = line.open(channel.head, await channel.receive())
    try:
        reply = await end.receive()
    except XooaiError as error:
        return None, _told(error, end)
    return reply, _told(None, end)


async def _streamed(channel: Channel, line: FarLine) -> tuple[bytes | None, Outcome]:
    """The same of a call that streams. Its frames go on as they come."""
    shape = channel.head.shape
    sends, reply = shape & Shape.CLIENT, None
    end = line.open(channel.head, None if sends else await channel.receive())
    lost: list[Exception] = []
    sending = asyncio.get_running_loop().create_task(sent_on(channel.receive, end, lost)) if sends else None
    try:
        if shape & Shape.SERVER:
            offer: Callable[[bytes], bool] = getattr(channel, "offer", never)
            while (frame := await end.receive()) is not None:
                if not offer(frame):
                    await channel.send(frame)
        else:
            reply = await end.receive()
    except XooaiError as error:
        if lost:
            raise lost[0] from error
        return None, _told(error, end)
    finally:
        end.abort()  # nothing happens where it has ended
        if sending is not None:
            sending.cancel()
            await asyncio.wait({sending})
    return reply, _told(None, end)


def _told(error: XooaiError | None, end: Channel) -> Outcome:
    """How a call ended there. Raises Unavailable where that was not told."""
    if end.outcome is not None:
        return end.outcome
    text = "the worker that answered this call has ended, and with it the call"
    raise Unavailable(text, details={"reason": "worker_lost"}) from error
