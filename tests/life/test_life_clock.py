"""A clock that jumps: deadlines, limits and what is kept for a while go by the one that nobody sets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from server_process import HERE, PATIENCE, fingerprint, served

from xooai import Executor, ResourceExhausted, Unauthenticated

for module in ("uvicorn", "click", "grpc", "aioquic"):
    pytest.importorskip(module)

pytestmark = pytest.mark.system

LIVELY = f"{HERE}/lively.py:Lively"


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """A file that says how far the clock of a process is off, which may change while it runs (faketime(1))."""
    assert shutil.which("faketime"), "scripts/system_test.py installs faketime"
    file = tmp_path / "clock"
    file.write_text("+0\n")
    return file


def by(clock: Path) -> dict[str, str]:
    """The environment of a process that goes by it."""
    library = subprocess.run(["faketime", "now", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True)
    return {
        "LD_PRELOAD": library.stdout.strip(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # which nobody sets
    }


JUMPS = {"+1h": 3600, "-1h": -3600, "+400d": 400 * 86400, "-400d": -400 * 86400}
"""What `faketime` is told, and by how many seconds a clock is off then."""
ALLOWED = 0.5  # seconds
LATE = 0.05  # seconds by which the deadline of a call may be missed
ATTEMPTS = 5  # a busy machine may stall all but one


class Clocked:
    """A client in a process of its own."""

    def __init__(self, url: str, trust: str | None, env: dict[str, str]) -> None:
        command = [sys.executable, str(HERE / "clock_client.py"), url, trust or ""]
        self.running = subprocess.Popen(
            command, env={**os.environ, **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, on: str, **arguments: Any) -> None:
        assert self.running.stdin is not None
        self.running.stdin.write(json.dumps({"on": on, **arguments}) + "\n")
        self.running.stdin.flush()

    def result(self) -> tuple[Any, float, float]:
        """What came of it, the seconds that it took, and what time it is there."""
        assert self.running.stdout is not None
        found, took, now = json.loads(self.running.stdout.readline())
        return found, took, now

    def post(self, on: str, **arguments: Any) -> Any:
        self.begin(on, **arguments)
        return self.result()[0]

    def close(self) -> None:
        self.running.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("whose", ["server", "client"])
@pytest.mark.parametrize("scheme", ["http", "grpc", "quic"])
def test_a_clock_that_jumps_moves_no_deadline(clock: Path, scheme: str, whose: str) -> None:
    faked = by(clock)
    url = f"{scheme}://127.0.0.1:0"
    with ExitStack() as stack:
        process = stack.enter_context(served(LIVELY, "--url", url, env=faked if whose == "server" else {}))
        (url,) = process.banner()
        trust = fingerprint(process) if scheme == "quic" else None
        client = stack.enter_context(closing(Clocked(url, trust, faked if whose == "client" else {})))
        for jump, seconds in JUMPS.items():
            missed: list[float] = []
            while not missed or missed[-1] > LATE:
                assert len(missed) < ATTEMPTS, missed
                clock.write_text("+0\n")
                assert client.post("wait", seconds=0.01, timeout=5) == 0.01
                client.begin("wait", seconds=60, timeout=ALLOWED)
                time.sleep(ALLOWED / 2)
                clock.write_text(f"{jump}\n")  # in the middle of a call
                found, took, now = client.result()
                missed.append(took - ALLOWED)
                there = client.post("now", timeout=5) if whose == "server" else now
                assert abs(there - time.time() - seconds) < 600  # it is another time over there
                assert found == "DeadlineExceeded"
                assert client.post("wait", seconds=0.05, timeout=5) == 0.05  # begun after it
                assert client.post("under_way", timeout=5) == 0  # the server has ended the other in its time, too
                assert missed[-1] > -LATE
        process.signal()
        assert process.end().code == 0


def _key(file: Path, *options: str) -> dict[str, str]:
    command = [sys.executable, "-m", "xooai", "keys", "new", "--file", str(file), "--tenant", "acme", "--scope", "*"]
    made = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    return {"authorization": made.stdout.strip()}


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_clock_that_jumps_lifts_no_limit_and_ends_no_more_than_keys(clock: Path, tmp_path: Path, scheme: str) -> None:
    file = tmp_path / "keys.json"
    plain, ending = _key(file), _key(file, "--expires", "90d")
    few, narrow = _key(file, "--rate", "1/h"), _key(file, "--bandwidth", "1B/s")
    keyed = {**plain, "idempotency-key": "k"}

    def refused(key: dict[str, str]) -> None:
        with pytest.raises(ResourceExhausted) as caught:
            client.post(on="count_calls", metadata=key)
        assert 0 < (caught.value.retry_after or 0) <= 3600

    with served(LIVELY, "--url", f"{scheme}://127.0.0.1:0", "--keys", file, env=by(clock)) as process:
        (url,) = process.banner()
        with Executor.at(f"{url}/lively", retry=0, metadata=plain) as client:
            first = client.post(on="count_calls", metadata=keyed)
            kept = client.post(on="count_calls_and_keep", metadata=plain)
            client.post(on="count_calls", metadata=few)
            client.post(on="large", size=3_000, metadata=narrow)
            for jump in ("+1h", "-1h", "+400d", "-400d", "+0"):
                clock.write_text(f"{jump}\n")
                refused(few)
                refused(narrow)
                assert client.post(on="count_calls", metadata=keyed) == first
                assert client.post(on="count_calls_and_keep", metadata=plain) == kept
                if jump == "+400d":
                    with pytest.raises(Unauthenticated, match="its time is over"):
                        client.post(on="under_way", metadata=ending)
                else:
                    assert client.post(on="under_way", metadata=ending) == 0


def test_a_small_jump_ends_no_idempotency_key_that_processes_share(clock: Path, tmp_path: Path) -> None:
    env = {**by(clock), "XOOAI_IDEMPOTENCY": str(tmp_path / "shared")}
    with served(LIVELY, "--url", "http://127.0.0.1:0", env=env) as process:
        (url,) = process.banner()
        with Executor.at(f"{url}/lively", retry=0) as client:
            first = client.post(on="count_calls", metadata={"idempotency-key": "k"})
            for jump in ("+1h", "-1h", "+23h", "-23h"):
                clock.write_text(f"{jump}\n")
                assert client.post(on="count_calls", metadata={"idempotency-key": "k"}) == first
