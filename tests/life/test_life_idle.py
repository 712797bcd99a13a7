"""What a server costs that nobody calls: nothing wakes it."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from server_process import HERE, Process, fingerprint, served

from xooai import Executor

for module in ("uvicorn", "click", "grpc", "aioquic"):
    pytest.importorskip(module)

LIVELY = f"{HERE}/lively.py:Lively"
AFTER = 8.0  # seconds: connections that were kept have gone, and so has the last look at them
LOOKED_AT = 30.0

proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="what a process does is read from /proc")


def used(pid: int) -> float:
    """Seconds of a core."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def woken(process: Process) -> int:
    """How often a thread of it had waited and went on, but for those that grpcio has beside."""
    pid = process.running.pid
    status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.MULTILINE)[0])


@proc
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "grpc", "quic"])
@pytest.mark.parametrize("is_called", [False, True], ids=["before a call", "after one"])
def test_an_idle_server_takes_less_than_two_thousandths_of_a_core(scheme: str, is_called: bool) -> None:
    """Nothing of ours wakes it at all; grpcio's own threads look for work now and then."""
    with served(LIVELY, "--url", f"{scheme}://127.0.0.1:0") as process:
        (url,) = process.banner()
        if is_called:
            trust = fingerprint(process) if scheme == "quic" else None
            with Executor.at(f"{url}/lively", trust=trust) as client:
                client.post(on="under_way")
        time.sleep(AFTER)
        before, wakes = used(process.running.pid), woken(process)
        time.sleep(LOOKED_AT)
        cost, wakes = (used(process.running.pid) - before) / LOOKED_AT, woken(process) - wakes

    assert cost < 0.002
    assert wakes == 0


@proc
@pytest.mark.slow
def test_idle_workers_and_their_supervisor_take_less_than_two_thousandths_of_a_core_each() -> None:
    """They tell one another that they live, some times a second."""
    with served(LIVELY, "--url", "http://127.0.0.1:0", "--url", "grpc://127.0.0.1:0", "--workers", "2") as process:
        url = process.banner()[0]
        with Executor.at(f"{url}/lively") as client:
            client.post(on="under_way")
        time.sleep(AFTER)
        pid = process.running.pid
        workers = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        before = {one: used(one) for one in (pid, *workers)}
        time.sleep(LOOKED_AT)
        cost = {one: (used(one) - at) / LOOKED_AT for one, at in before.items()}

    assert len(cost) == 3
    assert max(cost.values()) < 0.002, cost


@proc
def test_nothing_wakes_a_server_that_nobody_calls() -> None:
    """Over a short time, as with every run."""
    urls = [part for scheme in ("http", "grpc", "quic") for part in ("--url", f"{scheme}://127.0.0.1:0")]
    with served(LIVELY, *urls) as process:
        process.banner()
        deadline = time.monotonic() + 30
        while True:  # what a start has begun may end first
            wakes = woken(process)
            time.sleep(1)
            if woken(process) == wakes or time.monotonic() > deadline:
                break
        assert woken(process) == wakes
