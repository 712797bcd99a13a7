"""Promises about workers that crash, hang and are replaced, each with its fault and its figure."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from supervised import PATIENCE, PROGRAM, Program, calling, running
from worker_program import Faulty

from authority import HERE, Authority
from xooai import Executor, Unavailable, XooaiError

pytest.importorskip("uvicorn")
pytest.importorskip("grpc")
pytest.importorskip("aioquic")
pytestmark = pytest.mark.slow

DRIVERS = pytest.mark.parametrize("driver", [0, 1, 2], ids=["http", "grpc", "quic"])
# Seconds that are promised for two free cores; on a machine that has something else to do they do not hold.
LOST = 1.0
"""Until a call on a worker that has ended fails."""
REPLACED = 2.0
"""Until another worker is ready in its place."""
LEFT = 5.0
"""Until no call goes to a worker that hangs, and those on it fail."""
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
"""Faults that a worker gets from outside; the others are what an endpoint of it does."""
URLS = "http://127.0.0.1:0,grpc://127.0.0.1:0,quic://127.0.0.1:0"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where each call is noted when it runs."""
    found = tmp_path / "notes"
    monkeypatch.setenv("TEST_NOTES", str(found))
    return found


@pytest.fixture
def program(authority: Authority, monkeypatch: pytest.MonkeyPatch, notes: Path) -> Iterator[Program]:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.trust))
    certificate = str(authority.signs("server", HERE).both)
    with running([str(PROGRAM), URLS, "2"], TEST_CERTIFICATE=certificate) as found:
        for _ in range(2):
            found.until("is ready after")
        yield found


class Load:
    """Calls at a rate, by one client over one URL, whether those before have been answered or not."""

    def __init__(self, url: str, rate: float) -> None:
        self.client = Faulty.at(url, timeout=60)
        self.rate = rate
        self.answered: list[tuple[float, str]] = []
        """When, and by which process."""
        self.failed: list[tuple[float, XooaiError]] = []
        """After how many seconds of waiting, and how."""
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float) -> None:
        began = time.monotonic()
        count = 0
        while time.monotonic() < began + seconds:
            self._calls.add(asyncio.create_task(self._one()))
            count += 1
            await asyncio.sleep(max(0.0, began + count / self.rate - time.monotonic()))

    async def ended(self) -> None:
        await asyncio.gather(*self._calls)
        await self.client.__aexit__()

    async def _one(self) -> None:
        began = time.monotonic()
        try:
            pid = await self.client.apost(on="note", id=uuid4().hex)
            self.answered.append((time.monotonic(), pid))
        except XooaiError as error:
            self.failed.append((time.monotonic() - began, error))


def among_calls(url: str, rate: float, seconds: float, happens: Callable[[], Awaitable[None]]) -> Load:
    """Calls at a rate for some seconds, among which something happens; once all of them have ended."""

    async def main() -> Load:
        load = Load(url, rate)
        running = asyncio.create_task(load.run(seconds))
        await happens()
        await running
        await load.ended()
        return load

    return asyncio.run(main())


def replaced_among_calls(program: Program, driver: int, lasting: float, fault: str, **given: Any) -> tuple[Load, float]:
    """Calls for some seconds, while one worker has a fault and is replaced; and how long that took."""
    url, took = program.urls[driver], 0.0

    async def happens() -> None:
        nonlocal took
        await asyncio.sleep(1)
        began = time.monotonic()
        async with Faulty.at(url) as client:
            if fault in SIGNALS:
                os.kill(int((await client.apost(on="who"))["pid"]), SIGNALS[fault])
            else:
                with pytest.raises(Unavailable):
                    await client.apost(on=fault, **given)
        await asyncio.to_thread(program.until, "is ready after")
        took = time.monotonic() - began

    return among_calls(url, 20, lasting, happens), took


@DRIVERS
def test_no_call_fails_or_runs_twice_while_workers_are_replaced_again_and_again(
    program: Program, driver: int, notes: Path
) -> None:
    async def replaced() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            program.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(program.until, "all 2 workers are new")

    load = among_calls(program.urls[driver], 50, 20, replaced)

    assert not load.failed
    assert len(load.answered) > 500
    assert len({pid for _, pid in load.answered}) > 2
    assert len(notes.read_text().split()) == len(set(notes.read_text().split())) == len(load.answered)


