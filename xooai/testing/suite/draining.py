"""Tests of a driver: a listener that closes, and what is left when all is closed."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from time import monotonic

import pytest

from xooai.driver import Driver, Head, Link, Shape
from xooai.errors import Unavailable
from xooai.testing.suite.calls import SOON, answered, opened
from xooai.testing.suite.fixtures import Fixtures, Serve, on_a_loop
from xooai.testing.suite.site import packed, path_of

__all__ = ["DrainingTests"]

GRACE = 20.0  # seconds: more than any of these calls takes
SHORT = 0.3  # seconds of grace for a call that is not done in them
GONE = 2.0  # seconds in which threads and sockets have to go


class DrainingTests(Fixtures):
    """A listener lets calls finish for as long as it is told, and leaves nothing."""

    @on_a_loop
    async def test_a_call_under_way_finishes_while_its_listener_drains(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            channel = await served.open("wait", shape, b"done")
            await served.site.started.wait()
            closing = asyncio.ensure_future(served.listener.aclose(GRACE))
            await asyncio.sleep(0)
            served.site.released.set()

            assert await answered(channel) == [b"done"]
            await asyncio.wait_for(closing, GRACE / 2)
            assert not served.site.cancelled.is_set()

    @on_a_loop
    async def test_a_stream_under_way_finishes_while_its_listener_drains(
        self, serve: Serve, server_streams: Shape
    ) -> None:
        async with serve() as served:
            channel = await served.open("count", server_streams, packed(self.many))
            first = await channel.receive()
            closing = asyncio.ensure_future(served.listener.aclose(GRACE))

            assert [first, *await answered(channel)] == [packed(number) for number in range(self.many)]
            await asyncio.wait_for(closing, GRACE / 2)

    @on_a_loop
    async def test_a_listener_that_drains_takes_no_new_call(self, serve: Serve, shape: Shape, driver: Driver) -> None:
        async with serve() as served:
            channel = await served.open("wait", shape, b"done")
            await served.site.started.wait()
            closing = asyncio.ensure_future(served.listener.aclose(GRACE))
            link = await driver.dial(served.listener.url, self.dial_options)
            try:
                await _refused(link, Head(path_of("last", shape), shape=shape))
            finally:
                await link.aclose()
            assert not closing.done()
            served.site.released.set()
            assert await answered(channel) == [b"done"]
            await closing

    @on_a_loop
    async def test_what_is_not_done_in_its_grace_is_cancelled(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            channel = await served.open("wait", shape, b"")
            await served.site.started.wait()
            began = monotonic()
            await served.listener.aclose(SHORT)

            assert SHORT * 0.9 < monotonic() - began < SHORT + 2 * SOON
            assert served.site.cancelled.is_set()
            async with asyncio.timeout(SOON):
                with pytest.raises(Unavailable):
                    await answered(channel)

    @on_a_loop
    async def test_a_listener_without_calls_is_closed_at_once(self, serve: Serve, shape: Shape) -> None:
        """Also where a client stays connected."""
        async with serve() as served:
            await served.call("last", shape, b"")
            async with asyncio.timeout(GRACE / 2):
                await served.listener.aclose(GRACE)
                await served.listener.aclose(GRACE)

    @on_a_loop
    async def use(self, serve: Serve, shape: Shape) -> None:
        """Make calls that end in several ways."""
        async with serve() as served:
            await served.call("last", shape, b"")
            (await served.open("wait", shape, b"")).abort()
            await served.open("wait", shape, b"")  # ends with its link

    def test_nothing_is_left_behind(self, serve: Serve, shape: Shape) -> None:
        """No thread and no socket more after the second time than after the first, which may start what lasts."""
        self.use(serve, shape)
        before = _held()
        self.use(serve, shape)
        until = monotonic() + GONE
        while (left := _held() - before) and monotonic() < until:
            threading.Event().wait(0.05)
        assert not left, f"all was closed, and there still are: {sorted(left)}"


def _held() -> set[str]:
    """The threads, and the sockets by the kernel's number, where it tells."""
    found = {f"thread {thread.name} {thread.ident}" for thread in threading.enumerate()}
    if sys.platform == "linux":
        for name in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{name}")
            except FileNotFoundError:
                continue  # the listing's own
            if target.startswith("socket:"):
                found.add(target)
    return found


async def _refused(link: Link, head: Head) -> None:
    """Call until a call is refused: those that came before the listener was told may still be answered."""
    async with asyncio.timeout(GRACE / 2):
        while True:
            try:
                await answered(await opened(link, head, b""))
            except Unavailable:
                return
            await asyncio.sleep(0.01)
