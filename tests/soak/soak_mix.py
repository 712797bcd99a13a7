"""Calls of every kind to one server over all its drivers, for a soak: 80 % go well, the others do not.

python soak_mix.py CALLS SECONDS CALLERS KINDS URL...: calls or seconds, whichever comes first; waits at the end until there
is no more of these kinds (files,tasks,...) than before, and tells what was counted as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from math import inf
from typing import Any
from urllib.parse import urlsplit

from soaked import Page, Soaked
from vitals import complaints, note_complaints, vitals

from xooai import File, Internal, InvalidArgument, Text, Unavailable, XooaiError

__all__: list[str] = []

WARM_UP = 30  # calls of each caller, before what is held is taken for what is always held
LARGE = [bytes([n]) * (300 * 1024) for n in range(4)]  # more than goes inline; each is uploaded once
MORE = {"files": 2, "threads": 2}  # that the tests take for no more: a process makes some when it first needs them
SETTLE = 20.0  # seconds for what was left to be let go of: threads wait five for work, connections four
SAMPLES = 400  # of the memory, over the run


async def _numbers() -> AsyncIterator[int]:
    for number in range(20):
        yield number


async def unary(client: Soaked) -> None:
    page = Page(scan=File(value=random.randbytes(2000)), caption=Text(value="to be"))
    assert await client.apost(on="echo", page=page) == page


async def in_thread(client: Soaked) -> None:
    assert await client.apost(on="size", doc=File(value=b"x" * 100)) == 100


async def large(client: Soaked) -> None:
    content = random.choice(LARGE)
    assert await client.apost(on="size", doc=File(value=content)) == len(content)


async def batch(client: Soaked) -> None:
    assert await client.apost(on="lengths", doc=Text(value="four")) == 4


async def replies(client: Soaked) -> None:
    endpoint = random.choice(["count", "count_in_thread"])
    assert [item async for item in client.astream(endpoint, to=20)] == list(range(20))


async def requests(client: Soaked) -> None:
    assert await client.astream("total", numbers=_numbers()) == 190


async def both(client: Soaked) -> None:
    assert [item async for item in client.astream("doubled", numbers=_numbers())] == list(range(0, 40, 2))


async def left(client: Soaked) -> None:
    """A stream whose rest nobody wants."""
    items = client.astream("count", to=1000, pause=0.001)
    async for item in items:
        if item == 3:
            break
    await items.aclose()


async def cancelled(client: Soaked) -> None:
    def wait() -> Coroutine[Any, Any, Any]:
        return client.apost(on="wait", seconds=30.0)

    async def read() -> None:
        async for _ in client.astream("count", to=10_000, pause=0.001):
            pass

    task = asyncio.ensure_future(random.choice([wait, read])())
    await asyncio.sleep(random.uniform(0, 0.02))
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def failing(client: Soaked) -> None:
    ways: list[tuple[type[XooaiError], str, dict[str, Any]]] = [
        (InvalidArgument, "fail", {"how": "ours"}),
        (Internal, "fail", {"how": "theirs"}),
        (InvalidArgument, "wait", {"seconds": "long"}),
    ]
    expected, endpoint, arguments = random.choice(ways)
    try:
        await client.apost(on=endpoint, **arguments)
    except expected:
        return
    raise AssertionError(f"no {expected}")


GOOD = [unary, unary, unary, in_thread, in_thread, large, batch, batch, replies, requests, both]


class Mix:
    """The callers of one URL."""

    def __init__(self, url: str, counts: Counter[str]) -> None:
        self._url, self._counts = url, counts
        self.client = Soaked.at(url)

    async def call(self) -> None:
        """One call, of a kind that chance tells."""
        dice = random.random()
        kind: Callable[[Soaked], Coroutine[Any, Any, None]] = (
            random.choice(GOOD)
            if dice < 0.80
            else random.choice([cancelled, cancelled, left])
            if dice < 0.90
            else failing
            if dice < 0.95
            else self._disconnected
        )
        async with asyncio.timeout(60):
            await kind(self.client)
        self._counts[kind.__name__] += 1

    async def _disconnected(self, _: Soaked) -> None:
        """A client that goes away in the middle of its calls; or one that never asks anything whole."""
        place = urlsplit(self._url)
        if place.scheme != "quic" and random.random() < 0.5:
            await asyncio.to_thread(_reset, str(place.hostname), int(place.port or 0))
            return
        async with Soaked.at(self._url) as client:
            await client.apost(on="wait", seconds=0.0)  # the block closes what is open by its end
            calls = [asyncio.ensure_future(client.apost(on="wait", seconds=30.0)) for _ in range(2)]
            await asyncio.sleep(random.uniform(0, 0.02))
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, Unavailable), error


def _reset(host: str, port: int) -> None:
    """Begin to say something, and end the connection by a reset."""
    with socket.create_connection((host, port), 10) as one:
        one.sendall(
            random.choice([b"", b"POST /soaked/wait HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00", b"\x16\x03\x01"])
        )
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Soak:
    """The whole run."""

    def __init__(self, calls: int, seconds: float, callers: int, kinds: list[str], urls: list[str]) -> None:
        self._calls, self._seconds, self._callers, self._kinds, self._urls = calls, seconds, callers, kinds, urls
        self._counts: Counter[str] = Counter()
        self._memory: list[tuple[int, int, int]] = []
        """Calls so far, and the bytes that both sides hold."""

    async def run(self) -> dict[str, Any]:
        await self._load(self._callers * WARM_UP * len(self._urls), inf)
        before = await self._settled(None)
        self._counts.clear()
        self._memory.clear()
        began = time.monotonic()
        await self._load(self._calls, began + self._seconds)
        seconds = time.monotonic() - began
        return {
            "counts": self._counts,
            "seconds": seconds,
            "memory": self._memory,
            "before": before,
            "after": await self._settled(before),
        }

    async def _load(self, calls: int, deadline: float) -> None:
        left = calls

        async def caller(mix: Mix) -> None:
            nonlocal left
            while left > 0 and time.monotonic() < deadline:
                left -= 1
                await mix.call()

        async with AsyncExitStack() as stack:
            mixes = [Mix(url, self._counts) for url in self._urls]
            for mix in mixes:
                await stack.enter_async_context(mix.client)
            sampling = asyncio.create_task(self._sample())
            try:
                async with asyncio.TaskGroup() as group:
                    for mix in mixes:
                        for _ in range(self._callers):
                            group.create_task(caller(mix))
            finally:
                sampling.cancel()
                await asyncio.wait({sampling})

    async def _sample(self) -> None:
        every = max(0.5, self._seconds / SAMPLES if self._seconds < inf else 0.5)
        async with Soaked.at(self._urls[0]) as client:
            while True:
                there = await client.apost(on="vitals")
                self._memory.append((self._counts.total(), vitals()["memory"], there["memory"]))
                await asyncio.sleep(every)

    async def _settled(self, before: dict[str, Any] | None) -> dict[str, Any]:
        """What both sides hold once that is no more than before, or when it does not get less."""
        deadline = time.monotonic() + SETTLE
        while True:
            async with Soaked.at(self._urls[0]) as client:
                found = {"server": await client.apost(on="vitals")}
            await asyncio.sleep(0.2)
            found["client"] = vitals()
            if time.monotonic() > deadline or (before is not None and _is_less(before, found, self._kinds)):
                return found
            if before is None and not any(_calling(side) for side in found.values()):
                return found


def _calling(side: dict[str, Any]) -> bool:
    return any("Soaked" in name for name in side["tasks"])


def _is_less(before: dict[str, Any], found: dict[str, Any], kinds: list[str]) -> bool:
    return all(
        (Counter(found[side][kind]) - Counter(before[side][kind])).total() <= MORE.get(kind, 0)
        for side in found
        for kind in kinds
    )


def main(calls: str, seconds: str, callers: str, kinds: str, *urls: str) -> None:
    note_complaints()
    random.seed(int(calls))
    try:
        told = asyncio.run(Soak(int(calls), float(seconds), int(callers), kinds.split(","), list(urls)).run())
    except* XooaiError as errors:
        raise SystemExit(f"a call failed: {errors.exceptions[0]!r}") from errors
    print(json.dumps({**told, "complaints": complaints}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
