"""Items that a handler gives one after another, without waiting: written together, and none kept back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from echo_site import Run, connected
from http_talker import EVENTS, JSON_FRAMES, LINES, CutOff, Streamed, opening

from xooai import Executor, Text, post, stream
from xooai.driver import ListenOptions
from xooai.server import Site
from xooai_http.driver import HttpDriver
from xooai_http.listener import HttpListener

SOON = 5  # seconds: far more than anything here takes
MANY = 300  # items: more than go into one write
SIZE = 100  # characters of each


class Burster(Executor):
    """Gives many items at once; the events say where it is, and let it go on."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.is_left = False

    @stream
    async def burst(self) -> AsyncIterator[str]:
        """Many items, then nothing until it is released."""
        for number in range(MANY):
            yield f"{number:{SIZE}}"
        await self.released.wait()
        yield "last"

    @stream
    async def documents(self) -> AsyncIterator[Text]:
        """The same in documents."""
        for number in range(MANY):
            yield Text(value=f"{number:{SIZE}}")
        await self.released.wait()
        yield Text(value="last")

    @stream
    async def broken(self) -> AsyncIterator[str]:
        """Many items, then a mistake."""
        for number in range(MANY):
            yield f"{number:{SIZE}}"
        raise ValueError("a mistake")

    @stream
    async def busy(self) -> AsyncIterator[str]:
        """Keeps the loop between two items."""
        yield "first"
        until = time.monotonic() + SOON
        while time.monotonic() < until and not self.is_left:
            yield "again"
            self.is_left = self.released.is_set()

    @post
    async def release(self) -> bool:
        """Let the others go on."""
        self.released.set()
        return True


@asynccontextmanager
async def bursting() -> AsyncIterator[tuple[HttpListener, Burster]]:
    burster = Burster()
    site = Site((burster._xooai_local(),))
    site.open()
    listener = await HttpDriver().listen("http://127.0.0.1:0", site, ListenOptions())
    try:
        yield listener, burster
    finally:
        await listener.aclose()


def request(endpoint: str, accept: str) -> bytes:
    return opening(endpoint, {}, f"Accept: {accept}", prefix="/burster")


async def until(response: Streamed, text: bytes) -> bytes:
    """The body up to the chunk that has `text`."""
    found = b""
    while text not in found:
        part = await asyncio.wait_for(response.chunk(), SOON)
        assert part is not None, found[-200:]
        found += part
    return found


@pytest.mark.parametrize("accept", [LINES, EVENTS, JSON_FRAMES])
@pytest.mark.parametrize("endpoint", ["burst", "documents"])
def test_all_that_was_given_is_out_while_the_handler_waits(run: Run, endpoint: str, accept: str) -> None:
    async def scene() -> None:
        async with bursting() as (listener, burster), connected(listener.url) as client:
            client.write(request(endpoint, accept))
            response = Streamed(client)
            await response.head()
            found = await until(response, b' %d"' % (MANY - 1))
            assert [found.count(b' %d"' % number) for number in range(MANY)] == [1] * MANY
            places = [found.index(b' %d"' % number) for number in range(MANY)]
            assert places == sorted(places)
            burster.released.set()
            assert b'"last"' in await response.rest()

    run(scene())


def test_all_that_was_given_comes_before_the_error(run: Run) -> None:
    async def scene() -> None:
        async with bursting() as (listener, _), connected(listener.url) as client:
            client.write(request("broken", LINES))
            response = Streamed(client)
            await response.head()
            *found, last = (json.loads(line) for line in (await until(response, b'"error"')).splitlines())
            assert [int(one) for one in found] == list(range(MANY))
            assert last["error"]["title"] == "INTERNAL"
            with pytest.raises(CutOff):
                await response.rest()

    run(scene())


def test_a_handler_that_never_waits_leaves_others_their_turn(run: Run) -> None:
    async def scene() -> None:
        async with bursting() as (listener, burster), connected(listener.url) as client:
            client.write(request("busy", LINES))
            response = Streamed(client)
            await response.head()
            reading = asyncio.ensure_future(response.rest())
            async with connected(listener.url) as other:
                other.write(opening("release", {}, prefix="/burster"))
                await asyncio.wait_for(other.reader.readuntil(b"true"), SOON)
            await asyncio.wait_for(reading, SOON)
            assert burster.is_left

    run(scene())
