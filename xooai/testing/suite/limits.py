"""Tests of a driver: the size of a frame."""

from __future__ import annotations

import pytest

from xooai.driver import Shape
from xooai.errors import ResourceExhausted
from xooai.testing.suite.calls import answered, error_of
from xooai.testing.suite.fixtures import Fixtures, Serve, on_a_loop
from xooai.testing.suite.site import packed

__all__ = ["LimitTests"]

LIMIT = 100_000  # bytes: no power of two, and more than goes at once


class LimitTests(Fixtures):
    """A frame may have as many bytes as `message_limit` says, and not one more."""

    @on_a_loop
    async def test_a_request_may_be_as_large_as_allowed(self, serve: Serve, shape: Shape) -> None:
        async with serve(message_limit=LIMIT) as served:
            assert (await served.call("last", shape, bytes(LIMIT)))[0] == [bytes(LIMIT)]

    @on_a_loop
    async def test_a_request_one_byte_larger_is_refused(self, serve: Serve, shape: Shape) -> None:
        """The site does not see it, and the next call is taken."""
        async with serve(message_limit=LIMIT) as served:
            with pytest.raises(ResourceExhausted) as refused:
                await served.call("last", shape, bytes(LIMIT + 1))

            assert refused.value.reason == "size"
            assert served.site.received == []
            assert (await served.call("last", shape, b"next"))[0] == [b"next"]

    @on_a_loop
    async def test_each_frame_of_a_stream_may_be_as_large_as_allowed(self, serve: Serve, client_streams: Shape) -> None:
        frames = [bytes(LIMIT)] * 5
        async with serve(message_limit=LIMIT, reply_limit=2 * 5 * LIMIT) as served:
            answer, _ = await served.call("echo", client_streams, *frames)

            assert answer == (frames if client_streams & Shape.SERVER else [packed(frames)])

    @on_a_loop
    async def test_a_later_frame_one_byte_larger_is_refused(self, serve: Serve, client_streams: Shape) -> None:
        async with serve(message_limit=LIMIT) as served:
            with pytest.raises(ResourceExhausted) as refused:
                await served.call("echo", client_streams, b"first", bytes(LIMIT + 1), b"last")

            assert refused.value.reason == "size"
            assert served.site.received == [b"first"]
            assert (await served.call("last", client_streams, b"next"))[0] == [b"next"]

    @on_a_loop
    async def test_a_reply_may_be_as_large_as_the_client_takes(self, serve: Serve, shape: Shape) -> None:
        async with serve(reply_limit=LIMIT) as served:
            assert (await served.call("last", shape, bytes(LIMIT)))[0] == [bytes(LIMIT)]

    @on_a_loop
    async def test_a_reply_one_byte_larger_is_refused(self, serve: Serve, shape: Shape) -> None:
        async with serve(reply_limit=LIMIT) as served:
            with pytest.raises(ResourceExhausted) as refused:
                await served.call("last", shape, bytes(LIMIT + 1))

            assert refused.value.reason == "size"
            assert (await served.call("last", shape, b"next"))[0] == [b"next"]

    @on_a_loop
    async def test_a_later_item_may_be_as_large_as_the_client_takes(self, serve: Serve, server_streams: Shape) -> None:
        async with serve(reply_limit=LIMIT) as served:
            assert (await served.call("swell", server_streams, packed(LIMIT)))[0] == [b"small", bytes(LIMIT)]

    @on_a_loop
    async def test_a_later_item_one_byte_larger_is_refused(self, serve: Serve, server_streams: Shape) -> None:
        """The items before it are not."""
        async with serve(reply_limit=LIMIT) as served:
            channel = await served.open("swell", server_streams, packed(LIMIT + 1))
            frames, error = await error_of(channel)

            assert (frames, type(error)) == ([b"small"], ResourceExhausted)
            with pytest.raises(ResourceExhausted):
                await answered(channel)
            assert (await served.call("last", server_streams, b"next"))[0] == [b"next"]
