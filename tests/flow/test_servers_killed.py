"""Servers of one node as processes that are killed, stopped and started anew under load: what becomes of the calls."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from grpc_poller import poller
from xooai import Flow, Text, Unavailable, XooaiError

__all__ = ["poller"]

PATIENCE = 30  # seconds: what waits longer fails its test instead of stopping the run
CALLERS = 8  # at a time
PROGRAM = Path(__file__).with_name("several_program.py")


class Process:
    """A server, and its URL, at which another one may be started."""

    def __init__(self, url: str, book: Path) -> None:
        command = [sys.executable, str(PROGRAM), url, str(book)]
        self.running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.running.stdout is not None
        self.url = self.running.stdout.readline().split()[-1]
        self.tag = str(self.running.pid)

    def end(self, number: int) -> int:
        """Send a signal, and wait for its end."""
        self.running.send_signal(number)
        return self.running.wait(PATIENCE)

    def close(self) -> None:
        self.running.kill()
        self.running.wait()
        assert self.running.stdout is not None
        self.running.stdout.close()


Start = Callable[[str], Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(url: str) -> Process:
            process = Process(url, tmp_path / "book")
            stack.callback(process.close)
            return process

        yield start


@pytest.fixture(params=["http", pytest.param("grpc", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest) -> str:
    pytest.importorskip({"http": "uvicorn", "grpc": "grpc"}[request.param])
    return f"{request.param}://127.0.0.1:0"


class Load:
    """Calls without an end, by so many callers: who answered them, and how they failed."""

    def __init__(self, f: Flow) -> None:
        self.answered: Counter[str] = Counter()
        self.failed: dict[str, XooaiError] = {}
        self._f, self._ids = f, count()
        self._changed = asyncio.Event()
        self._ends = False

    async def __aenter__(self) -> Load:
        self._callers = [asyncio.create_task(self._call()) for _ in range(CALLERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ends = True
        await asyncio.gather(*self._callers)

    async def _call(self) -> None:
        while not self._ends:
            id = f"call {next(self._ids)}"
            try:
                self.answered[(await self._f.apost(doc=Text(value=id))).value] += 1
            except XooaiError as error:
                self.failed[id] = error
            self._changed.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def more(self, calls: int) -> None:
        """Until so many more were answered."""
        wanted = self.answered.total() + calls
        await self.until(lambda: self.answered.total() >= wanted)


def of(servers: list[Process]) -> Flow:
    return Flow().add(use=[f"{server.url}/reader/read" for server in servers], id="node")


def test_a_server_that_is_killed_under_load_costs_only_the_calls_that_it_had(
    url: str, start: Start, tmp_path: Path
) -> None:
    servers = [start(url), start(url)]

    async def main() -> Load:
        async with of(servers) as f, Load(f) as load:
            await load.more(100)
            await asyncio.to_thread(servers[0].end, signal.SIGKILL)
            await load.more(200)
            started = await asyncio.to_thread(start, servers[0].url)
            await load.until(lambda: load.answered[started.tag] > 20)
        return load

    load = asyncio.run(main())

    assert len(load.failed) <= CALLERS
    assert all(isinstance(error, Unavailable) for error in load.failed.values())
    assert {error.details["host"] for error in load.failed.values()} <= {servers[0].url}
    begun = Counter((tmp_path / "book").read_text().splitlines())
    assert set(begun.values()) == {1}  # none was made again that had begun
    assert len(begun) <= load.answered.total() + len(load.failed)
    assert load.answered[servers[0].tag] > 20 and load.answered[servers[1].tag] > 20


@pytest.mark.slow
def test_a_server_that_drains_under_load_costs_no_call(url: str, start: Start, tmp_path: Path) -> None:
    servers = [start(url), start(url)]

    async def main() -> Load:
        async with of(servers) as f, Load(f) as load:
            await load.more(100)
            for place in range(2):  # a rolling restart
                assert await asyncio.to_thread(servers[place].end, signal.SIGTERM) == 0
                await load.more(50)
                servers[place] = await asyncio.to_thread(start, servers[place].url)
                await load.until(lambda tag=servers[place].tag: load.answered[tag] > 20)  # type: ignore[misc]
        return load

    load = asyncio.run(main())

    begun = Counter((tmp_path / "book").read_text().splitlines())
    assert load.failed == {}
    assert set(begun.values()) == {1} and len(begun) == load.answered.total()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs signals that stop a process")
def test_a_server_that_is_stopped_gets_no_calls_until_it_goes_on(url: str, start: Start) -> None:
    servers = [start(url), start(url)]

    async def main() -> Load:
        async with of(servers) as f, Load(f) as load:
            await load.more(100)
            os.kill(servers[0].running.pid, signal.SIGSTOP)
            await load.more(100)
            before = load.answered[servers[0].tag]
            await load.more(200)  # some callers wait for it, the others go on
            assert load.answered[servers[0].tag] <= before + CALLERS
            os.kill(servers[0].running.pid, signal.SIGCONT)
            await load.until(lambda: load.answered[servers[0].tag] > before + 20)
        return load

    assert asyncio.run(main()).failed == {}
