"""Calls of all shapes through a UDP proxy that loses, doubles, delays, spoils datagrams, and changes addresses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from chaos_calls import ends_well_or_with_an_error, keeping_time
from chaos_program import SHAPES, Ledger
from udp_proxy import UdpProxy
from weathers import HARD, PORTS, SEED, WEATHERS, both, skip_what_qh3_cannot

from impairment import PERFECT, Weather
from xooai import plugins
from xooai.errors import PluginError

Run = Callable[[Coroutine[Any, Any, Any]], Any]

KIB = 1024
MIB = 1024 * KIB
SIZE = 200 * KIB  # of content: some dozens of datagrams in either direction, however large these are
LONG = 60.0  # seconds: what moves much on a busy machine needs some of them, and what hangs all
MISSED = 200  # large datagrams: each side has a window of 65 under way as that becomes narrow, and probes later
FEW, MANY = 3, 60  # seeds: of every run, and of a long one

MOVES = {
    "aioquic": None,
    "qh3": 3,
}  # of a client: behind the next one a bare connection of qh3 2.1 hears nothing more, too


@pytest.fixture
def url(library: str, ledger: Ledger, pem: dict[str, str]) -> str:
    try:
        plugins.driver("quic")
    except PluginError as error:
        pytest.skip(f"no driver carries calls over UDP here: {error.message}")
    return ledger.start("quic://127.0.0.1:0", certificate=pem["certificate"], key=pem["key"])[0]


@pytest.mark.parametrize("weather", WEATHERS)
def test_calls_get_through_bad_weather(
    run: Run, ledger: Ledger, library: str, url: str, pem: dict[str, str], weather: str
) -> None:
    """All side by side on one connection, and each of them once."""
    skip_what_qh3_cannot(library, weather)

    async def scene() -> None:
        async with UdpProxy(url, **WEATHERS[weather], seed=1) as proxy:
            async with Ledger.at(proxy.url, trust=pem["certificate"]) as client, asyncio.TaskGroup() as group:
                for shape, call in SHAPES.items():
                    group.create_task(call(client, shape, SIZE, LONG))
            assert proxy.down > 10
            assert proxy.ports > (1 if weather == PORTS else 0)
        assert ledger.runs == dict.fromkeys(SHAPES, 1)

    run(scene())


@pytest.mark.parametrize("dark_from", [0, 1, 3, 10, 40])
@pytest.mark.parametrize("way", ["up", "down"])
def test_calls_into_the_dark_end_with_an_error_in_their_time(
    run: Run, ledger: Ledger, url: str, pem: dict[str, str], way: str, dark_from: int
) -> None:
    async def scene() -> None:
        dark = Weather(dark_from=dark_from)
        ways = (dark, PERFECT) if way == "up" else (PERFECT, dark)
        async with UdpProxy(url, *ways) as proxy, keeping_time() as clock:
            async with Ledger.at(proxy.url, trust=pem["certificate"]) as client, asyncio.TaskGroup() as group:
                calls = [
                    group.create_task(ends_well_or_with_an_error(client, ledger, shape, shape, 2 * MIB, 1.0, clock))
                    for shape in SHAPES
                ]
            assert all(call.result() for call in calls)

    run(scene())


def storm(draw: random.Random) -> Weather:
    return Weather(
        loss=draw.choice((0, 0.05, 0.3)),
        twice=draw.choice((0, 0.1)),
        late=draw.choice((0, 0.2)),
        spoilt=draw.choice((0, 0.05)),
        delay=draw.choice((0, 0.01)),
        dark_from=draw.choice((None, None, 0, 30)),
        dark=draw.choice((0.2, 1000)),
    )


async def tried(ledger: Ledger, url: str, trust: str, seed: int) -> None:
    """Make calls side by side in a storm."""
    draw = random.Random(seed)
    rebind = draw.choice((None, 15))
    async with (
        UdpProxy(url, storm(draw), storm(draw), seed=seed, rebind=rebind) as proxy,
        keeping_time() as clock,
        Ledger.at(proxy.url, trust=trust) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(8):
            shape, size = draw.choice(list(SHAPES)), draw.choice((0, 100, 30_000, 100_000))
            name = f"seed {seed}, call {number}: {shape} of {size}"
            group.create_task(ends_well_or_with_an_error(client, ledger, shape, name, size, 2.0, clock))


def test_calls_in_a_storm_end_well_or_with_an_error(run: Run, ledger: Ledger, url: str, pem: dict[str, str]) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            for seed in range(FEW):
                group.create_task(tried(ledger, url, pem["certificate"], seed))

    run(scene())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FEW, MANY))
def test_calls_in_many_storms_end_well_or_with_an_error(
    run: Run, ledger: Ledger, url: str, pem: dict[str, str], seed: int
) -> None:
    run(tried(ledger, url, pem["certificate"], seed))


async def narrowed(ledger: Ledger, url: str, trust: str, seed: int) -> None:
    """Send much, and little beside it, along a way that begins to carry small datagrams only."""
    draw = random.Random(seed)
    narrow = Weather(largest=1200, largest_from=draw.randint(5, 70), delay=draw.choice((0, 0.01)))
    shape = draw.choice(list(SHAPES))
    async with UdpProxy(url, narrow, narrow, seed=seed) as proxy, Ledger.at(proxy.url, trust=trust) as client:
        sending = asyncio.create_task(SHAPES[shape](client, f"{seed}", 2 * MIB, LONG))
        number = 0
        while not sending.done():
            await SHAPES["unary"](client, f"{seed}, beside it {number}", 100, LONG)
            await asyncio.wait([sending], timeout=0.02)
            number += 1
        await sending
        assert max(proxy.up, proxy.down) > 1000
        assert proxy.too_large < MISSED
    assert set(ledger.runs.values()) == {1}


@pytest.mark.parametrize("seed", range(FEW))
def test_calls_go_on_where_the_way_becomes_narrow(
    run: Run, ledger: Ledger, url: str, pem: dict[str, str], seed: int
) -> None:
    """Soon in small datagrams only, though no silence tells of it: what is small still arrives."""
    run(narrowed(ledger, url, pem["certificate"], seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FEW, MANY, 3))
def test_calls_go_on_where_the_way_becomes_narrow_in_many_places(
    run: Run, ledger: Ledger, url: str, pem: dict[str, str], seed: int
) -> None:
    run(narrowed(ledger, url, pem["certificate"], seed))


@pytest.mark.slow
@pytest.mark.parametrize("weather", HARD)
@pytest.mark.parametrize("shape", SHAPES)
def test_two_mebibytes_get_through_bad_weather(
    run: Run, ledger: Ledger, library: str, url: str, pem: dict[str, str], weather: str, shape: str
) -> None:
    skip_what_qh3_cannot(library, weather)

    async def scene() -> None:
        async with (
            UdpProxy(url, **HARD[weather], seed=SEED) as proxy,
            Ledger.at(proxy.url, trust=pem["certificate"]) as client,
        ):
            await SHAPES[shape](client, shape, 2 * MIB, LONG)
        assert ledger.runs == {shape: 1}

    run(scene())


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["client", "server"])
def test_ten_megabytes_get_through_loss_within_ten_seconds(
    run: Run, ledger: Ledger, url: str, pem: dict[str, str], shape: str
) -> None:
    """A mebibyte a second, where one of fifty datagrams is lost."""
    lossy = both(Weather(loss=0.02, largest=1200))  # the usual ones, as beyond this machine

    async def scene() -> None:
        async with (
            UdpProxy(url, **lossy, seed=3) as proxy,
            Ledger.at(proxy.url, trust=pem["certificate"]) as client,
        ):
            await SHAPES[shape](client, shape, 10_000_000, 10_000_000 / MIB)
        assert ledger.runs == {shape: 1}

    run(scene())


@pytest.mark.slow
def test_handshakes_get_through_where_a_third_is_lost(run: Run, ledger: Ledger, url: str, pem: dict[str, str]) -> None:
    """Fifty of fifty within a minute."""
    lossy = both(Weather(loss=0.3))

    async def begun(number: int) -> None:
        async with (
            UdpProxy(url, **lossy, seed=number) as proxy,
            Ledger.at(proxy.url, trust=pem["certificate"]) as client,
        ):
            await SHAPES["unary"](client, f"{number}", 100, LONG)

    async def scene() -> None:
        await asyncio.gather(*(begun(number) for number in range(50)))
        assert set(ledger.runs.values()) == {1}

    run(scene())


@pytest.mark.slow
def test_an_upload_goes_on_from_another_address(
    run: Run, ledger: Ledger, library: str, url: str, pem: dict[str, str]
) -> None:

    async def scene() -> None:
        async with (
            UdpProxy(url, rebind=150, moves=MOVES[library]) as proxy,
            Ledger.at(proxy.url, trust=pem["certificate"]) as client,
        ):
            await SHAPES["client"](client, "upload", 10 * MIB, LONG)
            assert proxy.ports > 3
        assert ledger.runs == {"upload": 1}

    run(scene())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, MANY, 3))
def test_calls_go_on_though_their_client_never_stays_where_it_is(
    run: Run, ledger: Ledger, library: str, url: str, pem: dict[str, str], seed: int
) -> None:
    """Also where the server has sent what it can to where the client was."""
    skip_what_qh3_cannot(library, PORTS)

    async def scene() -> None:
        async with (
            UdpProxy(url, seed=seed, rebind=20) as proxy,
            Ledger.at(proxy.url, trust=pem["certificate"]) as client,
            asyncio.TaskGroup() as group,
        ):
            for shape, call in SHAPES.items():
                group.create_task(call(client, shape, 2 * MIB, LONG))
        assert proxy.ports > 10
        assert ledger.runs == dict.fromkeys(SHAPES, 1)

    run(scene())


def test_weather_is_fine_without_a_proxy_too(run: Run, ledger: Ledger, url: str, pem: dict[str, str]) -> None:
    """What the others are compared with."""

    async def scene() -> None:
        async with UdpProxy(url, PERFECT) as proxy:
            async with Ledger.at(proxy.url, trust=pem["certificate"]) as client:
                for shape, call in SHAPES.items():
                    await call(client, shape, SIZE, LONG)
            assert proxy.ports == 1

    run(scene())
