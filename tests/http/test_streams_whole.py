"""Calls that stream from an executor's client to the executor over HTTP: both sides as they are, in both codecs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from http_talker import Talker, talking
from scripted_server import Run

from xooai import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from xooai.driver import ListenOptions

SOON = 5  # seconds: far more than anything here takes
LEFT = 0.5  # seconds in which a handler is cancelled when its client has left


@pytest.fixture(params=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def called(codec: str, **more: Any) -> AsyncIterator[tuple[Talker, Talker]]:
    """A client of a Talker, and the Talker."""
    async with talking(**more) as (listener, talker), Talker.at(listener.url, codec=codec, timeout=20) as client:
        yield client, talker


def test_replies_stream(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, _):
            for _ in range(2):
                assert [number async for number in client.astream("count", n=10_000)] == list(range(10_000))
                assert [text.value async for text in client.astream("steps", n=3)] == ["0", "1", "2"]
                assert [number async for number in client.astream("count", n=0)] == []

    run(scenario())


def test_requests_stream_to_one_reply(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, _):
            assert await client.astream("total", numbers=range(10_000), scale=2) == 2 * sum(range(10_000))
            assert await client.astream("total", numbers=[]) == 0

    run(scenario())


def test_both_sides_stream_at_once(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, _):
            words = [f"word {number}" for number in range(5_000)]
            assert [word async for word in client.astream("shout", words=words)] == [word.upper() for word in words]

    run(scenario())


def test_both_sides_go_in_step(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, _), client.open(on="shout") as call:
            for word in ("a", "b" * 1_000_000, ""):
                await call.send(word)
                assert await call.receive() == word.upper()
            await call.end()
            assert await call.receive() is None

    run(scenario())


def test_streams_and_calls_take_turns(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, _):
            for _ in range(3):
                assert await client.say("hello") == "hello"
                assert [number async for number in client.astream("count", n=3)] == [0, 1, 2]
                assert await client.astream("total", numbers=[1, 2]) == 3
                assert [word async for word in client.astream("shout", words=["a"])] == ["A"]

    run(scenario())


def test_the_first_item_comes_before_the_second_exists(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, talker), client.open(on="pair") as call:
            assert await call.receive() == "first"
            assert not talker.closed.is_set()
            talker.released.set()
            assert await call.receive() == "second"
            assert await call.receive() is None

    run(scenario())


def test_an_error_after_items_is_that_error(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, _):
            for count in (0, 3):
                async with client.open(on="fail", n=count) as call:
                    assert [await call.receive() for _ in range(count)] == list(range(count))
                    with pytest.raises(NotFound, match=f"no item {count}") as raised:
                        await call.receive()
                assert (raised.value.details, raised.value.remote) == ({"n": count}, True)

    run(scenario())


def test_an_error_between_both_streams_is_that_error(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, _), client.open(on="shout") as call:
            await call.send("a")
            await call.send("fail")
            assert await call.receive() == "A"
            with pytest.raises(NotFound, match="nothing is louder"):
                await call.receive()
            with pytest.raises(NotFound, match="nothing is louder"):
                await call.send("b")

    run(scenario())


def test_an_early_reply_is_the_reply(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, _):
            for _ in range(3):
                async with client.open(on="first") as call:
                    await call.send(7)
                    assert await call.single() == 7
                    await call.send(8)  # for nobody

    run(scenario())


def test_a_wrong_opening_is_refused_as_in_any_call(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, _):
            with pytest.raises(InvalidArgument):
                await anext(client.astream("count", n="many"))
            with pytest.raises(InvalidArgument):
                await client.astream("total", numbers=["one"])

    run(scenario())


def test_an_item_that_is_too_large_is_refused(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec, options=ListenOptions(message_limit=10_000)) as (client, _):
            with pytest.raises(ResourceExhausted, match="the limit is 10,000"):
                _ = [word async for word in client.astream("shout", words=["a", "b" * 20_000, "c"])]

    run(scenario())


def test_leaving_cancels_the_handler(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, talker):
            async with client.open(on="pair") as call:
                await call.receive()
                await talker.started.wait()
            await asyncio.wait_for(talker.cancelled.wait(), LEFT)

            talker.cancelled.clear()
            async with client.open(on="shout") as call:
                await call.send("a")
                assert await call.receive() == "A"
            await asyncio.wait_for(talker.cancelled.wait(), LEFT)

    run(scenario())


def test_a_deadline_ends_both_sides(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, talker):
            with pytest.raises(DeadlineExceeded):
                _ = [word async for word in client.astream("pair", timeout=0.2)]
            await asyncio.wait_for(talker.cancelled.wait(), LEFT)

    run(scenario())


def test_a_slow_reader_stops_the_handler(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, talker):
            async with client.open(on="flood", size=100_000, n=10_000) as call:
                assert await call.receive() == "x" * 100_000
                given = -1
                while given != talker.given:  # until every buffer on the way is full
                    given = talker.given
                    await asyncio.sleep(0.2)
                assert given < 500
                for _ in range(given + 10):
                    await call.receive()
            await asyncio.wait_for(talker.closed.wait(), LEFT)

    run(scenario())


def test_a_handler_that_takes_nothing_stops_the_sender(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, talker), client.open(on="ignore") as call:
            sent = 0
            try:
                while sent < 500:
                    await asyncio.wait_for(call.send("x" * 100_000), 0.5)
                    sent += 1
            except TimeoutError:
                pass
            assert sent < 500
            talker.released.set()
            assert await asyncio.wait_for(call.single(), SOON) == "done"

    run(scenario())


def test_a_sender_that_leaves_is_seen_though_nothing_is_taken(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, talker):
            async with client.open(on="ignore") as call:
                with suppress(TimeoutError):
                    while True:  # until there is no room in either's socket
                        await asyncio.wait_for(call.send("x" * 100_000), 0.5)
            await asyncio.wait_for(talker.cancelled.wait(), 2 * LEFT)

    run(scenario())


def test_a_server_that_ends_cuts_its_streams_off(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with (
            talking() as (listener, _),
            Talker.at(listener.url, codec=codec) as client,
            client.open(on="shout") as call,
        ):
            await call.send("a")
            assert await call.receive() == "A"
            await listener.aclose()
            with pytest.raises(Unavailable):
                await call.receive()

    run(scenario())


def test_nothing_is_sent_after_the_end(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, _), client.open(on="shout") as call:
            await call.end()
            with pytest.raises(FailedPrecondition):
                await call.send("a")
            assert await call.receive() is None

    run(scenario())


def test_fifty_streams_run_side_by_side(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with called(codec) as (client, _):

            async def one(number: int) -> list[str]:
                return [word async for word in client.astream("shout", words=[f"w{number}.{n}" for n in range(20)])]

            found = await asyncio.gather(*(one(number) for number in range(50)))
            assert found == [[f"W{number}.{n}" for n in range(20)] for number in range(50)]

    run(scenario())
