"""Tests of a driver: streams, and what bounds them."""

from __future__ import annotations

import asyncio

import pytest

from xooai.driver import Channel, Shape
from xooai.errors import Code, NotFound, XooaiError
from xooai.testing.suite.calls import Upload, answered, asked, cancelled, error_of, finished
from xooai.testing.suite.fixtures import Fixtures, Serve, on_a_loop
from xooai.testing.suite.site import CHUNK, FLOOD, chunk, packed, stalled, unpacked

__all__ = ["StreamTests"]

ROUNDS = 100  # of a conversation


class StreamTests(Fixtures):
    """Streams in one direction and in both."""

    @on_a_loop
    async def test_items_come_in_order(self, serve: Serve, server_streams: Shape) -> None:
        """Many small ones."""
        async with serve() as served:
            answer, outcome = await served.call("count", server_streams, packed(self.many))

            assert [unpacked(frame) for frame in answer] == list(range(self.many))
            assert outcome.code == Code.OK

    @on_a_loop
    async def test_items_of_the_client_arrive_in_order(self, serve: Serve, client_streams: Shape) -> None:
        async with serve() as served:
            channel = await served.open("echo", client_streams)
            sending = asyncio.ensure_future(_send(channel, self.many))
            async with finished(sending):
                answer = await answered(channel)

            wanted = [packed(number) for number in range(self.many)]
            assert served.site.received == wanted
            assert answer == (wanted if client_streams & Shape.SERVER else [packed(wanted)])

    @on_a_loop
    async def test_a_stream_may_be_empty(self, serve: Serve, server_streams: Shape) -> None:
        async with serve() as served:
            answer, outcome = await served.call("count", server_streams, packed(0))

            assert (answer, outcome.code) == ([], Code.OK)

    @on_a_loop
    async def test_a_stream_of_the_client_may_be_empty(self, serve: Serve, client_streams: Shape) -> None:
        async with serve() as served:
            answer, _ = await served.call("echo", client_streams)

            assert answer == ([] if client_streams & Shape.SERVER else [packed([])])

    @on_a_loop
    async def test_the_last_item_comes_with_the_end(self, serve: Serve, server_streams: Shape) -> None:
        async with serve() as served:
            assert (await served.call("last", server_streams, b"only"))[0] == [b"only"]

    @on_a_loop
    async def test_the_first_item_is_out_before_there_is_a_second(self, serve: Serve, server_streams: Shape) -> None:
        async with serve() as served:
            channel = await served.open("begin", server_streams, b"first")

            assert await channel.receive() == b"first"
            assert not served.site.released.is_set()
            served.site.released.set()
            assert await channel.receive() is None

    @on_a_loop
    async def test_the_server_may_speak_first(self, serve: Serve, both_stream: Shape) -> None:
        async with serve() as served:
            channel = await served.open("greet", both_stream)

            assert await channel.receive() == b"hello"
            assert await asked(channel, b"how do you do?") == b"how do you do?"
            await channel.end()
            assert await channel.receive() is None

    @on_a_loop
    async def test_both_sides_go_in_lock_step(self, serve: Serve, both_stream: Shape) -> None:
        """Nothing waits in a buffer for more to come."""
        async with serve() as served:
            channel = await served.open("echo", both_stream)
            answers = [await asked(channel, packed(number)) for number in range(ROUNDS)]
            await channel.end(b"last")

            assert answers == [packed(number) for number in range(ROUNDS)]
            assert await answered(channel) == [b"last"]

    @on_a_loop
    async def test_an_early_answer_comes_while_the_client_still_sends(
        self, serve: Serve, client_streams: Shape
    ) -> None:
        """What the client sends after it goes nowhere, and is no error."""
        async with serve() as served:
            channel = await served.open("early", client_streams, b"first")
            sending = asyncio.ensure_future(Upload().run(channel))
            async with finished(sending):
                assert await answered(channel) == [b"enough"]
                if sending.done():
                    sending.result()

            assert channel.outcome is not None
            assert channel.outcome.code == Code.OK

    @on_a_loop
    async def test_an_early_error_reaches_a_client_that_still_sends(self, serve: Serve, client_streams: Shape) -> None:
        """Raised by its `send`, or at the latest by `receive`."""
        async with serve() as served:
            channel = await served.open("fail", client_streams, packed({"code": Code.NOT_FOUND, "message": "no"}))
            try:
                for _ in range(FLOOD // CHUNK):
                    await channel.send(bytes(CHUNK))
                await channel.end()
            except XooaiError as error:
                assert (type(error), error.message) == (NotFound, "no")
            with pytest.raises(NotFound, match="no"):
                await channel.receive()

    @on_a_loop
    async def test_a_client_that_does_not_read_stops_the_server(self, serve: Serve, server_streams: Shape) -> None:
        """What is on its way to it is bounded in bytes."""
        async with serve() as served:
            channel = await served.open("flood", server_streams, b"")
            assert await channel.receive() is not None
            pushed = await served.site.has_stalled(self.window)
            channel.abort()

            assert CHUNK <= pushed <= self.window

    @on_a_loop
    async def test_a_server_that_does_not_read_stops_the_client(self, serve: Serve, client_streams: Shape) -> None:
        upload = Upload()
        async with serve() as served:
            channel = await served.open("deaf", client_streams)
            await served.site.started.wait()
            async with finished(asyncio.ensure_future(upload.run(channel))):
                pushed = await stalled(lambda: upload.pushed, self.window)
            channel.abort()

            assert CHUNK <= pushed <= self.window

    @on_a_loop
    async def test_a_slow_reader_gets_all_and_is_never_far_behind(self, serve: Serve, server_streams: Shape) -> None:
        async with serve() as served:
            channel = await served.open("flood", server_streams, b"")
            index = ahead = 0
            while (frame := await channel.receive()) is not None:
                assert frame == chunk(index)
                index += 1
                ahead = max(ahead, served.site.pushed - index * CHUNK)
                if index % 64 == 0:  # a pause in which the server would run away
                    await asyncio.sleep(0.001)

            assert index == FLOOD // CHUNK
            assert ahead <= self.window

    @on_a_loop
    async def test_a_server_that_rests_gets_all_and_is_never_far_behind(
        self, serve: Serve, client_streams: Shape
    ) -> None:
        count = 2 * self.window // CHUNK
        async with serve() as served:
            channel, ahead = await served.open("sip", client_streams), 0
            for index in range(count):
                await channel.send(chunk(index))
                ahead = max(ahead, (index + 1) * CHUNK - served.site.taken)
            await channel.end()

            assert await answered(channel) == [packed(count)]
            assert ahead <= self.window

    @on_a_loop
    async def test_who_stops_waiting_for_an_item_loses_none(self, serve: Serve, server_streams: Shape) -> None:
        """It may have come at that very moment."""
        async with serve() as served:
            channel = await served.open("count", server_streams, packed(self.many // 10))
            found: list[bytes | None] = []
            while not found or found[-1] is not None:
                waiting = asyncio.ensure_future(channel.receive())
                for _ in range(len(found) % 5):
                    await asyncio.sleep(0)
                await cancelled(waiting)
                found.append(await channel.receive() if waiting.cancelled() else waiting.result())

            assert found == [*map(packed, range(self.many // 10)), None]

    @on_a_loop
    async def test_a_stalled_stream_holds_up_no_other_call(self, serve: Serve, server_streams: Shape) -> None:
        async with serve() as served:
            waiting = await served.open("flood", server_streams, b"")
            assert await waiting.receive() is not None
            await served.site.has_stalled(self.window)

            assert (await served.call("last", server_streams, b"another"))[0] == [b"another"]
            waiting.abort()

    @on_a_loop
    async def test_items_before_an_error_are_not_lost(self, serve: Serve, server_streams: Shape) -> None:
        """Although the error is there before somebody reads them."""
        wanted = {"code": Code.DATA_LOSS, "message": "torn", "after": ROUNDS}
        async with serve() as served:
            channel = await served.open("fail", server_streams, packed(wanted))
            await served.call("last", server_streams, b"")
            frames, error = await error_of(channel)

            assert [unpacked(frame) for frame in frames] == list(range(ROUNDS))
            assert (error.code, error.message) == (Code.DATA_LOSS, "torn")


async def _send(channel: Channel, count: int) -> None:
    for number in range(count):
        await channel.send(packed(number))
    await channel.end()
