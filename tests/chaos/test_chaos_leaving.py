"""Clients whose connections end in the middle of a call: their handlers end, and those that these have called."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest
from chaos_calls import keeping_time
from chaos_program import PATIENCE
from waiting_program import ONWARD, Relay, Waiting

from tcp_proxy import TcpProxy
from xooai import Executor
from xooai.errors import Unavailable

Run = Callable[[Coroutine[Any, Any, Any]], Any]

SOON = 0.5  # seconds in which a handler has to see that its client has left
FAN = 8  # calls that a handler makes at once

WAYS: dict[str, Callable[[TcpProxy], None]] = {
    "reset": TcpProxy.reset,
    "closed": TcpProxy.close,
    "half-closed": TcpProxy.shut,
}


async def one_and_no_end() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(PATIENCE)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what another loop or thread does."""
    async with asyncio.timeout(PATIENCE):
        while not is_so():  # noqa: ASYNC110  # threads and other loops have no event for this
            await asyncio.sleep(0.005)


async def posted(client: Waiting, on: str) -> None:
    await client.apost(on=on)


async def received(client: Executor, on: str) -> None:
    async for _ in client.astream(on):
        pass


async def sent(client: Waiting, on: str) -> None:
    await client.astream(on, items=one_and_no_end())


async def conversed(client: Waiting, on: str) -> None:
    async for _ in client.astream(on, items=one_and_no_end()):
        pass


HANDLERS: dict[str, Callable[[Waiting, str], Coroutine[Any, Any, None]]] = {
    "wait": posted,
    "silent": received,
    "ticking_in_thread": received,
    "all_of": sent,
    "all_of_in_thread": sent,
    "each": conversed,
    "each_in_thread": conversed,
}


async def ended_soon(waiting: Waiting, left: Callable[[str, asyncio.Barrier], Coroutine[Any, Any, None]]) -> None:
    """Call and leave each handler, once all have begun; none may go on for long."""
    async with keeping_time() as clock:
        all_begun = asyncio.Barrier(len(HANDLERS))
        async with asyncio.TaskGroup() as group:
            for on in HANDLERS:
                group.create_task(left(on, all_begun))
        last = max(waiting.begun.values())
        took = {on: round(ended - last, 3) for on, ended in waiting.ended.items()}
        assert max(took.values()) < SOON + clock.late


@pytest.fixture
def url(waiting: Waiting, scheme: str) -> str:
    return waiting.start(f"{scheme}://127.0.0.1:0")[0]


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_that_ends_ends_the_handlers_of_its_calls(run: Run, waiting: Waiting, url: str, way: str) -> None:
    """In every shape, on the loop and in threads, which see it at their next hop; and the client gets an error."""

    async def left(on: str, all_begun: asyncio.Barrier) -> None:
        async with TcpProxy(url) as proxy, Waiting.at(proxy.url, timeout=PATIENCE) as client:
            call = asyncio.create_task(HANDLERS[on](client, on))
            await until(lambda: on in waiting.begun)
            await all_begun.wait()
            WAYS[way](proxy)
            with pytest.raises(Unavailable):
                await call
            await until(lambda: on in waiting.ended)

    run(ended_soon(waiting, left))


@pytest.mark.parametrize("way", ["cancelled", "closed"])
def test_a_client_over_quic_that_leaves_ends_the_handlers_of_its_calls(
    run: Run, waiting: Waiting, library: str, pem: dict[str, str], way: str
) -> None:
    """By the end of their streams, and by that of their connections, which for UDP no proxy could bring about."""
    pytest.importorskip(library)
    url = waiting.start("quic://127.0.0.1:0", certificate=pem["certificate"], key=pem["key"])[0]

    async def left(on: str, all_begun: asyncio.Barrier) -> None:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Waiting.at(url, trust=pem["certificate"], timeout=PATIENCE))
            call = asyncio.create_task(HANDLERS[on](client, on))
            await until(lambda: on in waiting.begun)
            await all_begun.wait()
            if way == "closed":
                await stack.aclose()
            else:
                call.cancel()
            with pytest.raises(Unavailable if way == "closed" else asyncio.CancelledError):
                await call
            await until(lambda: on in waiting.ended)

    run(ended_soon(waiting, left))


