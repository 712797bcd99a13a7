"""A server with four times the calls that it can take: its clients' attempts add little, and it is well soon after."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from authority import Authority
from everywhere import served
from grpc_poller import poller
from scraping import report
from xooai import Executor, XooaiError, plugins, post

__all__ = ["poller"]

WORK = 0.02  # seconds of a call
PLACES = 2
CAPACITY = PLACES / WORK  # calls a second
PATIENCE = 3.0  # seconds for a call, of which a server asks one or two before another attempt
MOST = 1.2  # attempts for a call
RECOVERY = 5.0  # seconds


STORMED = ("stormed", "work")


class Stormed(Executor):
    @post(limit=PLACES, queue=PLACES)
    async def work(self) -> None:
        await asyncio.sleep(WORK)


class Watch(Executor):
    @post
    async def nothing(self) -> None: ...


def attempts(watch: str) -> int:
    """Calls that have reached this process over the network, as any of its servers over HTTP tells."""
    return sum(
        sum(one["codes"].values()) for one in report(watch)["calls"] if (one["executor"], one["endpoint"]) == STORMED
    )


async def loaded(client: Stormed, rate: float, seconds: float, tally: Counter[str]) -> None:
    """Make calls at a rate, whatever becomes of those before."""

    async def one() -> None:
        try:
            await client.apost("work")
            tally["well"] += 1
        except XooaiError as error:
            tally["never ran" if error.never_ran else type(error).__name__] += 1  # by the protocol: too many streams

    begun, made = time.monotonic(), 0
    async with asyncio.TaskGroup() as group:
        while (now := time.monotonic() - begun) < seconds:
            while made < now * rate:
                group.create_task(one())
                made += 1
            await asyncio.sleep(0.005)


async def stormed(url: str, seconds: float, watch: str) -> None:
    before = await asyncio.to_thread(attempts, watch)
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
        asked = await asyncio.to_thread(attempts, watch) - before
    assert (
        calm["well"] >= 0.8 * calm.total()
    )  # a machine that pauses makes several calls at once, of which four find room
    made = storm.total() + recovered * CAPACITY / 2 + calm.total() / 2
    print(
        f"{asked / made:.2f} attempts for a call, {storm['well'] / storm.total():.2f} well, well again after {recovered:.1f} s"
    )
    assert asked / made <= MOST
    assert recovered < RECOVERY
    assert set(storm) <= {"well", "never ran", "ResourceExhausted", "DeadlineExceeded"}


def test_attempts_are_few_where_most_calls_are_refused() -> None:
    plugins.driver("http")
    with Stormed() as executor:
        (url,) = executor.start("http://127.0.0.1:0")
        asyncio.run(stormed(url, 1.0, url))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "grpc", "quic"])
def test_a_storm_of_twenty_seconds_ends_with_the_load(
    scheme: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Stormed() as executor, Watch() as watch:
        url = served(executor, scheme, request, monkeypatch)
        asyncio.run(stormed(url, 20.0, watch.start("http://127.0.0.1:0")[0]))
