"""The memory driver passes the suite, and joins executors on loops and threads of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from xooai import Executor, InvalidArgument, Text, Unavailable, plugins, post
from xooai.driver import DialOptions, Head, ListenOptions, Shape
from xooai.testing import DriverTests, MemoryDriver
from xooai.testing.suite import StreamTests
from xooai.testing.suite.calls import answered
from xooai.testing.suite.site import ScriptedSite, packed

OPTIONS = ListenOptions()


class TestMemory(DriverTests):
    url = "memory://suite"
    window = 1024 * 1024


@pytest.mark.slow
class TestLongStreams(StreamTests):
    url = "memory://suite"
    window = 1024 * 1024
    many = 100_000


class Shouter(Executor):
    @post
    def shout(self, doc: Text) -> Text:
        return Text(value=f"{doc.read().upper()} from {threading.current_thread().name}")


@pytest.fixture
def shouter() -> Iterator[Shouter]:
    with Shouter() as e:
        e.start("memory://shouter")
        yield e


def test_it_is_found_by_its_scheme() -> None:
    assert type(plugins.driver("memory")) is MemoryDriver


def test_an_executor_is_served_and_called_by_name_in_one_process(shouter: Shouter) -> None:
    with Shouter.at("memory://shouter") as there:
        answer = there.shout(doc=Text(value="hello")).read()

    assert answer.startswith("HELLO from xooai-worker")


def test_names_are_the_same_in_capitals(shouter: Shouter) -> None:
    """As the hosts of URLs."""
    with Shouter.at("memory://SHOUTER") as there:
        assert there.shout(doc=Text(value="a")).read().startswith("A ")


def test_a_name_without_an_executor_is_unavailable() -> None:
    with Shouter.at("memory://nobody") as there, pytest.raises(Unavailable, match="nobody listens"):
        there.shout(doc=Text(value="a"))


def test_a_url_without_a_name_says_how_to_write_it() -> None:
    with Shouter() as e, pytest.raises(InvalidArgument, match="memory://name"):
        e.start("memory://")


def test_calls_from_many_threads_meet_in_one_executor(shouter: Shouter) -> None:
    found: list[str] = []

    def call(number: int) -> None:
        async def once() -> None:
            async with Shouter.at("memory://shouter") as there:
                answer = await there.apost(on="shout", doc=Text(value=f"n{number}"))
                found.append(answer.read().split()[0])

        asyncio.run(once())

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == [f"N{number}" for number in range(8)]


def test_a_conversation_between_two_threads_keeps_its_order() -> None:
    """Client and server run at the same time, each on a loop of its own; what is on its way stays bounded."""
    numbers = [packed(number) for number in range(10_000)]

    async def serve() -> list[bytes]:
        site = ScriptedSite()
        listener = await MemoryDriver().listen("memory://suite", site, OPTIONS)
        try:
            answer = await asyncio.to_thread(asyncio.run, talk())
            assert site.received == numbers
        finally:
            await listener.aclose()
        return answer

    async def talk() -> list[bytes]:
        link = await MemoryDriver().dial("memory://suite", DialOptions())
        channel = await link.open(Head("/suite/echo", shape=Shape.BIDI))

        async def send() -> None:
            for number in numbers:
                await channel.send(number)
            await channel.end()

        sending = asyncio.ensure_future(send())
        answer = await answered(channel)
        await sending
        await link.aclose()
        return answer

    assert asyncio.run(serve()) == numbers


def test_a_client_whose_loop_ends_leaves_its_call() -> None:
    """Nobody aborts, and nobody closes the link: the next thing that the server tells finds the loop closed."""

    async def serve() -> None:
        site = ScriptedSite()
        listener = await MemoryDriver().listen("memory://suite", site, OPTIONS)
        await asyncio.to_thread(asyncio.run, leave())
        await asyncio.wait_for(site.cancelled.wait(), 5)
        await listener.aclose()

    async def leave() -> None:
        link = await MemoryDriver().dial("memory://suite", DialOptions())
        channel = await link.open(Head("/suite/flood", shape=Shape.SERVER), b"")
        assert await channel.receive() is not None

    asyncio.run(serve())


def test_a_listener_whose_loop_has_ended_frees_its_name() -> None:
    async def listen() -> None:
        await MemoryDriver().listen("memory://suite", ScriptedSite(), OPTIONS)

    async def call() -> None:
        link = await MemoryDriver().dial("memory://suite", DialOptions())
        channel = await link.open(Head("/suite/last"), b"")
        with pytest.raises(Unavailable):
            await channel.receive()

    asyncio.run(listen())
    asyncio.run(call())
    asyncio.run(_listen_and_close())


async def _listen_and_close() -> None:
    listener = await MemoryDriver().listen("memory://suite", ScriptedSite(), OPTIONS)
    await listener.aclose()
