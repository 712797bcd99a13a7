"""Tests of a driver: one side leaves, and the other sees it."""

from __future__ import annotations

import asyncio

import pytest

from xooai.driver import Channel, Shape
from xooai.errors import Unavailable
from xooai.testing.suite.calls import SOON, Served, Upload, answered, cancelled, error_of, finished
from xooai.testing.suite.fixtures import Fixtures, Serve, on_a_loop
from xooai.testing.suite.site import packed, stalled, unpacked

__all__ = ["LeavingTests"]

OVERTAKEN = 0.1  # seconds in which an answer comes that a later call's has overtaken


async def cancels(served: Served) -> None:
    """Wait until the site's call is cancelled, as long as that may take; then the next call has to be answered."""
    await asyncio.wait_for(served.site.cancelled.wait(), SOON)
    served.site.released.set()


class LeavingTests(Fixtures):
    """Whoever leaves is missed within half a second."""

    @on_a_loop
    async def test_a_client_that_aborts_cancels_its_handler(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            channel = await served.open("wait", shape, b"")
            await served.site.started.wait()
            channel.abort()
            channel.abort()

            await cancels(served)
            with pytest.raises(Unavailable):
                await channel.receive()
            assert (await served.call("last", shape, b"next"))[0] == [b"next"]

    @on_a_loop
    async def test_a_client_that_is_cancelled_cancels_its_handler(self, serve: Serve, shape: Shape) -> None:
        """The task that waits for the answer is cancelled, as by a time limit around it. A stream may be waited for again, so
        it is aborted by whoever gives it up; nobody aborts a unary call.
        """
        async with serve() as served:
            channel = await served.open("wait", shape, b"")
            await served.site.started.wait()
            waiting = asyncio.ensure_future(answered(channel))
            await asyncio.sleep(0)
            await cancelled(waiting)
            if shape != Shape.UNARY:
                channel.abort()

            assert waiting.cancelled()
            await cancels(served)

    @on_a_loop
    async def test_a_client_that_leaves_within_a_stream_cancels_its_handler(
        self, serve: Serve, server_streams: Shape
    ) -> None:
        async with serve() as served:
            channel = await served.open("begin", server_streams, b"item")
            assert await channel.receive() == b"item"
            channel.abort()

            await cancels(served)

    @on_a_loop
    async def test_a_client_that_leaves_without_having_sent_all_cancels_its_handler(
        self, serve: Serve, client_streams: Shape
    ) -> None:
        async with serve() as served:
            channel = await served.open("echo", client_streams, b"first")
            await served.site.has_received(1)
            channel.abort()

            await cancels(served)
            assert served.site.received == [b"first"]

    @on_a_loop
    async def test_a_client_that_leaves_a_stream_unread_cancels_its_handler(
        self, serve: Serve, server_streams: Shape
    ) -> None:
        """The server waits for room that will never come."""
        async with serve() as served:
            channel = await served.open("flood", server_streams, b"")
            assert await channel.receive() is not None
            await served.site.has_stalled(self.window)
            channel.abort()

            await cancels(served)

    @on_a_loop
    async def test_a_client_that_leaves_where_nobody_reads_cancels_its_handler(
        self, serve: Serve, client_streams: Shape
    ) -> None:
        """The way to the server is full, and the server sees it all the same."""
        if not self.always_reads:
            pytest.skip("the driver does not read ahead of its site, and says so: always_reads")
        upload = Upload()
        async with serve() as served:
            channel = await served.open("deaf", client_streams)
            await served.site.started.wait()
            async with finished(asyncio.ensure_future(upload.run(channel))):
                await stalled(lambda: upload.pushed, self.window)
            channel.abort()

            await cancels(served)

    @on_a_loop
    async def test_a_link_that_is_closed_leaves_its_calls(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            channel = await served.open("wait", shape, b"")
            await served.site.started.wait()
            await served.link.aclose()

            await cancels(served)
            with pytest.raises(Unavailable):
                await answered(channel)

    @on_a_loop
    async def test_a_client_that_leaves_hurts_no_other_call(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            staying = await served.open("wait", shape, b"stays")
            leaving = await served.open("wait", shape, b"leaves")
            await served.site.has_received(2)
            leaving.abort()
            await cancels(served)

            assert await answered(staying) == [b"stays"]

    @on_a_loop
    async def test_a_server_that_aborts_is_missed(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            channel = await served.open("leave", shape, packed(0))
            async with asyncio.timeout(SOON):
                frames, error = await error_of(channel)

            assert (frames, type(error)) == ([], Unavailable)

    @on_a_loop
    async def test_a_stream_that_is_cut_off_is_no_short_stream(self, serve: Serve, server_streams: Shape) -> None:
        """What was sent before is not lost."""
        async with serve() as served:
            channel = await served.open("leave", server_streams, packed(3))
            async with asyncio.timeout(SOON):
                frames, error = await error_of(channel)

            assert [unpacked(frame) for frame in frames] == [0, 1, 2]
            assert type(error) is Unavailable

    @on_a_loop
    async def test_a_server_that_dies_is_missed(self, serve: Serve, shape: Shape) -> None:
        """All calls are cancelled, and each client gets an error."""
        async with serve() as served:
            channels = [await served.open("wait", shape, b"") for _ in range(3)]
            await served.site.has_received(len(channels))
            await served.listener.aclose()

            assert served.site.cancelled.is_set()
            for channel in channels:
                async with asyncio.timeout(SOON):
                    with pytest.raises(Unavailable):
                        await answered(channel)

    @on_a_loop
    async def test_an_answer_that_came_before_its_server_died_is_not_lost(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            channel = await served.open("last", shape, b"answer")
            await served.call("last", shape, b"")
            await asyncio.sleep(OVERTAKEN)
            await served.listener.aclose()

            assert await answered(channel) == [b"answer"]

    @on_a_loop
    async def test_aborting_what_has_ended_does_nothing(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            channel = await served.open("last", shape, b"one")
            assert await answered(channel) == [b"one"]
            before = channel.outcome
            channel.abort()
            channel.abort()

            assert await channel.receive() is None
            assert channel.outcome is before
            assert (await served.call("last", shape, b"next"))[0] == [b"next"]
            assert not served.site.cancelled.is_set()

    @on_a_loop
    async def test_a_client_that_leaves_at_once_does_no_harm(self, serve: Serve, shape: Shape) -> None:
        """Whether or not the site has seen the call."""
        async with serve() as served:
            for _ in range(20):
                (await served.open("wait", shape, b"")).abort()

            served.site.released.set()
            assert (await served.call("last", shape, b"next"))[0] == [b"next"]

    @on_a_loop
    async def test_sending_to_who_has_left_is_an_error(self, serve: Serve, client_streams: Shape) -> None:
        async with serve() as served:
            channel = await served.open("leave", client_streams, packed(0))
            await error_of(channel)
            with pytest.raises(Unavailable):
                await _send_on(channel)


async def _send_on(channel: Channel) -> None:
    while True:
        await channel.send(bytes(1024))
