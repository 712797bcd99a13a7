"""A server with four times the calls that it can take: its clients' attempts add little, and it is well soon after."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections import Counter

import pytest

from xooai import Executor, XooaiError, plugins, post

WORK = 0.02  # seconds of a call
PLACES = 2
CAPACITY = PLACES / WORK  # calls a second
PATIENCE = 3.0  # seconds for a call, of which a server asks one or two before another attempt
MOST = 1.2  # attempts for a call
RECOVERY = 5.0  # seconds


class Stormed(Executor):
    @post(limit=PLACES, queue=PLACES)
    async def work(self) -> None:
        await asyncio.sleep(WORK)


def attempts(url: str) -> int:
    """Calls that have reached the server, as it counts them."""
    request = urllib.request.Request(f"{url}/xooai/metrics", b"{}", {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        told = json.load(response)["calls"]
    return sum(sum(one["codes"].values()) for one in told if one["endpoint"] == "work")


async def loaded(client: Stormed, rate: float, seconds: float, tally: Counter[str]) -> None:
    """Make calls at a rate, whatever becomes of those before."""

    async def one() -> None:
        try:
            await client.apost("work")
            tally["well"] += 1
        except XooaiError as error:
            tally[type(error).__name__] += 1

    begun, made = time.monotonic(), 0
    async with asyncio.TaskGroup() as group:
        while (now := time.monotonic() - begun) < seconds:
            while made < now * rate:
                group.create_task(one())
                made += 1
            await asyncio.sleep(0.005)


async def stormed(url: str, seconds: float) -> None:
    before = await asyncio.to_thread(attempts, url)
    async with Stormed.at(url, timeout=PATIENCE) as client:
        storm: Counter[str] = Counter()
        storming = asyncio.create_task(loaded(client, 4 * CAPACITY, seconds, storm))
        await asyncio.sleep(seconds)
        ended = time.monotonic()
        while True:  # half of what it can take
            calm: Counter[str] = Counter()
            await loaded(client, CAPACITY / 2, 0.3, calm)
            if calm.total() == calm["well"]:
                break
        recovered = time.monotonic() - ended
        await storming
        await loaded(client, CAPACITY / 2, 0.3, calm)
        asked = await asyncio.to_thread(attempts, url) - before
    assert calm.total() == calm["well"]
    made = storm.total() + recovered * CAPACITY / 2 + calm.total() / 2
    print(
        f"{asked / made:.2f} attempts for a call, {storm['well'] / storm.total():.2f} well, well again after {recovered:.1f} s"
    )
    assert asked / made <= MOST
    assert recovered < RECOVERY
    assert set(storm) <= {"well", "ResourceExhausted", "DeadlineExceeded"}


def storm(seconds: float) -> None:
    plugins.driver("http")
    with Stormed() as executor:
        (url,) = executor.start("http://127.0.0.1:0")
        asyncio.run(stormed(url, seconds))


def test_attempts_are_few_where_most_calls_are_refused() -> None:
    storm(1.0)


@pytest.mark.slow
def test_a_storm_of_twenty_seconds_ends_with_the_load() -> None:
    storm(20.0)
