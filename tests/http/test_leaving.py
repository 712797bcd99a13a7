"""Clients that leave in the middle, and clients that send requests ahead."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

import pytest
from echo_site import Run, ask, connected, get, listening, post

SOON = 5  # seconds: far more than anything here takes, so that only what never comes runs into it


def reset(writer: asyncio.StreamWriter) -> None:
    # A linger time of zero makes close() send a reset (socket(7)).
    used = writer.get_extra_info("socket")
    used.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


WAYS_TO_LEAVE: dict[str, Callable[[asyncio.StreamWriter], None]] = {
    "closes": asyncio.StreamWriter.close,
    "resets": reset,
    "stops writing": asyncio.StreamWriter.write_eof,
}


@pytest.mark.parametrize("way", WAYS_TO_LEAVE)
@pytest.mark.parametrize("target", ["wait", "wait?by=asgi"])
def test_a_client_that_leaves_cancels_its_call(
    run: Run, way: str, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with listening() as (listener, site):
            async with connected(listener.url) as client:
                client.write(post(target))
                await site.started.wait()
                WAYS_TO_LEAVE[way](client.writer)
                await asyncio.wait_for(site.cancelled.wait(), 0.5)
            assert (await ask(listener.url, post())).status == 200

    run(scene())
    assert not caplog.records


def test_a_client_that_leaves_takes_its_waiting_requests_along(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site):
            async with connected(listener.url) as client:
                client.write(post("wait") + post() + post("say?by=asgi"))
                await site.started.wait()
            await asyncio.wait_for(site.cancelled.wait(), 0.5)
            await ask(listener.url, post())
            assert [head.path for head in site.heads] == ["/echo/wait", "/echo/say"]

    run(scene())


def test_a_client_that_leaves_in_the_middle_of_a_request_leaves_nothing(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site):
            for data in (b"", b"PO", post()[:40], post(body=bytes(9))[:-1], post(body=bytes(300_000))[:-1]):
                async with connected(listener.url) as client:
                    client.write(data)
                    await client.writer.drain()
            assert (await ask(listener.url, post())).status == 200
            assert len(site.heads) == 1

    run(scene())


# -- requests sent ahead


def test_requests_sent_ahead_are_answered_in_order(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            client.write(
                post("wait", b"0") + post("say", b"1") + get("/livez") + post("say", b"3") + post("say?", b"4")
            )
            await site.started.wait()
            site.released.set()
            bodies = [(await client.response()).body for _ in range(5)]
            assert bodies == [b"0", b"1", b"live\n", b"3", b"4"]
            assert (await client.ask(post("say", b"5"))).body == b"5"

    run(scene())


def test_a_bad_request_sent_ahead_is_refused_in_its_turn(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            client.write(post("wait", b"0") + b"NONSENSE\r\n\r\n" + post("say", b"2"))
            await site.started.wait()
            site.released.set()
            assert (await client.response()).body == b"0"
            assert (await client.response()).status == 400
            assert await client.is_closed()

    run(scene())


def test_more_requests_than_the_limit_are_not_taken(run: Run) -> None:
    async def scene() -> None:
        async with listening(pipeline=3) as (listener, site), connected(listener.url) as client:
            client.write(b"".join(post("wait" if number == 0 else "say", b"%d" % number) for number in range(9)))
            await site.started.wait()
            site.released.set()
            responses = [await client.response() for _ in range(4)]
            assert [response.body for response in responses] == [b"0", b"1", b"2", b"3"]
            assert [response.headers.get("connection") for response in responses] == [None, None, None, "close"]
            assert await client.is_closed()
            assert len(site.heads) == 4

    run(scene())


def test_more_bytes_than_the_limit_are_not_kept_while_a_call_runs(run: Run) -> None:
    async def scene() -> None:
        async with listening(pipeline_size=1000) as (listener, site), connected(listener.url) as client:
            client.write(post("wait"))
            await site.started.wait()
            client.write(post("say", bytes(5000))[:1500])
            assert (await ask(listener.url, post())).status == 200  # by now the other bytes have been read
            client.write(post("say", bytes(5000))[1500:])
            site.released.set()
            response = await client.response()
            assert (response.status, response.headers["connection"]) == (200, "close")
            assert await client.is_closed()
            assert [head.path for head in site.heads] == ["/echo/wait", "/echo/say"]

    run(scene())


def test_a_request_may_begin_while_another_call_runs(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            ahead, behind = post("say", bytes(100_000))[:120], post("say", bytes(100_000))[120:]
            client.write(post("wait") + ahead)
            await site.started.wait()
            site.released.set()
            assert (await client.response()).status == 200
            client.write(behind)
            assert (await client.response()).body == bytes(100_000)
            assert (await client.ask(post())).status == 200

    run(scene())


def test_a_call_inherits_nothing_from_the_one_before(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            client.write(post("context") * 3)
            assert [(await client.response()).body for _ in range(3)] == [b""] * 3
            assert (await client.ask(post("context"))).body == b""

    run(scene())
