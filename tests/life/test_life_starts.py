"""A server that is stopped while it starts, starts again and again, or has nowhere to write: nothing of it stays behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from server_process import HERE, PATIENCE, served

from echoing import StreamSite
from xooai import plugins
from xooai.driver import ListenOptions

for module in ("uvicorn", "click", "grpc", "aioquic"):
    pytest.importorskip(module)

LIVELY = f"{HERE}/lively.py:Lively"
TURNS = 12  # of the loop: more than any listener takes to start
CYCLES = 50
MOMENTS = 30


@pytest.mark.parametrize("scheme", ["http", "grpc", "quic"])
def test_a_start_that_is_given_up_at_any_moment_leaves_nothing(scheme: str) -> None:
    async def given_up(turns: int) -> bool:
        listening = asyncio.ensure_future(
            plugins.driver(scheme).listen(f"{scheme}://127.0.0.1:0", StreamSite(), ListenOptions())
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        listening.cancel()
        try:
            listener = await listening
        except asyncio.CancelledError:
            return True
        await listener.aclose()
        return False

    were = [asyncio.run(given_up(turns)) for turns in range(1, TURNS)]
    assert any(were) or scheme == "http"  # which takes one turn


@pytest.mark.slow
def test_fifty_servers_one_after_another_leave_nothing(tmp_path: Path) -> None:
    """At the same ports, which each has to find free."""
    with socket.socket() as one, socket.socket() as other, socket.socket(type=socket.SOCK_DGRAM) as third:
        for free in (one, other, third):
            free.bind(("127.0.0.1", 0))
        http, grpc, quic = (free.getsockname()[1] for free in (one, other, third))
    urls = (f"http://127.0.0.1:{http}", f"grpc://127.0.0.1:{grpc}", f"quic://127.0.0.1:{quic}")
    shared = set(os.listdir("/dev/shm")) if Path("/dev/shm").exists() else set()
    env = {"TMPDIR": str(tmp_path), "XOOAI_CACHE": str(tmp_path / "cache")}
    for number in range(CYCLES):
        with served(
            LIVELY, *(part for url in urls for part in ("--url", url)), env=env, start_new_session=True
        ) as process:
            process.banner()
            process.signal((signal.SIGINT, signal.SIGTERM)[number % 2])
            ended = process.end()
            assert (ended.code, re.sub(r".*certificate was made.*\n", "", ended.err)) == (0, "")
            with pytest.raises(ProcessLookupError):  # it was the last of its group
                os.killpg(process.running.pid, 0)

    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []
    assert not shared or set(os.listdir("/dev/shm")) <= shared


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_of_a_start_ends_it_within_two_seconds(number: signal.Signals) -> None:
    """From the first line of ours on; before, Python itself ends in its own way."""
    for step in range(MOMENTS):
        urls = [part for scheme in ("http", "grpc", "quic") for part in ("--url", f"{scheme}://127.0.0.1:0")]
        with served(LIVELY, *urls, "--log", "json") as process:
            time.sleep(0.02 * step)
            process.signal(number)
            began = time.monotonic()
            ended = process.end()
            assert time.monotonic() - began < 2
            assert ended.code in (0, 128 + number, -number) or "KeyboardInterrupt" in ended.err
            assert "InvalidStateError" not in ended.err
            assert "never retrieved" not in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize("scheme", ["http", "grpc", "quic"])
@pytest.mark.parametrize("what", ["port", "certificate", "plug-in", "store", "cache"])
def test_what_cannot_start_ends_within_two_seconds_and_tells_why_in_one_line(
    what: str, scheme: str, workers: tuple[str, ...], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing\n")
    secure = {"http": "https", "grpc": "grpcs", "quic": "quic"}[scheme]
    with socket.socket(type=socket.SOCK_DGRAM if scheme == "quic" else socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        if scheme != "quic":
            taken.listen()
        cases: dict[str, tuple[tuple[object, ...], str]] = {
            "port": (("--url", f"{scheme}://127.0.0.1:{taken.getsockname()[1]}"), "the address is in use"),
            "certificate": (
                ("--url", f"{secure}://127.0.0.1:0", "--certificate", bad, "--key", bad),
                "not a PEM certificate and its unencrypted key",
            ),
            "plug-in": (("--url", "nothing://127.0.0.1:0"), "nothing serves nothing://; "),
            "store": (("--url", f"{scheme}://127.0.0.1:0", "--store", "a=nothing://a"), "nothing serves nothing://; "),
            "cache": (("--url", f"{scheme}://127.0.0.1:0"), f"the cache cannot be at {bad}"),
        }
        args, told = cases[what]
        began = time.monotonic()
        with served(LIVELY, *args, *workers, env={"XOOAI_CACHE": str(bad)} if what == "cache" else {}) as process:
            ended = process.end()
        took = time.monotonic() - began

    lines = [line for line in ended.err.splitlines() if "a certificate was made" not in line]
    assert (ended.code, ended.out, len(lines)) == (1, "", 1), ended
    assert told in lines[0]
    assert took < 2


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's /dev/full")
def test_a_full_disk_for_the_log_and_the_banner_ends_nothing(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        open("/dev/full", "w") as full,
    ):
        manager.bind(f"{tmp_path}/notify")
        manager.settimeout(PATIENCE)
        env = {"NOTIFY_SOCKET": f"{tmp_path}/notify"}
        args = (f"{HERE}/lively.py:Failing", "--url", "http://127.0.0.1:0")
        with served(*args, env=env, stdout=full, stderr=full) as process:
            url = re.findall(r"http://\S+", manager.recv(4096).decode())[0]
            assert [_status(f"{url}/failing/{path}") for path in ("fail", "fine", "fail", "fine")] == [
                500,
                200,
                500,
                200,
            ]
            process.signal()
            assert process.end().code == 0


def _status(url: str) -> int:
    try:
        with urlopen(Request(url, b"{}", {"content-type": "application/json"}), timeout=PATIENCE) as answer:
            return int(answer.status)
    except OSError as error:
        return int(getattr(error, "code", 0))
