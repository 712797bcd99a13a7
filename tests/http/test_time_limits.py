"""How long a client may take: to send, to stay silent, to read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from echo_site import RawClient, Response, Run, connected, listening, post

from xooai.errors import Code

SOON = 5  # seconds: far more than anything here takes
CALL = b"POST /echo/say HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def is_cut_off(client: RawClient) -> bool:
    return await asyncio.wait_for(client.is_closed(), SOON)


TIMES: dict[str, Any] = {"head_time": 0.1, "window": 0.1, "keep_alive": 0.1, "sweep": 0.02}
PATIENT: dict[str, Any] = {
    "head_time": 0.6,
    "window": 0.6,
    "keep_alive": 0.6,
    "sweep": 0.05,
}  # for a machine that stalls


def test_a_silent_connection_is_closed(run: Run) -> None:
    async def scene() -> None:
        async with listening(**TIMES) as (listener, _), connected(listener.url) as client:
            assert await is_cut_off(client)

    run(scene())


def test_an_idle_connection_is_closed(run: Run) -> None:
    async def scene() -> None:
        async with listening(**{**TIMES, "head_time": 60.0}) as (listener, _), connected(listener.url) as client:
            assert (await client.ask(post())).status == 200
            assert await is_cut_off(client)

    run(scene())


def test_a_connection_in_use_is_kept(run: Run) -> None:
    async def scene() -> None:
        async with listening(**PATIENT) as (listener, _), connected(listener.url) as client:
            for _ in range(15):  # more than twice the time that an idle one has
                assert (await client.ask(post())).status == 200
                await asyncio.sleep(0.1)

    run(scene())


def test_headers_that_come_too_slowly_are_refused(run: Run) -> None:
    async def scene() -> None:
        async with listening(**TIMES) as (listener, _), connected(listener.url) as client:
            response = await say_slowly(client, CALL)
            assert response.status == 408
            assert await is_cut_off(client)

    run(scene())


def test_a_body_that_comes_too_slowly_is_refused(run: Run) -> None:
    async def scene() -> None:
        async with listening(**TIMES) as (listener, _), connected(listener.url) as client:
            client.write(CALL + b"Content-Length: 100000\r\n\r\n")
            response = await say_slowly(client, bytes(100_000))
            assert (response.status, response.problem["code"]) == (408, Code.DEADLINE_EXCEEDED)
            assert await is_cut_off(client)

    run(scene())


async def say_slowly(client: RawClient, data: bytes) -> Response:
    answer = asyncio.create_task(client.response())
    for byte in data:
        if answer.done():
            break
        client.write(bytes((byte,)))
        await asyncio.sleep(0.01)
    return await asyncio.wait_for(answer, SOON)


def test_a_body_that_comes_steadily_may_take_its_time(run: Run) -> None:
    async def scene() -> None:
        async with listening(**PATIENT) as (listener, _), connected(listener.url) as client:
            client.write(CALL + b"Content-Length: 30000\r\n\r\n")
            for _ in range(30):  # more than twice the window, at 20 times the rate
                client.write(bytes(1000))
                await asyncio.sleep(0.05)
            assert (await client.response()).body == bytes(30_000)

    run(scene())


def test_a_call_may_take_its_time(run: Run) -> None:
    async def scene() -> None:
        async with listening(**TIMES) as (listener, site), connected(listener.url) as client:
            client.write(post("wait"))
            await site.started.wait()
            await asyncio.sleep(0.4)
            site.released.set()
            assert (await client.response()).status == 200

    run(scene())


@pytest.mark.parametrize("size", [30_000_000, 8_000_000])
def test_a_client_that_never_reads_its_reply_is_cut_off(run: Run, size: int) -> None:
    async def scene() -> None:
        async with listening(**TIMES) as (listener, site), connected(listener.url) as client:
            client.write(post("large", b"%d" % size) + post("say"))
            await site.has_heads(1)
            await asyncio.sleep(0.5)  # a stream that is not read holds 128 KiB
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await client.response()
            assert len(site.heads) == 1  # the second call did not begin before the reply to the first was taken

    run(scene())


def test_a_client_that_reads_its_reply_steadily_gets_all_of_it(run: Run) -> None:
    async def scene() -> None:
        async with listening(**PATIENT) as (listener, _), connected(listener.url) as client:
            client.write(post("large", b"15000000") + post("say", b"[2]"))
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert b"content-length: 15000000" in head
            for _ in range(30):  # more than twice the window
                await client.reader.readexactly(500_000)
                await asyncio.sleep(0.05)
            assert (await client.response()).body == b"[2]"

    run(scene())