def test_a_client_of_others_loses_no_answer_while_workers_are_replaced(program: Program) -> None:
    lost: list[Exception] = []
    pids: list[str] = []

    def call() -> None:
        time.sleep(0.02)
        try:
            client.request("POST", "/faulty/who", "{}", {"content-type": "application/json"})
            pids.append(json.load(client.getresponse())["pid"])
        except OSError as error:
            lost.append(error)
            client.close()

    place = program.urls[0].partition("//")[2]
    with closing(HTTPConnection(place, timeout=PATIENCE)) as client, calling(call):
        for _ in range(3):
            program.process.send_signal(signal.SIGHUP)
            program.until("all 2 workers are new")

    assert len(set(pids)) > 1
    assert len(lost) <= len(pids) / 1000
    assert all(isinstance(error, RemoteDisconnected) for error in lost)


@DRIVERS
@pytest.mark.parametrize("fault", ["kill", "exit", "crash"])
def test_a_worker_that_ends_fails_only_its_own_calls_and_is_replaced(program: Program, driver: int, fault: str) -> None:
    load, replaced = replaced_among_calls(program, driver, 5, fault)

    assert replaced < REPLACED
    assert len(load.failed) <= 5
    assert all(seconds < LOST and isinstance(error, Unavailable) for seconds, error in load.failed)
    assert load.answered


def test_a_handler_that_runs_out_of_memory_fails_its_own_call_alone(program: Program) -> None:
    with Faulty.at(program.urls[0]) as client:
        before = client.post(on="who")["pid"]
        with pytest.raises(XooaiError):
            client.post(on="exhaust")

        assert client.post(on="who")["pid"] == before


@pytest.mark.parametrize(
    ("driver", "fault"),
    [(0, "stop"), (0, "block"), (1, "stop"), (1, "block"), (2, "stop"), (2, "block")],
    ids=["http-stop", "http-block", "grpc-stop", "grpc-block", "quic-stop", "quic-block"],
)
def test_traffic_leaves_a_worker_that_hangs(program: Program, driver: int, fault: str) -> None:
    given = {"seconds": 60} if fault == "block" else {}
    load, replaced = replaced_among_calls(program, driver, 10, fault, **given)

    assert replaced < LEFT + REPLACED
    assert all(seconds < LEFT and isinstance(error, Unavailable) for seconds, error in load.failed)
    assert max(when for when, _ in load.answered) > time.monotonic() - 10
    program.process.kill()
    said = program.said()
    assert "hangs: its loop has not run" in said
    if fault == "block":
        assert " in block" in said


def test_a_successor_that_cannot_start_leaves_the_old_workers_at_work(tmp_path: Path, notes: Path) -> None:
    broken = tmp_path / "broken"
    with running([str(PROGRAM), "http://127.0.0.1:0", "2"], TEST_FAILS=str(broken)) as program:
        broken.touch()

        async def refused() -> None:
            program.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(program.until, "those that serve go on")

        load = among_calls(program.urls[0], 50, 3, refused)

    assert not load.failed
    assert len({pid for _, pid in load.answered}) <= 2
    assert "no such model" in program.said()


def test_a_server_with_few_files_outlives_the_end_of_its_workers(tmp_path: Path) -> None:
    limited = tmp_path / "limited.py"
    limited.write_text(
        "import resource, runpy, sys\n"
        "sys.argv = sys.argv[1:]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64
    with running([str(limited), str(PROGRAM), "http://127.0.0.1:0", "2"]) as program:
        for _ in range(3):
            with Faulty.at(program.urls[0]) as client:
                os.kill(int(client.post(on="who")["pid"]), signal.SIGKILL)
            program.until("was ended by SIGKILL")
            program.until("is ready after")
        with Faulty.at(program.urls[0]) as client:
            assert client.post(on="who")

        assert program.end(signal.SIGTERM) == 0


def test_a_flow_is_made_again_in_each_worker(notes: Path) -> None:
    pytest.importorskip("yaml")
    with running([str(PROGRAM), "http://127.0.0.1:0", "2", "flow"]) as program:
        with Executor(f"{program.urls[0]}/faulty") as client:
            told = client.post(on="call")

        assert told["number"] in ("1", "2")
        assert program.end(signal.SIGTERM) == 0


def test_a_program_that_serves_while_a_worker_imports_it_is_told_where_to_write_it(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from xooai import Executor, post, serve\n\n\n"
        "class Typed(Executor):\n    @post\n    def nothing(self) -> None: ...\n\n\n"
        "serve(Typed, at='http://127.0.0.1:0', workers=1)\n"
    )
    with running([str(program)]) as started:
        assert started.process.wait(PATIENCE) == 1
        assert "put it under: if __name__ ==" in started.said()


def test_a_class_that_was_typed_in_is_refused() -> None:
    source = "from xooai import *\nclass Typed(Executor):\n    @post\n    def nothing(self) -> None: ...\nserve(Typed, workers=1)"
    with running(["-c", source]) as started:
        assert started.process.wait(PATIENCE) == 1
        assert "put the class into a module" in started.said()
