"""An endpoint that takes batches, given a stream: each item is in a batch with those of all callers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noted_batches import PATIENCE, Noting, scene

from xooai import DeadlineExceeded, Executor, Flow, InvalidArgument, NotFound, Text, post, stream, tally

UNDER_WAY = 16  # items of one stream, where batches are small


async def until_waiting(count: int, endpoint: str, executor: str = "noting") -> None:
    """Until so many items wait for a batch."""
    while tally.waiting().get(("batch", executor, endpoint), 0) != count:  # noqa: ASYNC110 - nothing tells of it but looking
        await asyncio.sleep(0.005)


async def ran_first(noting: Noting) -> None:
    assert await asyncio.to_thread(noting.started.acquire, timeout=PATIENCE)


def test_the_replies_to_a_stream_are_in_the_order_of_its_items(client: Any, noting: Noting) -> None:
    texts = (Text(value=f"word {number}") for number in range(40))

    found = [reply.read() for reply in client.stream(on="loud", doc=texts, mark="?")]

    assert found == [f"WORD {number}?" for number in range(40)]
    assert sorted(itertools.chain(*noting.batches)) == sorted(f"word {number}" for number in range(40))
    assert max(map(len, noting.batches)) <= 4


def test_items_of_streams_and_of_other_callers_share_batches(client: Any, noting: Noting) -> None:
    async def play() -> None:
        first = asyncio.create_task(client.apost(on="waiting", x=0))
        await ran_first(noting)

        async def streamed(*items: int) -> list[int]:
            return [reply async for reply in client.astream(on="waiting", x=items)]

        calls = [asyncio.create_task(streamed(1, 2)), asyncio.create_task(streamed(3))]
        alone = asyncio.create_task(client.apost(on="waiting", x=4))
        await until_waiting(4, "waiting")
        noting.gate.set()

        assert [await first, await alone, *[await call for call in calls]] == [0, 4, [1, 2], [3]]

    scene(play)
    assert list(map(sorted, noting.batches)) == [[0], [1, 2, 3, 4]]


def test_a_stream_is_asked_for_no_more_items_than_there_is_room_for(client: Any, noting: Noting) -> None:
    asked: list[int] = []

    async def endless() -> AsyncIterator[int]:
        for number in itertools.count():
            asked.append(number)
            yield number

    async def play() -> None:
        async with aclosing(aiter(client.astream(on="held", x=endless()))) as replies:
            reading = asyncio.ensure_future(anext(replies))
            await ran_first(noting)
            await until_waiting(UNDER_WAY - len(noting.batches[0]), "held")
            assert len(asked) <= 2 * UNDER_WAY
            noting.gate.set()
            assert await reading == 0

    scene(play)


def test_who_leaves_a_stream_takes_its_waiting_items_out(client: Any, noting: Noting) -> None:
    closed: list[bool] = []

    async def items() -> AsyncIterator[int]:
        try:
            for number in itertools.count(1):
                yield number
        finally:
            closed.append(True)

    async def play() -> None:
        first = asyncio.create_task(client.apost(on="waiting", x=0))
        await ran_first(noting)
        replies = aiter(client.astream(on="waiting", x=items()))
        reading = asyncio.ensure_future(anext(replies))
        await until_waiting(UNDER_WAY, "waiting")

        reading.cancel()
        await asyncio.wait([reading])
        await until_waiting(0, "waiting")
        noting.gate.set()
        assert await first == 0

    scene(play)
    assert (noting.batches, closed) == ([[0]], [True])


def test_an_item_that_fails_ends_its_stream_behind_the_replies_before_it(client: Any) -> None:
    replies = client.stream(on="picky", x=iter([1, 2, -1, 3]))

    assert [next(replies), next(replies)] == [1, 2]
    with pytest.raises(NotFound, match="item 2: no -1") as failure:
        next(replies)
    assert failure.value.details["index"] == 2


def test_an_item_that_fails_leaves_other_streams_alone(client: Any) -> None:
    async def streamed(*items: int) -> list[int]:
        return [reply async for reply in client.astream(on="picky", x=items)]

    async def play() -> None:
        good, bad = await asyncio.gather(streamed(1, 2, 3), streamed(-1, 4), return_exceptions=True)
        assert good == [1, 2, 3]
        assert isinstance(bad, NotFound)

    scene(play)


def test_what_gives_the_items_may_fail(client: Any) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    replies = client.stream(on="picky", x=items())

    assert next(replies) == 1
    with pytest.raises(LookupError, match="no more"):
        next(replies)


def test_the_time_of_a_stream_is_that_of_the_whole(client: Any, noting: Noting) -> None:
    async def slow() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(PATIENCE)

    noting.gate.set()
    with pytest.raises(DeadlineExceeded):
        list(client.stream(on="held", x=slow(), timeout=0.3))


def test_items_whose_time_is_over_are_not_run(client: Any, noting: Noting) -> None:
    async def play() -> None:
        first = asyncio.create_task(client.apost(on="waiting", x=0))
        await ran_first(noting)
        with pytest.raises(DeadlineExceeded):
            await anext(aiter(client.astream(on="waiting", x=[1, 2, 3], timeout=0.3)))
        await until_waiting(0, "waiting")
        noting.gate.set()
        assert await first == 0

    scene(play)
    assert noting.batches == [[0]]


class Through(Noting):
    """Streams whose items go into the batches of another endpoint."""

    @stream
    async def each(self, xs: AsyncIterator[int]) -> AsyncIterator[int]:
        async for reply in self.astream(on="waiting", x=xs):
            yield reply


@pytest.mark.parametrize("scheme", ["http", "grpc", "memory"])
def test_streams_of_several_callers_share_the_batches_of_their_server(scheme: str) -> None:
    with Through() as through:
        (url,) = through.start("memory://through" if scheme == "memory" else f"{scheme}://127.0.0.1:0")

        async def streamed(client: Any, *items: int) -> list[int]:
            return [reply async for reply in client.astream(on="each", xs=items)]

        async def play() -> None:
            with Through.at(url) as one, Executor(f"{url}/through") as other:
                first = asyncio.create_task(one.apost(on="waiting", x=0))
                await ran_first(through)
                calls = [asyncio.create_task(streamed(one, 1, 2)), asyncio.create_task(streamed(other, 3, 4))]
                await until_waiting(4, "waiting", "through")
                through.gate.set()
                assert [await first, *[await call for call in calls]] == [0, [1, 2], [3, 4]]

        scene(play)
    assert list(map(sorted, through.batches)) == [[0], [1, 2, 3, 4]]


class Lines(Executor):
    @stream
    async def numbers(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number


@pytest.mark.parametrize("is_served", [False, True], ids=["in process", "served"])
def test_a_flow_gives_the_items_of_a_stream_to_a_batch(noting: Noting, is_served: bool) -> None:
    async def play() -> None:
        at = noting.start("memory://noting")[0] if is_served else noting
        f = Flow().add(use=Lines, id="numbers").add(use=at, on="waiting", id="run", needs="numbers")
        replies = aiter(f.astream(count=40))
        reading = asyncio.ensure_future(anext(replies))
        await ran_first(noting)
        await until_waiting(UNDER_WAY - len(noting.batches[0]), "waiting")
        noting.gate.set()
        assert [await reading, *[reply async for reply in replies]] == list(range(40))

    scene(play)
    assert max(map(len, noting.batches)) == 4


def test_a_list_in_a_stream_is_no_item(client: Any) -> None:
    with pytest.raises(InvalidArgument, match="item 0: an item of the stream 'x' is a list; it takes one item"):
        list(client.stream(on="picky", x=[[1, 2]]))


@pytest.mark.parametrize("given", [3, "text", Text(value="one")], ids=["a number", "a text", "a document"])
def test_what_gives_no_items_is_no_stream(client: Any, given: Any) -> None:
    with pytest.raises(InvalidArgument, match="loud takes a stream as 'doc': an iterator"):
        list(client.stream(on="loud", doc=given))


def test_an_idempotency_key_is_for_one_item(client: Any) -> None:
    with pytest.raises(InvalidArgument, match="idempotency-key is for one call"):
        list(client.stream(on="picky", x=[1, 2], metadata={"idempotency-key": "k"}))


def test_a_stream_of_batches_is_no_single_reply(client: Any) -> None:
    async def play() -> None:
        with pytest.raises(InvalidArgument, match="gives a stream of replies"):
            await client.astream(on="picky", x=[1])
        with pytest.raises(InvalidArgument, match="stream\\(\\) and astream\\(\\) take many items"):
            async with client.open(on="picky"):
                pass

    scene(play)


class Scaling(Executor):
    @post(batch_size=5)
    def scaled(self, x: list[int], by: int = 1) -> list[int | Exception]:
        return [InvalidArgument("a 13") if one == 13 else one * by for one in x]


@given(items=st.lists(st.integers(0, 14), max_size=60), by=st.integers(-3, 3))
def test_a_stream_gives_what_calls_one_by_one_give(items: list[int], by: int) -> None:
    with Scaling() as e:
        wanted, found = list(itertools.takewhile(lambda one: one != 13, items)), []
        try:
            for reply in e.stream(x=iter(items), by=by):
                found.append(reply)  # noqa: PERF402 - what came before an error is to be seen
        except InvalidArgument as error:
            assert (13 in items, error.details["index"]) == (True, len(wanted))
        else:
            assert 13 not in items
        assert found == [e.post(x=one, by=by) for one in wanted]
