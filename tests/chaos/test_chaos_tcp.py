"""Calls of all shapes through a TCP proxy that cuts, resets, slices, slows down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import pytest
from chaos_calls import Clock, ends_well_or_with_an_error, keeping_time
from chaos_program import PATIENCE, SHAPES, Ledger

from impairment import CLEAN, ENDINGS, Stream
from tcp_proxy import TcpProxy
from xooai.errors import Unavailable

Run = Callable[[Coroutine[Any, Any, Any]], Any]

SIZE = 20_000  # bytes of content: several frames, and more than one read
TIMEOUT = 1.0  # seconds, of a call whose connection may hang
FEW, MANY = 4, 100  # seeds: of every run, and of a long one
PLACES: dict[str, Callable[[int], int]] = {
    "nothing": lambda total: 0,
    "a byte": lambda total: 1,
    "100 bytes": lambda total: 100,
    "half": lambda total: total // 2,
    "all but the last byte": lambda total: total - 1,
}


@pytest.fixture
def url(ledger: Ledger, scheme: str) -> str:
    return ledger.start(f"{scheme}://127.0.0.1:0")[0]


async def sizes(url: str, shape: str) -> tuple[int, int]:
    """How many bytes a call has in either direction, when nothing happens to them."""
    async with TcpProxy(url) as proxy, Ledger.at(proxy.url) as client:
        await SHAPES[shape](client, "clean", SIZE, PATIENCE)
        return proxy.passed


@pytest.mark.parametrize("shapes", [("unary", "server"), ("client", "both")], ids="-".join)
def test_a_call_that_is_cut_off_anywhere_gives_all_or_an_error(
    run: Run, ledger: Ledger, url: str, shapes: tuple[str, ...]
) -> None:
    """On a connection of its own; in each direction, in each place, and whatever becomes of the connection."""

    async def cut(clock: Clock, shape: str, name: str, up: Stream, down: Stream) -> None:
        async with TcpProxy(url, up, down) as proxy, Ledger.at(proxy.url) as client:
            error = await ends_well_or_with_an_error(client, ledger, shape, name, SIZE, TIMEOUT, clock)
            assert error is not None or "last byte" in name, f"{name} ended well"

    async def scene() -> None:
        totals = {shape: await sizes(url, shape) for shape in shapes}
        async with keeping_time() as clock, asyncio.TaskGroup() as group:
            for shape, place, ending, way in product(shapes, PLACES, ENDINGS, (0, 1)):
                cutting = Stream(cut=PLACES[place](totals[shape][way]), ending=ending)
                streams = (CLEAN, cutting) if way else (cutting, CLEAN)
                group.create_task(cut(clock, shape, f"{shape} {place} {ending} {way}", *streams))

    run(scene())


LOSSLESS: dict[str, tuple[Stream, Stream]] = {
    "late": (Stream(delay=0.02, jitter=0.01), Stream(delay=0.02, jitter=0.01)),
    "byte by byte": (Stream(size=1), Stream(size=1)),
    "in random pieces": (Stream(size=700, is_random=True), Stream(size=700, is_random=True)),
    "slowly": (Stream(rate=64 * 1024, size=1024), Stream(rate=64 * 1024, size=1024)),
}


@pytest.mark.parametrize("way", LOSSLESS)
def test_what_loses_nothing_changes_no_answer(run: Run, ledger: Ledger, url: str, way: str) -> None:
    """However slow, late or cut into pieces it is."""

    async def scene() -> None:
        async with TcpProxy(url, *LOSSLESS[way], slow_close=0.05) as proxy:
            for shape, call in SHAPES.items():
                async with Ledger.at(proxy.url) as client:
                    for number in range(2):
                        await call(client, f"{shape} {number}", 3_000, PATIENCE)
        assert set(ledger.runs.values()) == {1}

    run(scene())


# By seeds


@dataclass(frozen=True)
class Trial:
    """What one seed draws: the network, and the calls through it."""

    up: Stream
    down: Stream
    slow_close: float
    calls: list[tuple[str, int]]
    resets: list[float]

    @classmethod
    def of(cls, seed: int) -> Self:
        draw = random.Random(seed)
        ways = [
            Stream(
                delay=draw.choice((0, 0, 0.005)),
                jitter=draw.choice((0, 0.005)),
                size=draw.choice((100, 5_000, 0)),
                is_random=True,
                cut=draw.choice((2_000, 50_000, 400_000, None)),
                ending=draw.choice(ENDINGS),
            )
            for _ in range(2)
        ]
        calls = [(draw.choice(list(SHAPES)), draw.choice((0, 100, 30_000, 200_000))) for _ in range(12)]
        resets = [draw.uniform(0, 0.3) for _ in range(draw.randint(0, 3))]
        return cls(ways[0], ways[1], draw.choice((0, 0.05)), calls, resets)


async def tried(ledger: Ledger, url: str, seed: int) -> None:
    """Make the calls of a trial side by side on one client, and then one on a network that is well again."""
    trial = Trial.of(seed)
    loop = asyncio.get_running_loop()
    proxy = TcpProxy(url, trial.up, trial.down, seed=seed, slow_close=trial.slow_close)
    async with proxy, Ledger.at(proxy.url) as client, keeping_time() as clock:
        resets = [loop.call_later(after, proxy.reset) for after in trial.resets]
        async with asyncio.TaskGroup() as group:
            for number, (shape, size) in enumerate(trial.calls):
                name = f"seed {seed}, call {number}: {shape} of {size}"
                group.create_task(ends_well_or_with_an_error(client, ledger, shape, name, size, TIMEOUT, clock))
        for reset in resets:
            reset.cancel()
        proxy.heal()
        await recovers(client, f"seed {seed}, at last")


async def recovers(client: Ledger, name: str) -> None:
    """Calls are answered again: from the second on, for the first may meet a connection as it is reset."""
    with suppress(Unavailable):
        await SHAPES["both"](client, f"{name} 1", 1_000, PATIENCE)
    await SHAPES["both"](client, f"{name} 2", 1_000, PATIENCE)


def test_calls_on_a_bad_network_end_well_or_with_an_error(run: Run, ledger: Ledger, url: str) -> None:
    async def scene() -> None:
        for seed in range(FEW):
            await tried(ledger, url, seed)

    run(scene())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FEW, MANY))
def test_calls_on_many_bad_networks_end_well_or_with_an_error(run: Run, ledger: Ledger, url: str, seed: int) -> None:
    run(tried(ledger, url, seed))
