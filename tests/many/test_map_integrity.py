"""Many small documents, shuffled on their way: each is answered once, by its own answer, and the order is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xooai import Executor, Flow, NotFound, Text, post, stream

Put = Callable[[Executor], Any]
CONCURRENCY = 32
PATIENCE = 600  # seconds: what waits longer fails its test instead of stopping the run
COUNTS = [pytest.param(320, id="some hundred"), pytest.param(100_000, id="a hundred thousand", marks=pytest.mark.slow)]


class Shuffling(Executor):
    """Answers late, and each time differently."""

    def __init__(self) -> None:
        self.random = Random(7)
        self.answered = 0

    async def pause(self) -> None:
        for _ in range(self.random.randrange(8)):
            await asyncio.sleep(0)

    @post
    async def again(self, doc: Text) -> Text:
        await self.pause()
        self.answered += 1
        return Text(value=f"{doc.read()} again")

    @post
    async def answer(self, number: int, turns: int) -> int:
        """The number, after so many turns of the loop; those below 0 fail."""
        for _ in range(turns):
            await asyncio.sleep(0)
        if number < 0:
            raise NotFound(str(number))
        return number

    @stream
    async def each(self, docs: AsyncIterator[Text]) -> AsyncIterator[Text]:
        async for doc in docs:
            await self.pause()
            self.answered += 1
            yield Text(value=f"{doc.read()} again")

    @stream
    async def answers(self, items: AsyncIterator[tuple[int, int]]) -> AsyncIterator[int]:
        """Each number, after so many turns of the loop; those below 0 fail."""
        async for number, turns in items:
            yield await self.answer(number, turns)


def texts(first: int, count: int) -> list[Text]:
    return [Text(value=f"document {number}") for number in range(first, first + count)]


def expected(first: int, count: int) -> list[str]:
    return [f"document {number} again" for number in range(first, first + count)]


@pytest.mark.parametrize("count", COUNTS)
def test_each_document_has_its_own_reply_in_order(put: Put, count: int) -> None:
    e = Shuffling()
    held = put(e)

    found = [reply.read() for reply in held.map("again", iter(texts(0, count)), concurrency=CONCURRENCY)]

    assert found == expected(0, count)
    assert e.answered == count


def test_each_document_has_its_own_reply_as_they_come(put: Put) -> None:
    e, count = Shuffling(), 320
    held = put(e)

    found = list(held.map("again", texts(0, count), concurrency=CONCURRENCY, ordered=False))

    assert all(one.result.read() == f"{one.item.read()} again" for one in found)
    assert sorted(one.index for one in found) == list(range(count))
    assert e.answered == count


@pytest.mark.parametrize("count", COUNTS)
def test_each_item_of_streams_beside_each_other_has_its_own_reply_in_order(put: Put, count: int) -> None:
    e = Shuffling()
    held = put(e)
    share = count // CONCURRENCY

    async def one(first: int) -> list[str]:
        return [reply.read() async for reply in held.astream("each", docs=iter(texts(first, share)))]

    async def all_of_them() -> list[list[str]]:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.gather(*(one(number * share) for number in range(CONCURRENCY)))

    assert asyncio.run(all_of_them()) == [expected(number * share, share) for number in range(CONCURRENCY)]
    assert e.answered == share * CONCURRENCY


@pytest.fixture
def held(put: Put) -> Any:
    """What a caller holds of an executor that is there for all examples of one test."""
    return put(Shuffling())


ITEMS = st.lists(st.tuples(st.integers(-1, 20), st.integers(0, 5)), max_size=40)
"""Numbers, those below 0 being refused, and how many turns of the loop each takes."""
MANY_EXAMPLES = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY_EXAMPLES
@given(items=ITEMS, is_listed=st.booleans())
def test_a_stream_gives_what_a_loop_would(held: Any, items: list[tuple[int, int]], is_listed: bool) -> None:
    numbers = [number for number, _ in items]
    failing = next((index for index, number in enumerate(numbers) if number < 0), None)
    found: list[int] = []
    try:
        found.extend(held.stream("answers", items=items if is_listed else iter(items)))
    except NotFound as error:
        assert (failing is not None, str(error)) == (True, "-1")
    else:
        assert failing is None

    assert found == numbers[:failing]


@pytest.fixture(params=["executor", "flow"])
def mapped(held: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Iterator[Any]]]:
    """`map` of the endpoint `answer`, called itself and as the only node of a Flow."""
    if request.param == "executor":
        yield partial(held.map, "answer")
        return
    with Flow().add(use=held, on="answer", id="answer") as f:
        yield f.map


@MANY_EXAMPLES
@given(items=ITEMS, concurrency=st.integers(1, 40), is_listed=st.booleans(), ordered=st.booleans(), keep=st.booleans())
def test_map_gives_what_a_loop_would(
    mapped: Callable[..., Iterator[Any]],
    items: list[tuple[int, int]],
    concurrency: int,
    is_listed: bool,
    ordered: bool,
    keep: bool,
) -> None:
    numbers = [number for number, _ in items]
    failing = [index for index, number in enumerate(numbers) if number < 0]
    calls = [{"number": number, "turns": turns} for number, turns in items]
    found: list[Any] = []
    raised = None
    try:
        found.extend(
            mapped(
                calls=calls if is_listed else iter(calls),
                concurrency=concurrency,
                ordered=ordered,
                on_error="keep" if keep else "raise",
            )
        )
    except NotFound as error:
        raised = error.details["index"]

    if ordered and not keep:
        assert (found, raised) == ((numbers[: failing[0]], failing[0]) if failing else (numbers, None))
        return
    given = [one.index for one in found]
    assert given == sorted(given) if ordered else len(given) == len(set(given))
    assert all(one.item == calls[one.index] for one in found)
    assert all(one.result == numbers[one.index] for one in found if one.error is None)
    if keep or not failing:
        assert (raised, sorted(given)) == (None, list(range(len(items))))
        assert [one.index for one in sorted(found, key=lambda one: one.index) if one.error] == failing
    else:
        assert raised in failing
        assert all(one.error is None for one in found)
