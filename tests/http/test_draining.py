"""How a listener ends: in good order, within its grace, at any moment, and without leaving anything."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest
from echo_site import Run, ask, connected, listening, post

from xooai.driver import DialOptions, Head
from xooai_http.driver import HttpDriver
from xooai_http.pool import Pool, PoolLimits
from xooai_http.target import Target

SOON = 5  # seconds: far more than anything here takes, so that only what never comes runs into it


def test_a_drained_listener_finishes_its_calls_and_takes_no_new_connections(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site):
            calls = [asyncio.create_task(RawCall(listener.url).run()) for _ in range(5)]
            await site.has_heads(5)
            closing = asyncio.create_task(listener.aclose(grace=SOON))
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                await ask(listener.url, post())
            assert not closing.done()
            site.released.set()
            responses = await asyncio.gather(*calls)
            await closing
            assert [(response.status, response.headers["connection"]) for response in responses] == [(200, "close")] * 5

    run(scene())


class RawCall:
    """A call that waits, and must be followed by the end of its connection."""

    def __init__(self, url: str, target: str = "wait") -> None:
        self.url = url
        self.target = target

    async def run(self) -> Any:
        async with connected(self.url) as client:
            response = await client.ask(post(self.target))
            assert await client.is_closed()
            return response


def test_an_idle_connection_is_answered_once_more_while_draining(run: Run) -> None:
    """Its client may have just sent a request, or be about to."""

    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as used, connected(listener.url) as fresh:
            for number in range(3):
                assert (await used.ask(post(body=b"%d" % number))).body == b"%d" % number
            closing = asyncio.create_task(listener.aclose(grace=SOON))
            with pytest.raises(TimeoutError):  # that nothing happens can only be seen by waiting
                await asyncio.wait_for(used.reader.read(1), 0.2)
            for client in (used, fresh):
                response = await client.ask(post(body=b"3"))
                assert (response.body, response.headers.get("connection")) == (b"3", "close")
                assert await client.is_closed()
            await closing

    run(scene())


def test_a_connection_that_a_client_of_this_process_has_taken_stays_open(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            pool = Pool(Target.at(listener.url, DialOptions()), PoolLimits(), 1000)
            idle, taken = await pool.acquire(inf), await pool.acquire(inf)
            pool.release(idle)
            closing = asyncio.create_task(listener.aclose(grace=SOON))
            await asyncio.sleep(0.3)  # six times as long as it takes to close those that nobody uses

            assert not idle.is_usable()
            assert taken.is_usable()
            assert pool.take(asyncio.get_running_loop().time()) is None
            taken.abort()
            await closing

    run(scene())


def test_an_idle_connection_is_held_no_longer_than_between_calls(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening(keep_alive=0.2, sweep=0.05) as (listener, _),
            connected(listener.url) as used,
            connected(listener.url) as fresh,
        ):
            assert (await used.ask(post())).status == 200
            await asyncio.wait_for(listener.aclose(grace=600), SOON)
            assert await used.is_closed()
            assert await fresh.is_closed()

    run(scene())


def test_an_idle_connection_is_held_no_longer_than_the_grace(run: Run) -> None:
    async def scene() -> None:
        async with listening(keep_alive=600) as (listener, _), connected(listener.url) as client:
            assert (await client.ask(post())).status == 200
            await asyncio.wait_for(listener.aclose(grace=0.1), SOON)
            assert await client.is_closed()

    run(scene())


def test_clients_in_this_process_hold_nothing_up(run: Run) -> None:
    async def scene() -> None:
        async with listening(keep_alive=600) as (listener, _):
            own = await HttpDriver().dial(listener.url, DialOptions())
            await (await own.open(Head("/echo/say"), b"")).receive()
            await asyncio.wait_for(listener.aclose(grace=600), SOON)
            await own.aclose()

    run(scene())


def test_a_request_that_is_coming_in_is_answered_while_draining(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as body, connected(listener.url) as head:
            body.write(post("say", b"abc")[:-1])
            head.write(post("say", b"abc")[:30])
            await body.writer.drain()
            await head.writer.drain()
            assert (await ask(listener.url, post())).status == 200  # by now both have been read
            closing = asyncio.create_task(listener.aclose(grace=SOON))
            await asyncio.sleep(0)
            body.write(b"c")
            head.write(post("say", b"abc")[30:])
            for client in (body, head):
                response = await client.response()
                assert (response.body, response.headers["connection"]) == (b"abc", "close")
                assert await client.is_closed()
            await closing

    run(scene())


@pytest.mark.parametrize("target", ["wait", "wait?by=asgi"])
def test_calls_that_outlast_the_grace_are_cancelled_and_told(
    run: Run, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            client.write(post(target))
            await site.started.wait()
            await listener.aclose(grace=0.1)
            assert site.cancelled.is_set()
            assert (await client.response()).problem["detail"] == "the server stopped before the call was done"
            assert await client.is_closed()

    run(scene())
    assert not caplog.records


def test_a_second_aclose_may_give_less_grace(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            client.write(post("wait"))
            await site.started.wait()
            patient = asyncio.create_task(listener.aclose(grace=600))
            await asyncio.sleep(0)
            await listener.aclose()
            await asyncio.wait_for(patient, SOON)
            assert site.cancelled.is_set()

    run(scene())


def test_a_call_that_ignores_its_cancellation_holds_nothing_up_for_ever(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xooai_http.listener._STOP", 0.1)

    async def scene() -> None:
        async with listening() as (listener, site):
            async with connected(listener.url) as client:
                client.write(post("wait_on"))
                await site.started.wait()
                await asyncio.wait_for(listener.aclose(), SOON)
            assert "1 calls have ignored their cancellation" in caplog.text
            site.released.set()

    run(scene())


@pytest.mark.parametrize("target", ["wait", "wait?by=asgi"])
def test_a_listener_may_end_at_any_moment_of_a_call(run: Run, target: str) -> None:
    async def scene() -> None:
        for moment in range(12):
            async with listening() as (listener, _), connected(listener.url) as client:
                client.write(post(target))
                for _ in range(moment):
                    await asyncio.sleep(0)
                await asyncio.wait_for(listener.aclose(), 2)

    run(scene())


def test_a_listener_that_starts_and_stops_leaves_nothing(run: Run) -> None:
    async def scene() -> None:
        for _ in range(50):
            async with listening() as (listener, _), connected(listener.url) as client:
                assert (await client.ask(post())).status == 200

    run(scene())
