"""A server that has no room for what its callers want: it refuses or has them wait, costs little meanwhile, and goes on after."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from server_process import HERE, PATIENCE, Process, served, until

from xooai import Executor, Internal, ResourceExhausted, XooaiError

for module in ("uvicorn", "click", "grpc"):
    pytest.importorskip(module)

LIVELY = f"{HERE}/lively.py:Lively"
FILES = 64  # descriptors: a server has some 20 of them to itself
CALLERS = 200
LOOKED_AT = 3.0  # seconds


def _cost(process: Process, seconds: float) -> float:
    """The share of a core that a process takes over some seconds."""

    def used() -> float:
        fields = Path(f"/proc/{process.running.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, began = used(), time.monotonic()
    time.sleep(seconds)
    return (used() - before) / (time.monotonic() - began)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="what a process costs is read from /proc")
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_without_room_for_files_waits_without_cost_and_goes_on(scheme: str) -> None:
    """A caller who is connected already is answered meanwhile."""
    with served(
        LIVELY,
        "--url",
        f"{scheme}://127.0.0.1:0",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
    ) as process:
        (url,) = process.banner()
        place = urlsplit(url)
        address = (str(place.hostname), int(place.port or 0))
        with Executor.at(f"{url}/lively") as early, ExitStack() as callers:
            assert early.post(on="under_way") == 0
            for _ in range(CALLERS):
                callers.enter_context(socket.create_connection(address, PATIENCE))
            cost = _cost(process, LOOKED_AT)
            assert early.post(on="under_way", timeout=PATIENCE) == 0
        with Executor.at(f"{url}/lively") as late:
            assert _answered(late) == 0
        process.signal()
        ended = process.end()

    assert cost < 0.2
    assert ended.code == 0
    assert ended.err.count("\n") < 20, ended.err


USER = 54_321  # whom nobody else is: the limit of processes and threads counts all of one user's
ROOTLESS = (
    "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",  # it reads what this process reads
)  # fmt: skip


def _room(process: Process, threads: int) -> None:
    """Let a server's user have so many processes and threads; those that there are stay."""
    subprocess.run([*ROOTLESS, "prlimit", f"--pid={process.running.pid}", f"--nproc={threads}:"], check=True)


def _as_user(*args: str) -> AbstractContextManager[Process]:
    own = {"XOOAI_CACHE": ""}  # that of the tests is another user's
    return served(command=[*ROOTLESS, sys.executable, "-m", "xooai", "serve", *args], env=own)


@pytest.mark.system
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_can_start_no_thread_refuses_what_needs_one_and_goes_on(scheme: str) -> None:
    with _as_user(LIVELY, "--url", f"{scheme}://127.0.0.1:0") as process:
        (url,) = process.banner()
        with Executor.at(f"{url}/lively", retry=0) as client:
            assert client.post(on="under_way") == 0
            _room(process, 1)
            for _ in range(3):
                with pytest.raises(ResourceExhausted, match="no thread can be started") as caught:
                    client.post(on="in_a_thread", timeout=PATIENCE)
                assert caught.value.retry_after
                with pytest.raises(Internal, match="the server's log tells more"):
                    client.post(on="blocked", timeout=PATIENCE)  # asks for a thread by itself
                assert client.post(on="under_way", timeout=PATIENCE) == 0
            _room(process, 1000)
            assert client.post(on="in_a_thread", timeout=PATIENCE) == 1
        process.signal()
        ended = process.end()
    assert ended.code == 0
    assert ended.err.count("RuntimeError: can't start new thread") == 3


@pytest.mark.system
def test_a_worker_that_cannot_be_started_is_tried_later_and_later_until_there_is_room() -> None:
    with _as_user(LIVELY, "--workers", "2", "--url", "http://127.0.0.1:0") as process:
        (url,) = process.banner()
        children = Path(f"/proc/{process.running.pid}/task/{process.running.pid}/children")
        pid = int(children.read_text().split()[0])
        with Executor.at(f"{url}/lively") as client:
            _room(process, 1)
            os.kill(pid, signal.SIGKILL)
            while "cannot be started" not in (line := process.logged()):
                pass
            cost = _cost(process, LOOKED_AT)
            assert client.post(on="under_way", timeout=PATIENCE) == 0
            _room(process, 1000)
            until(lambda: len(children.read_text().split()) == 2, "another worker")
            assert client.post(on="under_way", timeout=PATIENCE) == 0
        process.signal()
        ended = process.end()
    assert "Resource temporarily unavailable" in line
    assert ended.err.count("cannot be started") < 10
    assert cost < 0.2
    assert ended.code == 0


def _answered(client: Executor) -> int:
    """What is answered once there is room."""
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            return int(client.post(on="under_way", timeout=5))
        except XooaiError:
            if time.monotonic() > limit:
                raise
