"""A second attempt beside a slow one: the first answer counts, the other call is cancelled, and a budget bounds them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from authority import Authority
from everywhere import served
from grpc_poller import poller
from xooai import Executor, Flow, FlowError, InvalidArgument, NotFound, Unavailable, current, plugins, post
from xooai.layers import hedge
from xooai.layers.retry import Retries

__all__ = ["poller"]

SOON = 0.05  # seconds


class Slow(Executor):
    """The first call waits until it is cancelled; `cancelled` says that it was."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[str] = []
        self.cancelled = asyncio.Event()

    async def wait_first(self) -> int:
        self.attempts.append(current().metadata.get("xooai-retry-attempt", "0"))
        if len(self.attempts) == 1:
            try:
                await asyncio.sleep(5)
            finally:
                self.cancelled.set()
        return len(self.attempts)

    @post
    async def nothing(self) -> None:
        """Has a client connect, which may take longer than it waits for an answer."""

    @post(idempotent=True)
    async def look(self) -> int:
        return await self.wait_first()

    @post
    async def change(self) -> int:
        self.attempts.append("0")
        await asyncio.sleep(4 * SOON)
        return len(self.attempts)

    @post(idempotent=True)
    async def always_slow(self) -> int:
        self.attempts.append("0")
        await asyncio.sleep(4 * SOON)
        return len(self.attempts)

    @post(idempotent=True)
    async def fail(self) -> int:
        self.attempts.append("0")
        raise NotFound("there is none")


@pytest.fixture
def slow() -> Iterator[Slow]:
    with Slow() as made:
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def url(slow: Slow) -> str:
    plugins.driver("http")
    return slow.start("http://127.0.0.1:0")[0]


async def is_cancelled(slow: Slow) -> None:
    async with asyncio.timeout(10):
        while not slow.cancelled.is_set():  # noqa: ASYNC110 - it is of another loop
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("scheme", ["http", "grpc", "quic", "memory"])
def test_the_answer_of_the_second_attempt_counts_and_the_first_is_cancelled(
    slow: Slow, scheme: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = served(slow, scheme, request, monkeypatch)

    async def scene() -> None:
        async with Slow.at(url, hedge=SOON) as there:
            await there.apost("nothing")
            assert await there.apost("look") == 2
            await is_cancelled(slow)

    asyncio.run(scene())
    assert slow.attempts == ["0", "1"]


def test_only_what_may_run_twice_has_a_second_attempt(slow: Slow, url: str) -> None:
    with Slow.at(url, hedge=SOON) as there:
        assert there.post("change") == 1


def test_an_error_is_final(slow: Slow, url: str) -> None:
    with Slow.at(url, hedge=SOON) as there, pytest.raises(NotFound):
        there.post("fail")
    assert slow.attempts == ["0"]


def test_a_budget_bounds_second_attempts(slow: Slow, url: str) -> None:
    async def scene() -> None:
        async with Slow.at(url, hedge=SOON / 5) as there:
            await asyncio.gather(*(there.apost("always_slow") for _ in range(20)))

    asyncio.run(scene())
    assert len(slow.attempts) == 25


def test_who_leaves_cancels_both(slow: Slow, url: str) -> None:
    async def scene() -> None:
        async with Slow.at(url, hedge=SOON) as there:
            call = asyncio.create_task(there.apost("look"))
            while not slow.attempts:  # noqa: ASYNC110 - it is of another loop
                await asyncio.sleep(0.005)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await is_cancelled(slow)

    asyncio.run(scene())
    assert slow.attempts == ["0"]


def test_a_node_calls_another_server_where_one_is_slow(slow: Slow, url: str) -> None:
    with Slow() as quick, Slow() as third:
        quick.attempts.append("")
        third.attempts.append("")
        urls = [url, *(one.start("http://127.0.0.1:0")[0] for one in (quick, third))]
        found = []
        with Flow().add(use=[f"{one}/slow/look" for one in urls], id="node", hedge=SOON) as flow:
            while not slow.attempts:  # until the slow one is chosen
                found.append(flow.post())
    assert slow.attempts == ["0"]
    assert found


def test_a_node_without_leave_to_run_twice_has_no_second_attempt(url: str) -> None:
    with pytest.raises(FlowError, match=r"hedge= makes a second call, and slow.change is not declared"):
        Flow().add(use=Slow, on="change", id="node", hedge=SOON)


def test_a_node_in_a_file_keeps_it() -> None:
    flow = Flow().add(use="http://127.0.0.1:1/slow/look", id="node", hedge=0.25)
    assert "hedge: 0.25" in flow.dump()


@pytest.mark.parametrize("hedge", [0, -1, True, "1", float("nan"), float("inf")])
def test_hedge_is_a_time(hedge: Any) -> None:
    with pytest.raises(InvalidArgument, match="hedge="):
        Slow.at("http://127.0.0.1:1", hedge=hedge)
    with pytest.raises(FlowError, match="hedge="):
        Flow().add(use=Slow, on="look", hedge=hedge)


def test_of_two_that_end_together_the_answer_counts() -> None:
    async def first_of(fails: int) -> int:
        ready = asyncio.Event()
        both = asyncio.Event()

        async def attempt(number: int) -> int:
            if number:
                both.set()
            await ready.wait()
            if number == fails:
                raise Unavailable("away")
            return number

        raced = asyncio.create_task(hedge.raced(attempt, 0.001, Retries()))
        await both.wait()
        await asyncio.sleep(0)  # so that both wait for the same event
        ready.set()
        return await raced

    async def often() -> list[int]:
        return [await first_of(number % 2) for number in range(20)]

    assert asyncio.run(asyncio.wait_for(often(), 20)) == 10 * [1, 0]
