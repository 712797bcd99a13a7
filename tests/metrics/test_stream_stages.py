"""How long the stages of streams take: of each stream as a whole, without what its caller takes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest

from authority import Authority
from everywhere import served
from grpc_poller import poller
from xooai import Executor, Text, XooaiError, post, stream, tally
from xooai.threads import SIZE
from xooai.timed import STAGES

__all__ = ["poller"]

LONG = 0.2  # seconds
LEAST = 0.9 * LONG  # a loop wakes up somewhat early
PAUSE = 1.0  # seconds that a caller takes
PATIENCE = 20.0  # seconds
ONE, TWO = Text(value="one"), Text(value="two")
_numbers = count(1)


class Streaming(Executor):
    """What is counted is of the whole process: each has a name of its own."""

    def __init__(self) -> None:
        super().__init__(name=f"streaming_{next(_numbers)}")
        self.held = 0
        self.leave = threading.Event()

    @stream
    async def loop(self) -> AsyncIterator[Text]:
        yield ONE
        await asyncio.sleep(LONG)
        yield TWO

    @stream
    def thread(self) -> Iterator[Text]:
        yield ONE
        time.sleep(LONG)
        yield TWO

    @stream
    async def fail(self) -> AsyncIterator[Text]:
        yield ONE
        await asyncio.sleep(LONG)
        raise ValueError("no")

    @stream
    async def total(self, docs: AsyncIterator[Text]) -> int:
        found = [doc async for doc in docs]
        await asyncio.sleep(LONG)
        return len(found)

    @post
    def hold(self) -> None:
        self.held += 1
        assert self.leave.wait(PATIENCE)

    @stream
    def total_in_thread(self, docs: Iterator[Text]) -> int:
        return len(list(docs))

    @stream
    async def echo(self, docs: AsyncIterator[Text]) -> AsyncIterator[Text]:
        async for doc in docs:
            yield doc

    @stream
    async def large(self) -> AsyncIterator[bytes]:
        for _ in range(96):
            yield bytes(1024 * 1024)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["http", "grpc", "quic", "memory"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Streaming]:
    with Streaming() as streaming:
        url = served(streaming, request.param, request, monkeypatch)
        with Streaming.at(f"{url}/{streaming.name}") as client:
            client.counted = streaming.name, request.param  # type: ignore[attr-defined]
            client.server = streaming  # type: ignore[attr-defined]
            yield client


def stages_of(client: Streaming, endpoint: str) -> dict[str, float]:
    """The seconds of each stage of the only call to an endpoint, and those of the call as `whole`."""
    name, driver = client.counted  # type: ignore[attr-defined]
    calls = tally.calls(name, endpoint, driver)
    until = time.monotonic() + PATIENCE
    while not calls.stages or not calls.seconds:  # its server may hear of the end after its caller
        assert time.monotonic() < until
        time.sleep(0.001)
        calls.add_up()
    assert calls.stages.keys() == set(STAGES)
    assert {sum(buckets) for buckets, _ in calls.stages.values()} == {1}
    return {"whole": calls.seconds, **{stage: total[0] for stage, (_, total) in calls.stages.items()}}


async def slowly() -> AsyncIterator[Text]:
    yield ONE
    await asyncio.sleep(PAUSE)
    yield TWO


@pytest.mark.parametrize("endpoint", ["loop", "thread"])
def test_what_a_handler_takes_is_told(client: Streaming, endpoint: str) -> None:
    assert list(client.stream(endpoint)) == [ONE, TWO]

    found = stages_of(client, endpoint)
    assert LEAST <= found["handle"] <= found["whole"]


def test_what_a_handler_takes_that_fails_is_told(client: Streaming) -> None:
    with pytest.raises(XooaiError):
        list(client.stream("fail"))

    assert stages_of(client, "fail")["handle"] >= LEAST


def test_what_a_caller_takes_to_send_is_no_time_of_the_handler(client: Streaming) -> None:
    async def main() -> None:
        assert await client.astream("total", docs=slowly()) == 2

    asyncio.run(main())

    found = stages_of(client, "total")
    assert LEAST <= found["handle"] <= found["whole"] - PAUSE / 2


def test_the_wait_for_a_thread_is_no_time_of_the_handler(client: Streaming) -> None:
    server: Streaming = client.server  # type: ignore[attr-defined]

    async def main() -> None:
        holding = [asyncio.create_task(client.apost("hold")) for _ in range(SIZE)]
        async with asyncio.timeout(PATIENCE):
            while server.held < SIZE:  # noqa: ASYNC110 - threads tell nobody
                await asyncio.sleep(0.001)
        asyncio.get_running_loop().call_later(PAUSE, server.leave.set)
        assert await client.astream("total_in_thread", docs=[ONE, TWO]) == 2
        await asyncio.gather(*holding)

    asyncio.run(main())
    found = stages_of(client, "total_in_thread")
    assert found["queue"] >= PAUSE / 2
    assert found["handle"] <= found["whole"] - PAUSE / 2


def test_in_a_conversation_what_a_caller_takes_is_no_time_of_the_handler(client: Streaming) -> None:
    async def main() -> list[Text]:
        return [doc async for doc in client.astream("echo", docs=slowly())]

    assert asyncio.run(main()) == [ONE, TWO]
    found = stages_of(client, "echo")
    assert 0 < found["handle"] <= found["whole"] - PAUSE / 2


def test_what_a_caller_takes_to_read_is_no_time_of_the_handler(client: Streaming) -> None:
    replies = client.stream("large")
    size = len(next(replies))
    time.sleep(PAUSE)
    size += sum(map(len, replies))

    assert size == 96 * 1024 * 1024
    found = stages_of(client, "large")
    assert 0 < found["handle"] <= found["whole"] - PAUSE / 2