@pytest.mark.parametrize("way", WAYS)
def test_a_thread_is_free_again_when_the_handler_of_a_client_that_left_has_ended(
    run: Run, waiting: Waiting, url: str, way: str
) -> None:
    async def scene() -> None:
        async with Waiting.at(url) as staying:
            async with TcpProxy(url) as proxy, Waiting.at(proxy.url) as client:
                call = asyncio.create_task(client.apost(on="wait_in_thread"))
                await until(lambda: "wait_in_thread" in waiting.begun)
                WAYS[way](proxy)
                assert await staying.apost(on="ready") == "ready"
                assert "wait_in_thread" not in waiting.ended
                waiting.release.set()
                await until(lambda: "wait_in_thread" in waiting.ended)
                with pytest.raises(Unavailable):
                    await call
            await staying.apost(on="wait_in_thread")

    run(scene())


@pytest.mark.parametrize("on", ONWARD)
@pytest.mark.parametrize("inner", ["http", "grpc"])
def test_a_client_that_leaves_ends_what_its_handler_has_called_elsewhere(
    run: Run, waiting: Waiting, scheme: str, inner: str, on: str
) -> None:
    """Over another driver, eight calls at once, and one for which a thread waits."""

    async def scene() -> None:
        following = Waiting.at(waiting.start(f"{inner}://127.0.0.1:0")[0])
        onward = {**ONWARD, "pass_on_in_thread": "wait"}  # whose end can be seen
        with following, Relay(following, onward, width=FAN) as relay:
            async with TcpProxy(relay.start(f"{scheme}://127.0.0.1:0")[0]) as proxy, Relay.at(proxy.url) as client:
                call = asyncio.create_task(received(client, on) if "streaming" in on else client.apost(on=on))
                await until(lambda: waiting.running == (FAN if on == "pass_on" else 1))
                async with keeping_time() as clock:
                    began = clock.now()
                    proxy.reset()
                    await until(lambda: waiting.running == 0 and on in relay.ended)
                    assert clock.now() - began < SOON
                with pytest.raises(Unavailable):
                    await call

    run(scene())


async def some(client: Waiting, on: str) -> None:
    async for _ in client.astream(on):
        break


async def given_up(client: Waiting, on: str) -> None:
    async with asyncio.timeout(0.1):
        await client.apost(on=on)


ENDS: dict[str, Callable[[Waiting], Coroutine[Any, Any, None]]] = {
    "an answer": lambda client: posted(client, "ready"),
    "an error": lambda client: posted(client, "fail"),
    "an error after items": lambda client: conversed(client, "fail_streaming"),
    "its time": lambda client: client.apost(on="wait", timeout=0.1),
    "the time of a stream": lambda client: received(client, "silent"),
    "being cancelled": lambda client: given_up(client, "wait"),
    "leaving its stream": lambda client: some(client, "silent"),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_client_that_is_closed_has_no_connection_however_its_calls_ended(run: Run, url: str, how: str) -> None:
    """Also where the error is kept, and no garbage is collected."""

    async def scene() -> None:
        async with TcpProxy(url) as proxy:
            async with Waiting.at(proxy.url, timeout=0.3) as client:
                kept = await asyncio.gather(ENDS[how](client), return_exceptions=True)
                assert proxy.is_used or how in (
                    "its time",
                    "being cancelled",
                    "leaving its stream",
                    "the time of a stream",
                )
            await until(lambda: not proxy.is_used)
            del kept

    gc.disable()
    try:
        run(scene())
    finally:
        gc.enable()
