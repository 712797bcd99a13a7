"""Promises about workers that crash, hang and are replaced, each with its fault and its figure."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from supervised import PATIENCE, PROGRAM, Program, calling, running
from worker_load import Load
from worker_losses import LOST, REPLACED
from worker_program import Faulty

from xooai import Executor, Internal, Unavailable, XooaiError

pytest.importorskip("uvicorn")
pytest.importorskip("grpc")
pytest.importorskip("aioquic")
pytestmark = pytest.mark.slow

DRIVERS = pytest.mark.parametrize("driver", [0, 1, 2], ids=["http", "grpc", "quic"])
LEFT = 5.0  # seconds, for two free cores: on a machine that has something else to do they do not hold
"""Until no call goes to a worker that hangs, and those on it fail."""


def among_calls(
    url: str, rate: float, seconds: float, happens: Callable[[], Awaitable[None]], clients: int = 1
) -> Load:
    """Calls at a rate for some seconds, among which something happens; once all of them have ended."""

    async def main() -> Load:
        load = Load(url, rate, clients)
        running = asyncio.create_task(load.run(seconds))
        await happens()
        await running
        await load.over()
        return load

    return asyncio.run(main())


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
    assert len({call.by for call in load.answered}) > 2
    assert len(notes.read_text().split()) == len(set(notes.read_text().split())) == len(load.answered)


class Raw:
    """A client with one connection of HTTP, which it keeps as long as the server does: ten calls a second in a closed loop."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._place = host, int(port)
        self._request = (
            f"POST /faulty/who HTTP/1.1\r\nhost: {host}:{port}\r\n"
            "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        ).encode()
        self._connection: socket.socket | None = None
        self._next = time.monotonic()
        self.pids: list[str] = []
        self.lost: list[bytes] = []
        """What had come of each answer that was not whole."""

    def call(self) -> None:
        self._next += 0.1
        time.sleep(max(0.0, self._next - time.monotonic()))
        if self._connection is None:
            self._connection = socket.create_connection(self._place, PATIENCE)
        come = b""
        try:
            self._connection.sendall(self._request)
            while (body := self._body(come)) is None:
                if not (data := self._connection.recv(65536)):
                    raise ConnectionError("it was closed")
                come += data
        except ConnectionError:
            self.lost.append(come)
            self.leave()
        else:
            self.pids.append(json.loads(body)["pid"])
            if b"\r\nconnection: close\r\n" in come.lower():
                self.leave()

    def leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @staticmethod
    def _body(come: bytes) -> bytes | None:
        head, _, body = come.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        return body if length is not None and len(body) == int(length[1]) else None


def test_a_client_of_others_loses_no_answer_while_workers_are_replaced(program: Program) -> None:
    clients = [Raw(program.urls[0]) for _ in range(5)]
    until = time.monotonic() + 20
    try:
        with calling(*(client.call for client in clients)):
            for _ in range(3):
                program.process.send_signal(signal.SIGHUP)
                program.until("all 2 workers are new")
            time.sleep(max(0.0, until - time.monotonic()))
    finally:
        for client in clients:
            client.leave()
    pids = [pid for client in clients for pid in client.pids]
    lost = [come for client in clients for come in client.lost]

    assert len(set(pids)) > 2
    assert len(pids) > 500
    assert len(lost) <= len(pids) / 1000
    assert set(lost) <= {b""}  # closed before a byte of the answer


@DRIVERS
def test_a_handler_that_runs_out_of_memory_fails_its_own_call_alone(program: Program, notes: Path, driver: int) -> None:
    """As it allocates, and as a library says so; its worker goes on, and is not replaced."""
    url = program.urls[driver]
    spent: list[XooaiError] = []
    pids: list[set[str]] = []

    async def happens() -> None:
        await asyncio.sleep(1)
        async with Faulty.at(url, retry=0) as client:
            pids.append(set(await client.apost(on="asked")))
            for pid in pids[0]:
                limit_of(int(pid))
            for on in ("exhaust", "devour"):
                with pytest.raises(Internal) as failed:
                    await client.apost(on=on)
                spent.append(failed.value)
            pids.append(set(await client.apost(on="asked")))

    load = among_calls(url, 20, 5, happens, clients=20)

    assert len(spent) == 2
    assert pids[0] == pids[1]
    assert not load.failed
    assert len(load.answered) == len(notes.read_text().split()) == len(set(notes.read_text().split()))
    assert {call.by for call in load.calls if call.began > load.calls[0].began + 3} == pids[0]
    assert program.end(signal.SIGTERM) == 0


def limit_of(pid: int) -> None:
    """Let a process have 200 MB more of addresses than it has."""
    size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize() + 200_000_000
    resource.prlimit(pid, resource.RLIMIT_AS, (size, size))


@DRIVERS
@pytest.mark.parametrize("fault", ["stop", "block"])
def test_traffic_leaves_a_worker_that_hangs(program: Program, driver: int, fault: str) -> None:
    url = program.urls[driver]
    hung: list[str] = []
    times: list[float] = []

    async def happens() -> None:
        await asyncio.sleep(1)
        async with Faulty.at(url, retry=0) as client:
            times.append(time.monotonic())
            if fault == "stop":
                os.kill(int((await client.apost(on="who"))["pid"]), signal.SIGSTOP)
            else:
                with pytest.raises(Unavailable):
                    await client.apost(on="block", seconds=60)
                times.append(time.monotonic())
        said = await asyncio.to_thread(program.until, "hangs: its loop has not run")
        hung.append(said.partition("(process ")[2].partition(")")[0])
        await asyncio.to_thread(program.until, "is ready after")
        times.append(time.monotonic())

    load = among_calls(url, 20, 10, happens, clients=20)
    began, *failed, replaced = times

    assert replaced - began < LEFT + REPLACED
    assert all(when - began < LEFT for when in failed)
    assert all(isinstance(error, Unavailable) for _, error in load.failed)
    assert all(call.ended - call.began < LEFT for call in load.calls)
    assert [call for call in load.calls if call.ended - call.began > LOST]  # those that it had
    late = [call for call in load.calls if call.began >= began + LEFT]
    assert len(late) > 50
    assert all(call.by and call.by != hung[0] for call in late)
    program.process.kill()
    said = program.said()
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
    assert len({call.by for call in load.answered}) <= 2
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
