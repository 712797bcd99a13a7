"""One side sleeps for a minute, as a laptop does: the other is held up no longer than it says, and all goes on after that."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from server_process import HERE, PATIENCE, Process, fingerprint, served, until

from xooai import DeadlineExceeded, Executor, XooaiError

for module in ("uvicorn", "click", "grpc", "aioquic"):
    pytest.importorskip(module)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system stops no process"),
]

LIVELY = f"{HERE}/lively.py:Lively"
SCHEMES = ("http", "grpc", "quic")
ASLEEP = 60.0  # seconds
NOTICED = (
    40.0 + 5.0
)  # seconds until a peer that says nothing is missed: 30 of silence, 10 for its answer; and a busy machine
LATE = 3.0  # seconds that a busy machine may take beside a deadline


@pytest.fixture
def process() -> Iterator[Process]:
    """A server over all drivers."""
    urls = [part for scheme in SCHEMES for part in ("--url", f"{scheme}://127.0.0.1:0")]
    with served(LIVELY, *urls) as found:
        found.banner()
        yield found
        found.signal(signal.SIGCONT)
        found.signal()
        assert found.end().code == 0


async def held_up(url: str, trust: str | None, stopped: asyncio.Event, goes_on: asyncio.Event) -> tuple[int, float]:
    """What a client of a server that sleeps has: how many calls ran in all, and how long the one under way took."""
    async with Executor.at(url, trust=trust, retry=0) as client:
        await client.apost(on="count_calls")
        waiting = asyncio.create_task(_ended(client))
        await stopped.wait()
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await client.apost(on="count_calls", timeout=2)
        assert time.monotonic() - began < 2 + LATE
        await goes_on.wait()
        took = await waiting
    async with Executor.at(url, trust=trust) as client:
        return await client.apost(on="count_calls", timeout=PATIENCE), took


async def _ended(client: Executor) -> float:
    """How long a call of some seconds takes until its end, whatever that is."""
    began = time.monotonic()
    try:
        await client.apost(on="wait", seconds=5, timeout=2 * ASLEEP)
    except XooaiError:
        pass
    return time.monotonic() - began


def test_a_server_that_sleeps_holds_nobody_up_and_goes_on(process: Process) -> None:
    trust = fingerprint(process)

    async def main() -> list[tuple[int, float]]:
        stopped, goes_on = asyncio.Event(), asyncio.Event()
        found = []
        for scheme, url in zip(SCHEMES, process.urls, strict=True):
            own = trust if scheme == "quic" else None
            found.append(asyncio.create_task(held_up(f"{url}/lively", own, stopped, goes_on)))
        async with Executor.at(f"{process.urls[0]}/lively") as client:
            while await client.apost(on="under_way") < len(SCHEMES):  # noqa: ASYNC110 - it is another process that knows
                await asyncio.sleep(0.01)
        process.signal(signal.SIGSTOP)
        stopped.set()
        await asyncio.sleep(ASLEEP)
        process.signal(signal.SIGCONT)
        goes_on.set()
        return await asyncio.wait_for(asyncio.gather(*found), 2 * ASLEEP)

    ran = asyncio.run(main())
    # Each client made two calls that were answered, and one that ran out of time and ran once at most.
    assert 2 * len(SCHEMES) <= max(in_all for in_all, _ in ran) <= 3 * len(SCHEMES)
    took = dict(zip(SCHEMES, (seconds for _, seconds in ran), strict=True))
    assert took["grpc"] < NOTICED
    assert took["quic"] < NOTICED
    assert took["http"] < ASLEEP + 5 + LATE  # whose deadline is two minutes: it is answered after all


def test_a_client_that_sleeps_leaves_nothing_behind_and_goes_on(process: Process) -> None:
    trust = fingerprint(process)

    def tell(client: subprocess.Popen[str], on: str, **arguments: float) -> None:
        assert client.stdin is not None
        client.stdin.write(f"{json.dumps([on, arguments])}\n")
        client.stdin.flush()

    def answer(client: subprocess.Popen[str]) -> str:
        assert client.stdout is not None
        return client.stdout.readline().strip()

    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with ExitStack() as stack:
        clients: list[subprocess.Popen[str]] = []
        for scheme, url in zip(SCHEMES, process.urls, strict=True):
            command = [
                sys.executable,
                str(HERE / "stopped_client.py"),
                f"{url}/lively",
                trust if scheme == "quic" else "",
            ]
            made: subprocess.Popen[str] = stack.enter_context(subprocess.Popen(command, text=True, **pipes))  # type: ignore[call-overload]
            stack.callback(made.kill)
            clients.append(made)
        watching = stack.enter_context(Executor.at(f"{process.urls[0]}/lively"))
        for number, client in enumerate(clients, start=1):
            tell(client, "count_calls")
            assert answer(client) == str(number)
            tell(client, "wait", seconds=5)
        until(lambda: watching.post(on="under_way") == len(clients))
        for client in clients:
            client.send_signal(signal.SIGSTOP)
        time.sleep(ASLEEP)
        assert watching.post(on="under_way") == 0
        for client in clients:
            client.send_signal(signal.SIGCONT)
        for number, client in enumerate(clients, start=len(clients) + 1):
            assert answer(client) in ("5.0", "Unavailable")
            tell(client, "count_calls")
            assert answer(client) == str(number)
