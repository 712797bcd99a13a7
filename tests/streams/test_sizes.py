"""Items of streams are exactly as large as a message may be, or one byte larger: the same in every place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from stream_places import PLACES, Place

from xooai import Executor, ResourceExhausted, stream
from xooai.driver import MESSAGE_LIMIT

HEADER = {"json": 2, "msgpack": 5}  # bytes of a long text's frame beside the text


class Sizer(Executor):
    """Gives and takes texts of many letters."""

    @stream
    async def give(self, sizes: list[int]) -> AsyncIterator[str]:
        for size in sizes:
            yield "x" * size

    @stream
    async def join(self, sizes: AsyncIterator[int]) -> str:
        return "".join(["x" * size async for size in sizes])

    @stream
    async def take(self, texts: AsyncIterator[str]) -> list[int]:
        return [len(text) async for text in texts]


def chosen() -> list[Any]:
    """Each place with each codec; in the plain run two, which is where one process answers itself."""
    here = {("in process", "msgpack"), ("over memory", "msgpack")}
    return [
        pytest.param((name, codec), id=f"{name}-{codec}", marks=() if (name, codec) in here else pytest.mark.slow)
        for name in PLACES
        if name != "over pipe"  # which resets a connection instead of telling why
        for codec in HEADER
    ]


@pytest.fixture(params=chosen())
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    name, codec = request.param
    with ExitStack() as stack:
        yield Place(PLACES[name], codec, stack)


@pytest.fixture
def most(place: Place) -> int:
    """Letters in the longest text."""
    return MESSAGE_LIMIT - HEADER[place.codec]


def test_an_item_is_as_large_as_allowed_and_no_larger(place: Place, most: int) -> None:
    e = place(Sizer())
    seen: list[int] = []

    with pytest.raises(ResourceExhausted, match=f"{MESSAGE_LIMIT + 1:,} bytes, the limit is") as refused:
        seen.extend(map(len, e.stream("give", sizes=[1, most, 2, most + 1, 3])))

    assert seen == [1, most, 2]
    assert refused.value.reason == "size"


def test_the_reply_to_a_stream_is_as_large_as_allowed_and_no_larger(place: Place, most: int) -> None:
    e = place(Sizer())

    assert len(e.stream("join", sizes=[1, most - 1])) == most
    with pytest.raises(ResourceExhausted, match=f"{MESSAGE_LIMIT + 1:,} bytes, the limit is") as refused:
        e.stream("join", sizes=[1, most])
    assert refused.value.reason == "size"


def test_an_item_of_the_request_is_as_large_as_allowed_and_no_larger(place: Place, most: int) -> None:
    e = place(Sizer())

    assert e.stream("take", texts=["x" * size for size in (1, most)]) == [1, most]
    with pytest.raises(ResourceExhausted, match=f"{MESSAGE_LIMIT + 1:,} bytes, the limit is") as refused:
        e.stream("take", texts=["x" * size for size in (1, most + 1)])
    assert refused.value.reason == "size"
