"""A server whose clock jumps: deadlines, limits and what is kept for a while go by the clock that nobody sets."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from server_process import HERE, fingerprint, served

from xooai import DeadlineExceeded, Executor, ResourceExhausted, Unauthenticated

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


@pytest.mark.parametrize("jump", ["+1h", "-1h", "+400d", "-400d"])
@pytest.mark.parametrize("scheme", ["http", "grpc", "quic"])
def test_a_clock_that_jumps_moves_no_deadline(clock: Path, scheme: str, jump: str) -> None:
    with served(LIVELY, "--url", f"{scheme}://127.0.0.1:0", "--log", "json", env=by(clock)) as process:
        (url,) = process.banner()
        trust = fingerprint(process) if scheme == "quic" else None
        with Executor.at(f"{url}/lively", retry=0, trust=trust) as client:
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
