"""Chains of executors over mixed drivers: each has what is left of the caller's time, and nothing starts behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

import pytest
from chaos_calls import Clock, keeping_time
from chaos_served import Served
from waiting_program import ONWARD, Relay, Waiting

from xooai.errors import DeadlineExceeded

Run = Callable[[Coroutine[Any, Any, Any]], Any]

WORK = 0.6  # seconds of each but the last
TIME = 1.0  # seconds for all: the first does its work, the second not to its end
PATIENCE = 20.0  # seconds for a handler to end at all
PAUSES = 5  # times that a machine may stand still while A works, so that there is no time left to call B
LATE = 0.3  # of the time, in which all have to see that it is over
ROUNDED = 0.02  # seconds: gRPC writes a time with two or three digits, HTTP in milliseconds, both rounded up

CHAINS = [
    ("http", "grpc", "http"),
    ("memory", "http", "grpc"),
    pytest.param(("grpc", "http", "grpc"), marks=pytest.mark.slow),
    pytest.param(("http", "memory", "grpc"), marks=pytest.mark.slow),
    ("quic", "grpc", "quic"),
    pytest.param(("http", "quic", "grpc"), marks=pytest.mark.slow),
]


async def asked(client: Relay, on: str) -> None:
    if "streaming" not in on:
        await client.apost(on=on, timeout=TIME)
        return
    async for _ in client.astream(on, timeout=TIME):
        pass


@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
def test_a_deadline_goes_down_a_chain_and_ends_it(
    run: Run, waiting: Waiting, chain: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    """A works and calls B, which works for longer than there is time, and would then call C."""
    pem: dict[str, str] = {}
    if "quic" in chain:
        pytest.importorskip("aioquic", reason="needs the extra quic")
        pem = request.getfixturevalue("pem")

    async def late(client: Relay, on: str, clock: Clock) -> None:
        began, own = time.monotonic(), clock.now()
        with pytest.raises(DeadlineExceeded):
            await asked(client, on)
        assert time.monotonic() - began >= TIME
        assert clock.now() - own < TIME * (1 + LATE)

    async def scene() -> None:
        with ExitStack() as stack:
            served = Served(stack, pem)
            to_c = served.client(served.url(chain[2], waiting), Waiting)
            b = Relay(to_c, ONWARD, WORK, name="b")
            to_b = served.client(served.url(chain[1], b), Relay)
            a = Relay(to_b, {on: on for on in ONWARD}, WORK, name="a")
            client = served.client(served.url(chain[0], a), Relay)
            async with client, keeping_time() as clock:
                for _ in range(PAUSES):
                    a.left, b.left, b.ended, clock.late = {}, {}, {}, 0.0
                    began = time.monotonic()
                    async with asyncio.TaskGroup() as group:
                        for on in ONWARD:
                            group.create_task(late(client, on, clock))
                    await asyncio.sleep(began + 2 * WORK + 0.1 - time.monotonic())  # when C would have begun
                    async with asyncio.timeout(PATIENCE):
                        while set(b.ended) != set(b.left):  # noqa: ASYNC110 - a thread sleeps to its end, and tells nobody
                            await asyncio.sleep(0.01)
                    assert waiting.begun == {}
                    if set(b.left) == set(ONWARD):
                        break
            for on in ONWARD:
                left_a, left_b = a.left[on], b.left[on]
                assert left_a is not None
                assert left_b is not None
                assert TIME - LATE - clock.late < left_a <= TIME + ROUNDED
                assert TIME - WORK - LATE - clock.late < left_b <= TIME - WORK + 2 * ROUNDED
                if on != "pass_on_in_thread":  # a thread sleeps to its end
                    assert b.ended[on] - began < TIME * (1 + LATE) + clock.late

    run(scene())
