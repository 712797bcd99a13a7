"""Tests of a driver: errors, time limits, and what is refused."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from xooai.driver import Driver, Head, Shape
from xooai.errors import Code, DeadlineExceeded, Unavailable, Unimplemented, XooaiError, error_from
from xooai.testing.suite.calls import SOON, Upload, answered, error_of, opened
from xooai.testing.suite.fixtures import Fixtures, Serve, on_a_loop
from xooai.testing.suite.site import packed, path_of, unpacked

__all__ = ["FailureTests"]

CODES = [code for code in Code if code != Code.OK]
DETAILS = {"errors": [{"type": "x", "loc": ["doc", 0], "msg": "é \n"}], "reason": "size", "number": 3, "none": None}
LIMIT = 0.3  # seconds: the time limit of calls that are never answered
LATE = 0.1  # seconds: the server is told first, or hears of it first
HELD = 16  # items that every driver holds for a reader that is slow
AMPLE = 0.6  # seconds: the time limit of calls that are answered at once, also on a machine that is busy


def told(error: XooaiError) -> tuple[object, ...]:
    """All that an error tells."""
    return type(error), error.message, error.details, error.id, error.remote


class FailureTests(Fixtures):
    """Errors are the same on both sides, and nothing waits for ever."""

    @pytest.mark.parametrize("code", CODES, ids=[code.name.lower() for code in CODES])
    @on_a_loop
    async def test_an_error_arrives_as_it_was(self, serve: Serve, shape: Shape, code: Code) -> None:
        wanted = {"code": code, "message": "so it is: é 'x'", "details": DETAILS, "id": "a-1"}
        async with serve() as served:
            frames, error = await error_of(await served.open("fail", shape, packed(wanted)))

            assert frames == []
            assert told(error) == told(error_from(code, "so it is: é 'x'", DETAILS, "a-1"))

    @pytest.mark.parametrize("code", CODES, ids=[code.name.lower() for code in CODES])
    @on_a_loop
    async def test_an_error_after_an_item_arrives_as_it_was(
        self, serve: Serve, server_streams: Shape, code: Code
    ) -> None:
        wanted = {"code": code, "message": "so it is: é 'x'", "details": DETAILS, "id": "a-1", "after": 1}
        async with serve() as served:
            frames, error = await error_of(await served.open("fail", server_streams, packed(wanted)))

            assert frames == [packed(0)]
            assert told(error) == told(error_from(code, "so it is: é 'x'", DETAILS, "a-1"))

    @on_a_loop
    async def test_an_error_is_raised_again_when_it_is_asked_for_again(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            channel = await served.open("fail", shape, packed({"code": Code.NOT_FOUND, "message": "no"}))
            for _ in range(2):
                with pytest.raises(XooaiError, match="no"):
                    await channel.receive()

    @on_a_loop
    async def test_a_call_ends_when_its_time_is_over(self, serve: Serve, shape: Shape) -> None:
        """And its handler is cancelled, and nothing more is sent."""
        async with serve() as served:
            began = monotonic()
            channel = await served.open("wait", shape, b"", timeout=LIMIT)
            async with asyncio.timeout(LIMIT + SOON):
                with pytest.raises(DeadlineExceeded):
                    await answered(channel)
            took = monotonic() - began
            if shape & Shape.CLIENT:
                with pytest.raises(DeadlineExceeded):
                    await channel.send(b"")

            assert took > LIMIT * 0.9
            await asyncio.wait_for(served.site.cancelled.wait(), SOON)

    @on_a_loop
    async def test_a_stream_ends_when_its_time_is_over(self, serve: Serve, server_streams: Shape) -> None:
        """After an item, and although the server goes on."""
        async with serve() as served:
            channel = await served.open("begin", server_streams, b"item", timeout=LIMIT)
            async with asyncio.timeout(LIMIT + SOON):
                frames, error = await error_of(channel)

            assert (frames, error.code) == ([b"item"], Code.DEADLINE_EXCEEDED)
            await asyncio.wait_for(served.site.cancelled.wait(), SOON)

    @on_a_loop
    async def test_a_client_that_waits_to_send_ends_when_its_time_is_over(
        self, serve: Serve, client_streams: Shape
    ) -> None:
        async with serve() as served:
            channel = await served.open("deaf", client_streams, timeout=LIMIT)
            async with asyncio.timeout(LIMIT + SOON):
                with pytest.raises(DeadlineExceeded):
                    await Upload().run(channel)

    @on_a_loop
    async def test_what_came_in_time_is_given_out_to_a_reader_that_is_late(
        self, serve: Serve, server_streams: Shape
    ) -> None:
        """Then the time is over, unless the end had come as well."""
        limit = 3 * LIMIT  # the frames are to be there before, on a machine that has other things to do too
        async with serve() as served:
            open_ended = await served.open("pause", server_streams, packed(HELD), timeout=limit)
            whole = await served.open("count", server_streams, packed(HELD), timeout=limit)
            await asyncio.wait_for(served.site.cancelled.wait(), limit + SOON)
            await asyncio.sleep(LATE)
            frames, error = await error_of(open_ended)

            assert ([unpacked(frame) for frame in frames], error.code) == (list(range(HELD)), Code.DEADLINE_EXCEEDED)
            assert [unpacked(frame) for frame in await answered(whole)] == list(range(HELD))
            assert whole.outcome is not None
            assert whole.outcome.code == Code.OK

    @on_a_loop
    async def test_a_time_limit_that_is_not_reached_does_nothing(self, serve: Serve) -> None:
        async with serve() as served:
            for shape in self.shapes:
                for number in range(10):
                    assert (await served.call("last", shape, packed(number), timeout=AMPLE))[0] == [packed(number)]
            await asyncio.sleep(AMPLE)

            assert not served.site.cancelled.is_set()

    @on_a_loop
    async def test_what_has_no_time_left_is_not_started(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            for timeout in (0.0, -1.0):
                with pytest.raises(DeadlineExceeded):
                    await served.call("last", shape, b"", timeout=timeout)
            await served.call("last", shape, b"")

            assert len(served.site.heads) == 1

    @on_a_loop
    async def test_a_call_that_the_site_forgets_is_an_error(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            channel = await served.open("forget", shape, b"")
            with pytest.raises(XooaiError):
                await asyncio.wait_for(answered(channel), SOON)

    @on_a_loop
    async def test_a_shape_that_is_not_declared_is_refused(self, serve: Serve, undeclared: Shape) -> None:
        async with serve() as served:
            with pytest.raises(Unimplemented):
                await served.call("last", undeclared, b"")

    @on_a_loop
    async def test_where_nobody_listens_a_call_is_unavailable(self, serve: Serve, shape: Shape, driver: Driver) -> None:
        async with serve() as served:
            url = served.listener.url
        link = await driver.dial(url, self.dial_options)
        try:
            with pytest.raises(Unavailable):
                await answered(await opened(link, Head(path_of("last", shape), shape=shape), b""))
        finally:
            await link.aclose()

    @on_a_loop
    async def test_a_link_that_is_closed_makes_no_call(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            await served.call("last", shape, b"")
            await served.link.aclose()
            await served.link.aclose()
            with pytest.raises(Unavailable):
                await served.call("last", shape, b"")

    @on_a_loop
    async def test_one_address_has_one_listener(self, serve: Serve, driver: Driver) -> None:
        async with serve() as served:
            with pytest.raises(Unavailable):
                await driver.listen(served.listener.url, served.site, self.listen_options)

    @on_a_loop
    async def test_an_address_is_free_again_when_its_listener_is_closed(self, serve: Serve, driver: Driver) -> None:
        async with serve() as served:
            url, site = served.listener.url, served.site
        for _ in range(3):
            listener = await driver.listen(url, site, self.listen_options)
            assert listener.url == url
            await listener.aclose()
            await listener.aclose()
