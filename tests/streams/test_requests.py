"""Many requests: one reply for all, or a conversation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from stream_places import PATIENCE, Place, within
from talker import BLOCK, NOTE, Talker

from xooai import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound, Text, Unavailable

CHATTING = pytest.mark.parametrize("on", ["chat", "chat_in_thread"])


class Source:
    """Numbers, or one thing again and again, without end; and what became of who asked for them."""

    def __init__(self, item: Any = None) -> None:
        self.item = item
        self.made = 0
        self.closed = threading.Event()
        self.closings = 0

    def blocking(self) -> Iterator[Any]:
        try:
            while True:
                self.made += 1
                yield self.made if self.item is None else self.item
        finally:
            self.closings += 1
            self.closed.set()

    async def later(self) -> AsyncIterator[Any]:
        try:
            while True:
                self.made += 1
                yield self.made if self.item is None else self.item
        finally:
            self.closings += 1
            self.closed.set()


async def later(items: list[Any]) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(0)
        yield item


@pytest.mark.parametrize("given", [list, tuple, iter, later], ids=["list", "tuple", "iterator", "async iterator"])
@pytest.mark.parametrize("numbers", [[], [1], list(range(100))], ids=["none", "one", "hundred"])
def test_a_stream_of_requests_gives_one_reply(place: Place, given: Any, numbers: list[int]) -> None:
    e = place(Talker())

    async def ask() -> int:
        return int(await e.astream("total", xs=given(numbers), scale=2))

    assert within(ask()) == 2 * sum(numbers)
    assert e.stream("total", xs=given(numbers), scale=2) == 2 * sum(numbers)


@pytest.mark.parametrize("given", [list, iter, later], ids=["list", "iterator", "async iterator"])
def test_a_def_handler_takes_a_stream_in_its_thread(place: Place, given: Any) -> None:
    e = place(Talker())
    words = [Text(value=letter) for letter in "xyz"]

    assert e.stream("joined", xs=given(words), glue="-") == Text(value="x-y-z")


@CHATTING
def test_a_conversation_goes_word_by_word(place: Place, on: str) -> None:
    e = place(Talker())

    async def talk() -> list[Any]:
        found = []
        async with e.open(on) as s:
            for word in ("hi", "ho"):
                await s.send(Text(value=word))
                found.append((await s.receive()).read())
            await s.end()
            found.append(await s.receive())
            found.append(await s.receive())
        return found

    assert within(talk()) == ["HI", "HO", None, None]


@CHATTING
def test_a_conversation_is_a_loop_over_the_replies_to_what_is_given(place: Place, on: str) -> None:
    e = place(Talker())
    words = (Text(value=str(number)) for number in range(200))

    assert [reply.read() for reply in e.stream(on, xs=words)] == [str(number) for number in range(200)]


def test_the_server_may_speak_first(place: Place) -> None:
    e = place(Talker())

    async def talk() -> list[str]:
        async with e.open("greet") as s:
            asked = await s.receive()
            await s.send("Ada")
            return [asked, await s.receive()]

    assert within(talk()) == ["who?", "hello Ada"]


@pytest.mark.parametrize("way", ["blocking", "later"])
def test_an_early_reply_stops_and_closes_what_gives_the_items(place: Place, way: str) -> None:
    e = place(Talker())
    source = Source()

    assert e.stream("first", xs=getattr(source, way)()) == 1

    assert source.closed.wait(PATIENCE)
    assert source.closings == 1


@pytest.mark.parametrize("way", ["blocking", "later"])
def test_a_handler_that_does_not_take_holds_the_source_back(place: Place, way: str) -> None:
    talker, source = Talker(), Source(BLOCK)
    e = place(talker)

    async def hold() -> int:
        task = asyncio.ensure_future(e.astream("slow", xs=getattr(source, way)()).single())
        await asyncio.to_thread(talker.running.wait, PATIENCE)
        before = -1
        while source.made != before:  # until it stands still
            before = source.made
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait({task})
        talker.go_on.set()
        return before

    assert within(hold()) < (200 if place.is_remote else 40)  # of 100 kB each; between processes sockets hold some MB
    assert source.closed.wait(PATIENCE)


@pytest.mark.parametrize("on", ["total", "keep"])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_error_of_the_source_is_raised_and_ends_the_call(place: Place, on: str, is_async: bool) -> None:
    talker = Talker()
    e = place(talker)

    def broken() -> Iterator[int]:
        yield 1
        if on == "keep":
            talker.running.wait(PATIENCE)
        raise KeyError("mine")

    async def broken_later() -> AsyncIterator[int]:
        yield 1
        if on == "keep":
            await asyncio.to_thread(talker.running.wait, PATIENCE)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        e.stream(on, xs=broken_later() if is_async else broken())

    if on == "keep":
        assert talker.closed.wait(PATIENCE)
        assert talker.said == ["Unavailable"]


def test_a_source_that_asks_to_exit_fails_its_call_only(place: Place) -> None:
    e = place(Talker())

    async def leaving() -> AsyncIterator[int]:
        yield 1
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match=r"SystemExit\(3\)"):
        e.stream("total", xs=leaving())
    assert e.stream("total", xs=[1]) == 1


def test_a_source_that_cancels_itself_does_not_leave_the_call_waiting(place: Place) -> None:
    e = place(Talker())

    async def cancelled() -> AsyncIterator[int]:
        yield 1
        raise asyncio.CancelledError

    with pytest.raises(Unavailable, match="cancelled"):
        e.stream("total", xs=cancelled())


def test_a_file_that_is_not_there_is_an_error_before_it_is_sent(place: Place) -> None:
    if not place.is_remote:
        pytest.skip("in process an unread ref may dangle")
    e = place(Talker())

    with pytest.raises(NotFound):
        e.stream("joined", xs=[Text(ref="no/such/file.txt")])


def test_an_item_of_another_type_is_refused(place: Place) -> None:
    e = place(Talker())

    with pytest.raises(InvalidArgument):
        e.stream("joined", xs=[Text(value="a"), object()])


@pytest.mark.parametrize(
    ("endpoint", "items", "loc", "said"),
    [
        ("total", [1, 2, "two"], ("xs", 2), "xs.2: Input should be a valid integer"),
        ("joined", [Text(value="a"), {"value": 7}], ("xs", 1, "value"), "xs.1.value: Input should be a valid string"),
        ("joined", [{"ref": 7}], ("xs", 0, "ref"), "xs.0.ref: Input should be a valid string"),
    ],
)
def test_what_is_wrong_with_an_item_is_told_with_its_place(
    place: Place, endpoint: str, items: list[Any], loc: tuple[str | int, ...], said: str
) -> None:
    e = place(Talker())

    with pytest.raises(InvalidArgument) as refused:
        e.stream(endpoint, xs=items)

    assert [error["loc"] for error in refused.value.errors] == [loc]
    assert refused.value.message == said


def test_an_item_that_cannot_be_written_is_told_with_its_place(place: Place) -> None:
    e = place(Talker())

    with pytest.raises(InvalidArgument, match=r"^xs\.1: the value cannot be sent: ") as refused:
        e.stream("total", xs=[1, object()])

    assert refused.value.errors == []


async def fill(s: Any) -> int:
    """Send until there is no room; how many items went."""
    sent = 0
    try:
        while True:
            async with asyncio.timeout(0.1):
                await s.send(BLOCK)
            sent += 1
    except TimeoutError:
        return sent


def test_an_item_whose_sending_was_cancelled_has_no_place(place: Place) -> None:
    talker = Talker()
    e = place(talker)

    async def talk() -> None:
        async with e.open("slow") as s:
            sent = await fill(s)
            with pytest.raises(InvalidArgument, match=rf"^xs\.{sent}: "):
                await s.send(object())
        talker.go_on.set()

    within(talk())


@pytest.mark.parametrize("given", ["abc", b"abc", {"a": 1}, 3, None])
def test_what_gives_no_items_is_refused(place: Place, given: Any) -> None:
    e = place(Talker())

    with pytest.raises(InvalidArgument, match="'xs': an iterator, an async iterator or a list"):
        e.stream("total", xs=given)


def test_a_stream_cannot_be_left_out_or_given_twice(place: Place) -> None:
    e = place(Talker())

    async def open_with_stream() -> None:
        async with e.open("total", xs=[1]):
            pass

    with pytest.raises(InvalidArgument, match="'xs'"):
        e.stream("total")
    with pytest.raises(InvalidArgument, match=r"send its items after open\(\)"):
        within(open_with_stream())


def test_the_handlers_error_comes_after_the_replies_before_it(place: Place) -> None:
    e = place(Talker())
    source = Source()
    seen: list[int] = []

    with pytest.raises(NotFound, match="enough"):
        seen.extend(e.stream("refuse", xs=source.later()))

    assert seen == [1]
    assert source.closings == 1


async def send_on(s: Any) -> None:
    for number in range(1_000_000):
        await s.send(number)
        await asyncio.sleep(0)


def test_sending_to_a_call_that_failed_raises_its_error(place: Place) -> None:
    e = place(Talker())

    async def talk() -> None:
        async with e.open("refuse") as s:
            await s.send(1)
            assert await s.receive() == 1
            with pytest.raises(NotFound, match="enough"):
                await send_on(s)

    within(talk())


def test_a_stream_that_is_cut_off_is_an_error_for_a_handler_in_a_thread(place: Place) -> None:
    talker = Talker()
    e = place(talker)

    async def leave() -> None:
        async with e.open("keep") as s:
            await s.send(1)
            await asyncio.to_thread(talker.running.wait, PATIENCE)
        assert await asyncio.to_thread(talker.closed.wait, 0.5)

    within(leave())
    assert talker.said == ["Unavailable"]


def test_time_that_has_passed_frees_the_thread_that_waits_for_items(place: Place) -> None:
    talker = Talker()
    e = place(talker)

    async def wait() -> None:
        async with e.open("keep", timeout=0.3) as s:
            with pytest.raises(DeadlineExceeded):
                await s.receive()

    within(wait())
    assert talker.closed.wait(PATIENCE)
    assert talker.said == ["Unavailable"]


def test_a_call_that_was_left_gives_no_end(place: Place) -> None:
    e = place(Talker())

    async def leave() -> None:
        async with e.open("chat") as s:
            await s.send(Text(value="a"))
        with pytest.raises(Unavailable):
            await s.receive()
        with pytest.raises(Unavailable):
            await s.send(Text(value="b"))

    within(leave())


def test_nothing_is_sent_after_the_end_or_where_nothing_is_taken(place: Place) -> None:
    e = place(Talker())

    async def talk() -> None:
        async with e.open("chat") as s:
            await s.end()
            await s.end()
            with pytest.raises(FailedPrecondition, match=r"after end\(\)"):
                await s.send(Text(value="a"))
        async with e.open("count", n=1) as s:
            with pytest.raises(FailedPrecondition, match="takes no stream"):
                await s.send(1)

    within(talk())


def test_two_tasks_send_into_one_call(place: Place) -> None:
    e = place(Talker())

    async def talk() -> int:
        async with e.open("total") as s:

            async def send() -> None:
                for _ in range(200):
                    await s.send(1)

            await asyncio.gather(send(), send())
            await s.end()
            return int(await s.receive())

    assert within(talk()) == 400


def test_a_hundred_conversations_go_on_side_by_side(place: Place) -> None:
    e = place(Talker())

    async def talk(name: str) -> str:
        async with e.open("greet") as s:
            await s.receive()
            await s.send(name)
            return str(await s.receive())

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(talk(str(number)) for number in range(100)))

    assert within(all_of_them()) == [f"hello {number}" for number in range(100)]


def test_a_source_in_a_thread_keeps_its_context(place: Place) -> None:
    e = place(Talker())

    def noted() -> Iterator[Text]:
        token = NOTE.set("source")
        for _ in range(40):
            yield Text(value=NOTE.get())
        NOTE.reset(token)

    assert e.stream("joined", xs=noted(), glue="") == Text(value="source" * 40)


def test_the_replies_of_one_call_are_the_requests_of_the_next(place: Place) -> None:
    e = place(Talker())

    async def ask() -> int:
        return int(await e.astream("total", xs=e.astream("count", n=50)))

    assert within(ask()) == sum(range(50))
