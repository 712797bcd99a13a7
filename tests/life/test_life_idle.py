"""What a server costs that nobody calls: nothing wakes it, and time that jumps changes none of its deadlines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from server_process import HERE, Process, served

from xooai import DeadlineExceeded, Executor

for module in ("uvicorn", "click", "grpc", "aioquic"):
    pytest.importorskip(module)

LIVELY = f"{HERE}/lively.py:Lively"
AFTER = 8.0  # seconds: connections that were kept have gone, and so has the last look at them
LOOKED_AT = 30.0

proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="what a process does is read from /proc")


def used(process: Process) -> float:
    """Seconds of a core."""
    fields = Path(f"/proc/{process.running.pid}/stat").read_text().rpartition(")")[2].split()
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
            trust = _fingerprint(process) if scheme == "quic" else None
            with Executor.at(f"{url}/lively", trust=trust) as client:
                client.post(on="under_way")
        time.sleep(AFTER)
        before, wakes = used(process), woken(process)
        time.sleep(LOOKED_AT)
        cost, wakes = (used(process) - before) / LOOKED_AT, woken(process) - wakes

    assert cost < 0.002
    assert wakes == 0


def _fingerprint(process: Process) -> str:
    for line in process.running.stderr or ():
        if found := re.search(r"sha256:[0-9a-f]{64}", line):
            return found[0]
    raise AssertionError("no certificate was made")


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


# A clock that jumps


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """A file that says how far the clock of a process is off, which may change while it runs (faketime(1))."""
    assert shutil.which("faketime"), "scripts/system_test.py installs faketime"
    file = tmp_path / "clock"
    file.write_text("+0\n")
    return file


@pytest.mark.system
@pytest.mark.parametrize("jump", ["+1h", "-1h", "+400d", "-400d"])
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_clock_that_jumps_moves_no_deadline(clock: Path, scheme: str, jump: str) -> None:
    library = subprocess.run(["faketime", "now", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True)
    env = {
        "LD_PRELOAD": library.stdout.strip(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # which nobody sets
    }
    with served(LIVELY, "--url", f"{scheme}://127.0.0.1:0", "--log", "json", env=env) as process:
        (url,) = process.banner()
        with Executor.at(f"{url}/lively", retry=0) as client:
            assert client.post(on="wait", seconds=0.01, timeout=5) == 0.01
            clock.write_text(f"{jump}\n")
            assert abs(client.post(on="now") - time.time()) > 3000  # it is another time over there
            assert client.post(on="wait", seconds=0.3, timeout=5) == 0.3
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                client.post(on="wait", seconds=60, timeout=1)
            took = time.monotonic() - began
            time.sleep(0.2)
            assert client.post(on="under_way") == 0  # the server has ended it in its time, too
        process.signal()
        assert process.end().code == 0

    assert 0.95 < took < 1.5
