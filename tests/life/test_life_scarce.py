"""A server that has no room for what its callers want: it refuses or has them wait, costs little meanwhile, and goes on after."""

from __future__ import annotations

import os
import resource
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from server_process import HERE, PATIENCE, Process, served

from xooai import Executor, XooaiError

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


def _answered(client: Executor) -> int:
    """What is answered once there is room."""
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            return int(client.post(on="under_way", timeout=5))
        except XooaiError:
            if time.monotonic() > limit:
                raise
