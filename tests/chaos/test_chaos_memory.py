"""Large streams and clients that do not read: memory stays bounded, and other calls go on."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import pytest
from bulk_server import Bulk, part

Run = Callable[[Coroutine[Any, Any, Any]], Any]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to see what a process holds"),
]

MIB = 1024 * 1024
PARTS = 1024  # of a MiB each, over all streams
FIXED, EACH = 64 * MIB, 8 * MIB  # that a process may hold more than when it is idle, and beside that for a stream
STALLED = 20  # streams that one side does not read
SHARE = 1.5 * MIB  # that a server may hold for each of them
ITEM = 64 * 1024  # bytes of an item of these
CALLS = 300  # to measure how long one takes


class Server(NamedTuple):
    url: str
    pid: int

    def reset(self) -> None:
        """Forget the most that it has held so far (proc(5), clear_refs)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def held(self, what: str) -> int:
        """Bytes that it holds (VmRSS), or the most that it held (VmHWM)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


@pytest.fixture
def server(scheme: str) -> Iterator[Server]:
    command = [sys.executable, str(Path(__file__).with_name("bulk_server.py")), f"{scheme}://127.0.0.1:0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Server(process.stdout.readline().strip(), process.pid)


async def parts(n: int) -> AsyncIterator[bytes]:
    for number in range(n):
        yield part(number)


async def down(client: Bulk, n: int) -> None:
    number = 0
    async for content in client.astream("down", n=n):
        assert content == part(number)
        number += 1
    assert number == n


async def up(client: Bulk, n: int) -> None:
    wanted = hashlib.sha256()
    for number in range(n):
        wanted.update(part(number))
    assert await client.astream("up", parts=parts(n)) == wanted.hexdigest()


@pytest.mark.parametrize("streams", [1, 4])
@pytest.mark.parametrize("way", [down, up])
def test_a_gibibyte_streams_through_bounded_memory(
    run: Run, server: Server, way: Callable[[Bulk, int], Coroutine[Any, Any, None]], streams: int
) -> None:
    """On both sides, and all of it arrives."""
    here = Server("", os.getpid())

    async def scene() -> None:
        async with Bulk.at(server.url, timeout=None) as client:
            await way(client, 8)
            before = [side.held("VmRSS") for side in (server, here)]
            for side in (server, here):
                side.reset()
            began = perf_counter()
            await asyncio.gather(*(way(client, PARTS // streams) for _ in range(streams)))
            took = perf_counter() - began
            grown = [side.held("VmHWM") - held for side, held in zip((server, here), before, strict=True)]
        print(
            f"{PARTS / took:.0f} MiB/s; the server held {grown[0] / MIB:.1f} MiB more, the client {grown[1] / MIB:.1f}"
        )
        assert grown[0] <= FIXED + EACH * streams
        assert grown[1] <= 4 * (FIXED + EACH * streams)

    run(scene())


async def slowest(client: Bulk) -> float:
    """How long a call takes, but for one in a hundred."""
    took = []
    for _ in range(CALLS):
        began = perf_counter()
        assert await client.apost(on="ready") == "ready"
        took.append(perf_counter() - began)
    return sorted(took)[-CALLS // 100]


async def read_slowly(client: Bulk) -> None:
    async for _ in client.astream("down", n=4096, size=ITEM):
        await asyncio.sleep(0.5)


async def read_one(client: Bulk) -> None:
    async for _ in client.astream("down", n=4096, size=ITEM):
        await asyncio.sleep(3600)


async def send_to_the_deaf(client: Bulk) -> None:
    async with client.open(on="deaf") as stream:
        while True:
            await stream.send(bytes(ITEM))


@pytest.mark.parametrize("stall", [read_slowly, read_one, send_to_the_deaf])
def test_streams_that_one_side_does_not_read_cost_little_and_hold_nobody_up(
    run: Run, server: Server, stall: Callable[[Bulk], Coroutine[Any, Any, None]]
) -> None:
    """Clients that do not read, and handlers that do not."""

    async def scene() -> None:
        async with AsyncExitStack() as stack:
            other = await stack.enter_async_context(Bulk.at(server.url))
            usual = await slowest(other)
            before = server.held("VmRSS")
            clients = [await stack.enter_async_context(Bulk.at(server.url, timeout=None)) for _ in range(STALLED)]
            stalling = [asyncio.create_task(stall(client)) for client in clients]
            await asyncio.sleep(5)
            grown = server.held("VmRSS") - before
            meanwhile = await slowest(other)
            assert not any(task.done() for task in stalling)
            for task in stalling:
                task.cancel()
            await asyncio.wait(stalling)
        print(f"{grown / STALLED / MIB:.2f} MiB a stream; p99 {usual * 1e3:.1f} ms, {meanwhile * 1e3:.1f} ms meanwhile")
        assert grown <= STALLED * SHARE
        assert meanwhile < 2 * usual + 0.02  # of noise

    run(scene())
