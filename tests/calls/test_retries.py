"""Who makes a call anew, where several might: one of them. And who is told that a call may run twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from http_told import answering, ok, status
from xooai import Executor, Flow, InvalidArgument, Unavailable, current, plugins, post, stream

AWAY = status("503 Away", "retry-after: 0")
LOST = status("502 Lost")
REPLY = ok(b"\x01")


class There(Executor):
    """What is at a server that answers as a test says."""

    @post
    async def once(self) -> int:
        return 1

    @post(idempotent=True)
    async def twice(self) -> int:
        return 1

    @stream
    async def many(self) -> AsyncIterator[int]:
        yield 1


class Onward(Executor):
    """Calls it, and counts its own calls."""

    def __init__(self, there: str) -> None:
        super().__init__()
        self.there = There.at(there)
        self.calls = 0

    @post(idempotent=True)
    async def on(self, name: str) -> int:
        self.calls += 1
        found: int = await self.there.apost(name)
        return found


class Shown(Executor):
    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[str | None] = []

    @post(idempotent=True)
    async def fails_first(self) -> int:
        self.attempts.append(current().metadata.get("xooai-retry-attempt"))
        if len(self.attempts) == 1:
            raise Unavailable("not yet")
        return len(self.attempts)

    @post
    async def fails(self) -> int:
        self.attempts.append(current().metadata.get("xooai-retry-attempt"))
        raise Unavailable("never")


@pytest.fixture(autouse=True)
def driver() -> None:
    plugins.driver("http")


@pytest.mark.parametrize("typed", [True, False], ids=["of the class", "without the class"])
def test_a_client_knows_what_may_run_twice(typed: bool) -> None:
    with Shown() as shown:
        (url,) = shown.start("http://127.0.0.1:0")
        with Shown.at(url) if typed else Executor(url) as client:
            assert client.post("fails_first") == 2
            assert shown.attempts == [None, "1"]
            with pytest.raises(Unavailable, match="never"):
                client.post("fails")
    assert shown.attempts == [None, "1", None]


@pytest.mark.parametrize("answer", [AWAY, LOST], ids=["refused", "lost"])
def test_what_fails_behind_a_server_is_made_anew_by_that_server_alone(answer: bytes) -> None:
    async def scene() -> None:
        async with answering([answer] * 100) as (there, heads):
            with Onward(there) as onward:
                url = (await asyncio.to_thread(onward.start, "http://127.0.0.1:0"))[0]
                async with Onward.at(url) as client:
                    with pytest.raises(Unavailable):
                        await client.apost("on", name="twice")
                await asyncio.to_thread(onward.stop)
            assert (onward.calls, len(heads)) == (1, 4)

    asyncio.run(scene())


def test_a_node_with_retry_is_made_anew_by_its_flow_alone() -> None:
    async def scene() -> None:
        async with answering([AWAY] * 100) as (there, heads), There.at(there) as client:
            for retry, attempts in ((0, 4), (2, 3)):
                heads.clear()
                async with Flow().add(use=client, on="once", retry=retry) as flow:
                    with pytest.raises(Unavailable):
                        await flow.apost()
                assert len(heads) == attempts

    asyncio.run(scene())


def test_calls_for_many_items_are_made_anew_once_over() -> None:
    async def scene() -> None:
        async with answering([AWAY] * 100) as (there, heads), There.at(there) as client:
            found = [one async for one in client.amap("once", calls=[{}], on_error="keep")]
            assert isinstance(found[0].error, Unavailable)
            assert len(heads) == 10

    asyncio.run(scene())


def test_an_error_says_how_many_attempts_there_were() -> None:
    async def scene() -> None:
        async with answering([AWAY] * 4) as (there, _), There.at(there) as client:
            with pytest.raises(Unavailable) as caught:
                await client.apost("once")
            assert caught.value.__notes__ == ["so ended the last of 4 attempts"]

    asyncio.run(scene())


def test_layers_of_a_client_see_one_call() -> None:
    seen: list[str] = []

    def noting(service: Callable[[Any], Any]) -> Callable[[Any], Any]:
        async def noted(call: Any) -> None:
            seen.append(call.endpoint.name)
            await service(call)

        return noted

    with Shown() as shown:
        (url,) = shown.start("http://127.0.0.1:0")
        with Executor(url, layers=[noting]) as client:
            assert client.post("fails_first") == 2
    assert seen == ["describe", "fails_first"] and len(shown.attempts) == 2


def test_a_stream_is_opened_anew_where_nothing_was_sent() -> None:
    async def scene() -> None:
        async with There.at("http://127.0.0.1:1") as client:
            with pytest.raises(Unavailable, match="cannot connect"):
                async for _ in client.astream("many"):
                    pass
            (remote,) = client._xooai_remotes()
            assert remote.retries.spent == 4

    asyncio.run(scene())


@pytest.mark.parametrize("retry", [-1, 11, True, 1.5, "2"])
def test_how_often_is_a_small_number(retry: Any) -> None:
    with pytest.raises(InvalidArgument, match="retry="):
        There.at("http://127.0.0.1:1", retry=retry)


def test_idempotent_is_true_or_false() -> None:
    with pytest.raises(TypeError, match="idempotent='yes'"):
        post(idempotent="yes")  # type: ignore[call-overload]


def test_a_subclass_says_anew_what_may_run_twice() -> None:
    class Changed(There):
        @post
        async def twice(self) -> int:
            return 1

    class Kept(There):
        pass

    assert not Changed._xooai_declared.endpoints["twice"].idempotent
    assert Kept._xooai_declared.endpoints["twice"].idempotent
