"""Handlers and callers that do what nobody expects: every call ends all the same, with an error that tells."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from stream_places import PATIENCE, Place, within

from xooai import Executor, Internal, Unavailable, current, stream


class Odd(Executor):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.closed = threading.Event()
        self.seen: list[Any] = []

    @stream
    async def raising(self, what: str) -> AsyncIterator[int]:
        yield 1
        raise _ERRORS[what]

    @stream
    def raising_in_thread(self, what: str) -> Iterator[int]:
        yield 1
        raise _ERRORS[what]

    @stream
    async def failing_clean_up(self) -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            self.closed.set()
            raise ValueError("in finally")

    @stream
    def failing_clean_up_in_thread(self) -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            self.closed.set()
            raise ValueError("in finally")

    @stream
    async def no_iterator(self) -> AsyncIterator[int]:
        return 3  # type: ignore[return-value]

    @stream
    def no_iterator_in_thread(self) -> Iterator[int]:
        return 3  # type: ignore[return-value]

    @stream
    async def cancels_itself(self) -> AsyncIterator[int]:
        yield 1
        raise asyncio.CancelledError

    @stream
    async def keeps_its_stream(self, xs: AsyncIterator[int]) -> int:
        self.kept = xs
        return await anext(xs)

    @stream
    def keeps_its_stream_in_thread(self, xs: Iterator[int]) -> int:
        self.kept_in_thread = xs
        return next(xs)

    @stream
    async def calls(self) -> AsyncIterator[str]:
        yield current().endpoint.name
        async with self.open("calls_once") as s:
            yield await s.receive()
        yield current().endpoint.name

    @stream
    async def calls_once(self) -> AsyncIterator[str]:
        yield current().endpoint.name


_ERRORS = {kind.__name__: kind for kind in (StopIteration, StopAsyncIteration, SystemExit, GeneratorExit)}


@pytest.mark.parametrize("on", ["raising", "raising_in_thread"])
@pytest.mark.parametrize("what", _ERRORS)
def test_what_ends_loops_elsewhere_is_an_error_of_the_handler(place: Place, on: str, what: str) -> None:
    e = place(Odd())
    seen: list[int] = []

    with pytest.raises(Internal):
        seen.extend(e.stream(on, what=what))

    assert seen in ([], [1])  # extend() keeps what came


@pytest.mark.parametrize("on", ["no_iterator", "no_iterator_in_thread", "cancels_itself"])
def test_a_handler_that_gives_no_iterator_fails(place: Place, on: str) -> None:
    e = place(Odd())

    with pytest.raises(Internal):
        list(e.stream(on))


@pytest.mark.parametrize("on", ["failing_clean_up", "failing_clean_up_in_thread"])
def test_a_clean_up_that_fails_is_in_the_log(place: Place, on: str, caplog: pytest.LogCaptureFixture) -> None:
    odd = Odd()
    e = place(odd)
    replies = e.stream(on)

    with caplog.at_level(logging.ERROR, "xooai"):
        assert next(replies) == 1
        replies.close()
        assert odd.closed.wait(PATIENCE)
        assert list(zip(range(2), e.stream(on), strict=False)) == [(0, 1), (1, 1)]  # others go on


@pytest.mark.parametrize("on", ["keeps_its_stream", "keeps_its_stream_in_thread"])
def test_a_stream_that_outlives_its_call_raises(place: Place, on: str) -> None:
    odd = Odd()
    e = place(odd)
    assert e.stream(on, xs=[1, 2, 3]) == 1

    async def take() -> None:
        await anext(odd.kept)

    with pytest.raises(Unavailable, match="the call is over"):
        within(take()) if on == "keeps_its_stream" else next(odd.kept_in_thread)


def test_current_is_the_call_whose_handler_runs(place: Place) -> None:
    e = place(Odd())

    assert list(e.stream("calls")) == ["calls", "calls_once", "calls"]


def test_a_call_leaves_no_circle_behind() -> None:
    """Nothing of a call waits for the garbage collector."""
    with Odd() as e:

        async def call() -> list[Any]:
            gc.collect()
            gc.disable()
            try:
                streams = []
                for ends in (True, False):
                    async with e.open("keeps_its_stream") as s:
                        streams.append(weakref.ref(s._channel))
                        if ends:
                            await s.send(1)
                            assert await s.receive() == 1
                        else:
                            await asyncio.sleep(0)
                    del s
                    e.kept = _nothing()
                await asyncio.sleep(0.01)
                return [one() for one in streams]
            finally:
                gc.enable()

        assert within(call()) == [None, None]


async def _nothing() -> AsyncIterator[int]:
    return
    yield
