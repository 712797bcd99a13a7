"""Tests of a driver: calls that go well, in every shape."""

from __future__ import annotations

import asyncio

import pytest

from xooai.driver import Outcome, Shape
from xooai.errors import Code, NotFound, XooaiError
from xooai.testing.suite.calls import answered
from xooai.testing.suite.fixtures import Fixtures, Serve, on_a_loop
from xooai.testing.suite.site import packed, path_of, unpacked

__all__ = ["AnswerTests"]

AT_ONCE = 100  # calls side by side on one link
ANY = bytes(range(256))


def sent_back(answer: list[bytes], shape: Shape) -> list[bytes]:
    """The frames that a site has echoed, which stand in one where the client alone streams."""
    return list(unpacked(answer[0])) if shape == Shape.CLIENT else answer


class AnswerTests(Fixtures):
    """Calls that go well."""

    @on_a_loop
    async def test_an_echo_comes_back(self, serve: Serve, shape: Shape) -> None:
        frames = [b"one", b"two", b"three"] if shape & Shape.CLIENT else [b"one"]
        async with serve() as served:
            answer, outcome = await served.call("echo", shape, *frames)

            assert sent_back(answer, shape) == frames
            assert outcome.code == Code.OK

    @on_a_loop
    async def test_a_frame_is_any_bytes_and_may_be_empty(self, serve: Serve, shape: Shape) -> None:
        frames = [b"", ANY, b"", b""] if shape & Shape.CLIENT else [ANY]
        async with serve() as served:
            assert sent_back((await served.call("echo", shape, *frames))[0], shape) == frames
            if not shape & Shape.CLIENT:
                assert (await served.call("echo", shape, b""))[0] == [b""]

    @on_a_loop
    async def test_a_frame_is_larger_than_what_is_sent_at_once(self, serve: Serve, shape: Shape) -> None:
        large = ANY * 4096 * 8  # 8 MiB
        async with serve() as served:
            channel = await served.open("last", shape, *([] if shape & Shape.CLIENT else [large]))
            if shape & Shape.CLIENT:
                await channel.end(large)

            assert await answered(channel) == [large]

    @on_a_loop
    async def test_the_head_arrives(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            await served.call("last", shape, b"", codec="application/json", accept="application/msgpack", timeout=30.0)

            head = served.site.heads[0]
            assert (head.path, head.shape) == (path_of("last", shape), shape)
            assert (head.codec, head.accept) == ("application/json", "application/msgpack")
            assert head.timeout is not None
            assert 20 < head.timeout < 31  # some transports round up

    @on_a_loop
    async def test_a_client_does_not_say_who_it_is(self, serve: Serve, shape: Shape) -> None:
        """Only a certificate does: neither the head nor its metadata."""
        names = (
            "identity",
            "xooai-identity",
            "xooai.identity",
            "peer_uri",
            "x509_common_name",
            "x-forwarded-client-cert",
        )
        async with serve() as served:
            await served.call("last", shape, b"", identity="root", metadata=dict.fromkeys(names, "root"))

            assert served.site.heads[0].identity == ""

    @on_a_loop
    async def test_a_call_without_a_time_limit_has_none_over_there(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            await served.call("last", shape, b"")

            assert served.site.heads[0].timeout is None

    @on_a_loop
    async def test_metadata_passes_both_ways(self, serve: Serve, shape: Shape) -> None:
        sent = {"x-trace": "00-ab-01", "X-Text": "a b, c=d;e"}
        async with serve() as served:
            answer, outcome = await served.call("beside", shape, b"", metadata=sent)

            arrived = served.site.heads[0].metadata
            assert {name: arrived.get(name.lower()) for name in sent} == sent
            assert (answer, outcome.metadata["x-cost"]) == ([b"answer"], "3")
            assert outcome.metadata["x-text"] == "a b, c=d;e"

    @on_a_loop
    async def test_a_site_is_told_that_a_caller_asks_for_the_times_of_its_call(
        self, serve: Serve, shape: Shape
    ) -> None:
        async with serve() as served:
            await served.call("last", shape, b"", metadata={"xooai-timing": "1"})
            await served.call("last", shape, b"")

            assert [head.is_timed for head in served.site.heads] == [True, False]

    @on_a_loop
    async def test_metadata_passes_beside_an_error(self, serve: Serve, shape: Shape) -> None:
        wanted = {"code": Code.NOT_FOUND, "message": "gone", "metadata": {"x-cost": "3"}}
        async with serve() as served:
            channel = await served.open("fail", shape, packed(wanted))
            with pytest.raises(NotFound, match="gone"):
                await answered(channel)

            assert channel.outcome is not None
            assert channel.outcome.metadata["x-cost"] == "3"

    @on_a_loop
    async def test_the_codec_of_the_reply_is_told(self, serve: Serve, shape: Shape) -> None:
        """That of a stream is the request's, or what it accepts; that of one reply may be any."""
        async with serve() as served:
            _, outcome = await served.call("last", shape, b"{}", codec="application/json")

            assert outcome.codec == ("application/json" if shape & Shape.SERVER else "text/plain")

    @on_a_loop
    async def test_the_outcome_is_known_at_the_end_and_not_before(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            channel = await served.open("begin" if shape & Shape.SERVER else "wait", shape, b"item")
            before: list[Outcome | None] = [channel.outcome]
            if shape & Shape.SERVER:
                assert await channel.receive() == b"item"
                before.append(channel.outcome)
            await served.site.started.wait()
            served.site.released.set()
            await answered(channel)

            assert set(map(bool, before)) == {False}
            assert channel.outcome is not None
            assert channel.outcome.code == Code.OK

    @on_a_loop
    async def test_after_the_end_there_is_nothing_more(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            channel = await served.open("last", shape, b"one")
            await answered(channel)

            assert [await channel.receive(), await channel.receive()] == [None, None]

    @on_a_loop
    async def test_a_link_calls_again_and_again(self, serve: Serve, shape: Shape) -> None:
        """After an error too."""
        async with serve() as served:
            for number in range(20):
                channel = await served.open("fail", shape, packed({"code": Code.NOT_FOUND}))
                with pytest.raises(XooaiError):
                    await answered(channel)
                assert (await served.call("last", shape, packed(number)))[0] == [packed(number)]

    @on_a_loop
    async def test_a_hundred_calls_go_side_by_side_on_one_link(self, serve: Serve, shape: Shape) -> None:
        """None of them is answered before all are there."""
        async with serve() as served:
            calls = [served.call("meet", shape, packed([AT_ONCE, number])) for number in range(AT_ONCE)]
            answers = await asyncio.gather(*calls)

            assert [unpacked(answer[0]) for answer, _ in answers] == list(range(AT_ONCE))

    @on_a_loop
    async def test_a_call_sees_nothing_of_another_ones_context(self, serve: Serve, shape: Shape) -> None:
        async with serve() as served:
            answers = [(await served.call("context", shape, b""))[0] for _ in range(3)]

            assert answers == [[b"nothing"]] * 3
