"""One request, many replies: what is called, what comes, and what happens when somebody leaves or fails."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from stream_places import PATIENCE, Place, within
from talker import BLOCK, Talker

from xooai import DeadlineExceeded, Internal, InvalidArgument, NotFound, Text, sync

COUNTING = pytest.mark.parametrize("on", ["count", "steps", "listed"])
FAILING = pytest.mark.parametrize("on", ["fail", "fail_in_thread"])


async def collected(replies: Any) -> list[Any]:
    return [item async for item in replies]


@COUNTING
@pytest.mark.parametrize("n", [0, 1, 3, 100])
def test_replies_come_in_order_and_end(place: Place, on: str, n: int) -> None:
    e = place(Talker())

    assert within(collected(e.astream(on, n=n))) == list(range(n))
    assert list(e.stream(on, n=n)) == list(range(n))


def test_two_thousand_replies_come_in_order(place: Place) -> None:
    e = place(Talker())

    assert list(e.stream("steps", n=2_000)) == list(range(2_000))


def test_an_endpoint_that_streams_is_plain_python_too() -> None:
    with Talker() as e:
        assert list(e.steps(3)) == [0, 1, 2]
        assert within(collected(e.count(3))) == [0, 1, 2]


def test_none_is_an_item_like_any_other(place: Place) -> None:
    e = place(Talker())

    assert list(e.stream("maybe")) == [1, None, 2, None]


@pytest.mark.parametrize("on", ["hang", "stick"])
def test_the_first_reply_is_there_before_the_second_is_made(place: Place, on: str) -> None:
    talker = Talker()
    e = place(talker)
    replies = e.stream(on)

    assert next(replies) == 1
    assert talker.running.wait(PATIENCE)
    assert not talker.closed.is_set()
    talker.go_on.set()
    replies.close()
    assert talker.closed.wait(PATIENCE)


@COUNTING
def test_who_leaves_the_loop_ends_the_handler(place: Place, on: str) -> None:
    talker = Talker()
    e = place(talker)

    for item in e.stream(on, n=1_000_000):
        if item == 2:
            break
    del item

    assert talker.closed.wait(0.5)
    assert talker.said == ["closed"]


def test_who_leaves_an_async_loop_and_closes_it_ends_the_handler(place: Place) -> None:
    talker = Talker()
    e = place(talker)

    async def leave() -> None:
        replies = e.astream("hang")
        async for _ in replies:
            break
        await asyncio.to_thread(talker.running.wait, PATIENCE)
        await replies.aclose()
        assert await asyncio.to_thread(talker.closed.wait, 0.5)

    within(leave())


def test_a_cancelled_task_ends_the_handler(place: Place) -> None:
    talker = Talker()
    e = place(talker)

    async def cancel() -> None:
        task = asyncio.create_task(collected(e.astream("hang")))
        await asyncio.to_thread(talker.running.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(talker.closed.wait, 0.5)

    within(cancel())


def test_a_generator_in_a_thread_is_closed_when_its_step_has_ended(place: Place) -> None:
    talker = Talker()
    e = place(talker)
    replies = e.stream("stick")
    assert next(replies) == 1
    assert talker.running.wait(PATIENCE)

    replies.close()

    assert not talker.closed.is_set()
    talker.go_on.set()
    assert talker.closed.wait(PATIENCE)


@pytest.mark.parametrize("where", ["here", "in the loop of a call"])
def test_an_iterator_that_is_forgotten_ends_its_handler(place: Place, where: str) -> None:
    talker = Talker()
    e = place(talker)
    forgotten: list[Any] = [e.stream("count", n=1_000_000)]
    next(forgotten[0])
    forgotten.append(forgotten)  # a circle: the collector finds it, in whatever thread it runs

    async def collect() -> None:
        gc.collect()

    del forgotten
    gc.collect() if where == "here" else sync.run(collect())

    assert talker.closed.wait(PATIENCE)


@pytest.mark.parametrize("on", ["blocks", "blocks_in_thread"])
def test_a_slow_reader_holds_the_handler_back(place: Place, on: str) -> None:
    talker = Talker()
    e = place(talker)

    async def read_one() -> int:
        replies = e.astream(on)
        assert await anext(replies) == BLOCK
        before = -1
        while talker.made != before:  # until it stands still
            before = talker.made
            await asyncio.sleep(0.05)
        await replies.aclose()
        return before

    # Of 100 kB each: between processes sockets hold some MB, the more of them the slower the machine.
    assert within(read_one()) < (400 if place.is_remote else 40)


def test_a_slow_reader_holds_no_thread(place: Place) -> None:
    talker = Talker()
    e = place(talker)

    async def many() -> None:
        open_ones = [e.astream("steps", n=1_000_000) for _ in range(40)]  # more than there are threads
        for one in open_ones:
            assert await anext(one) == 0
        for one in open_ones:
            await one.aclose()

    within(many())


@FAILING
@pytest.mark.parametrize("n", [0, 1, 40])
def test_an_error_comes_after_the_replies_before_it(place: Place, on: str, n: int) -> None:
    e = place(Talker())
    seen: list[Any] = []

    with pytest.raises(NotFound, match="no more of these") as caught:
        seen.extend(e.stream(on, n=n))

    assert seen == list(range(n))
    assert caught.value.remote is place.is_remote


@FAILING
def test_the_text_of_other_errors_stays_in_the_log(place: Place, on: str, caplog: pytest.LogCaptureFixture) -> None:
    e = place(Talker())

    with caplog.at_level(logging.ERROR, "xooai"), pytest.raises(Internal) as caught:
        list(e.stream(on, n=2, ours=False))

    assert "secret" not in caught.value.message
    assert caught.value.id is not None
    assert caught.value.id in caplog.text
    assert "secret" in caplog.text


def test_an_item_of_another_type_is_the_handlers_error(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    e = place(Talker())
    seen: list[Any] = []

    with caplog.at_level(logging.ERROR, "xooai"), pytest.raises(Internal):
        seen.extend(e.stream("wrong"))

    assert seen == [1]
    assert "talker.wrong gave str, expected int" in caplog.text


def test_the_time_allowed_covers_the_whole_stream(place: Place) -> None:
    talker = Talker()
    e = place(talker)
    seen: list[Any] = []

    with pytest.raises(DeadlineExceeded):
        seen.extend(e.stream("hang", timeout=0.3))

    assert seen == [1]
    assert talker.closed.wait(0.5)


def test_the_time_allowed_ends_a_stream_that_nobody_reads(place: Place) -> None:
    """What had come is given out before."""
    talker = Talker()
    e = place(talker)
    seen: list[Any] = []

    async def wait() -> None:
        replies = e.astream("count", n=1_000_000, timeout=1.0)
        seen.append(await anext(replies))
        assert await asyncio.to_thread(talker.closed.wait, PATIENCE)
        async for item in replies:
            seen.append(item)

    with pytest.raises(DeadlineExceeded):
        within(wait())
    assert seen == list(range(len(seen)))
    assert len(seen) >= 16


@pytest.mark.parametrize("timeout", [0, -1])
def test_what_has_no_time_left_is_not_started(place: Place, timeout: float) -> None:
    talker = Talker()
    e = place(talker)

    with pytest.raises(DeadlineExceeded):
        list(e.stream("count", n=3, timeout=timeout))

    assert talker.made == 0


def test_a_nested_stream_has_what_is_left_of_the_time(place: Place) -> None:
    e = place(Talker())

    found = list(e.stream("nested", n=3, timeout=5))

    assert len(found) == 3
    assert all(0 < left <= 5.01 for left in found)  # gRPC rounds up to hundredths of a second
    assert found == sorted(found, reverse=True)


def test_a_generator_in_threads_keeps_its_context(place: Place) -> None:
    talker = Talker()
    e = place(talker)

    assert list(e.stream("noting", n=3, metadata={"note": "fine"})) == ["fine"] * 3
    assert next(e.stream("noting", n=3, metadata={"note": "left"})) == "left"
    assert talker.closed.wait(PATIENCE)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "needs the parameter 'n'"),
        ({"n": 1, "m": 2}, "no parameter 'm'"),
        ({"n": "many"}, "valid integer"),
    ],
)
def test_arguments_are_checked(place: Place, arguments: dict[str, Any], says: str) -> None:
    e = place(Talker())

    with pytest.raises(InvalidArgument, match=says):
        list(e.stream("count", **arguments))


def test_post_says_how_a_stream_is_called(place: Place) -> None:
    e = place(Talker())

    with pytest.raises(InvalidArgument, match=r"stream\(\) or astream\(\)"):
        e.post("count", n=1)


def test_a_stream_of_replies_is_not_awaited(place: Place) -> None:
    e = place(Talker())

    async def wait() -> None:
        await e.astream("count", n=1)

    with pytest.raises(InvalidArgument, match=r"async for item in astream\('count'"):
        within(wait())


def test_an_iterator_goes_from_thread_to_thread(place: Place) -> None:
    e = place(Talker())
    replies: Iterator[int] = e.stream("count", n=4)
    found = [next(replies)]

    thread = threading.Thread(target=lambda: found.append(next(replies)))
    thread.start()
    thread.join()

    assert [*found, *replies] == [0, 1, 2, 3]


def test_stream_blocks_in_a_running_loop_too(place: Place) -> None:
    e = place(Talker())

    async def blocking() -> list[int]:
        return list(e.stream("count", n=3))

    assert within(blocking()) == [0, 1, 2]


def test_documents_come_as_they_were_given(place: Place) -> None:
    e = place(Talker())

    found = list(e.stream("echo", xs=[Text(value="a"), Text(value="ü" * 1000)]))

    assert [doc.read() for doc in found] == ["a", "ü" * 1000]
