"""Sockets that a server is started with: taken as they are, with who waits there."""

from __future__ import annotations

import fcntl
import http.client
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from server_process import HERE, PATIENCE, Process

from authority import HERE as NAMES
from authority import Authority
from xooai import Executor

for module in ("uvicorn", "click", "grpc", "aioquic"):
    pytest.importorskip(module)

LIVELY = f"{HERE}/lively.py:Lively"
# Does what a service manager does between fork and exec.
MANAGER = """
import os, sys
for number, descriptor in enumerate(map(int, sys.argv[1].split(",")), 3):
    os.dup2(descriptor, number)
count = sys.argv[1].count(",") + 1
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count))
os.execv(sys.executable, [sys.executable, "-m", "xooai", "serve", *sys.argv[2:]])
"""


@contextmanager
def handed_over(sockets: Sequence[socket.socket], *args: object) -> Iterator[Process]:
    """`xooai serve`, started with open sockets."""
    far = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 16) for one in sockets]  # beyond the numbers that they get
    command = [sys.executable, "-c", MANAGER, ",".join(map(str, far)), *map(str, args)]
    process = Process(command[3:], {}, command=command, pass_fds=far)
    try:
        yield process
    finally:
        for number in far:
            os.close(number)
        process.kill()


def listening(kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


def port(of: socket.socket) -> int:
    return int(of.getsockname()[1])


def test_who_waits_at_a_socket_that_is_handed_over_is_answered(tmp_path: Path) -> None:
    """By HTTP and QUIC; the socket stays open when the server has gone, for the next one."""
    authority = Authority(tmp_path)
    both = authority.signs("server", NAMES).both
    with ExitStack() as stack:
        tcp, udp = (stack.enter_context(listening(kind)) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))
        early = http.client.HTTPConnection("127.0.0.1", port(tcp), timeout=PATIENCE)
        early.request("POST", "/lively/under_way", "{}", {"content-type": "application/json"})
        urls = ("--url", f"http://127.0.0.1:{port(tcp)}", "--url", f"quic://127.0.0.1:{port(udp)}")
        process = stack.enter_context(handed_over([tcp, udp], LIVELY, *urls, "--certificate", both))
        assert early.getresponse().read() == b"0"
        early.close()
        process.banner()
        with Executor.at(f"{process.urls[1]}/lively", trust=str(authority.trust)) as client:
            assert client.post(on="under_way") == 0
        process.signal()
        assert process.end().code == 0
        socket.create_connection(("127.0.0.1", port(tcp)), PATIENCE).close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:0", "sockets at 127.0.0.1:{port} were handed over, and no URL is there"),
        pytest.param(
            "grpc://127.0.0.1:{port}",
            "gRPC cannot listen at a socket that is handed over; let it make its own",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["none", "grpc"],
)
def test_a_socket_that_cannot_be_used_is_told(url: str, said: str) -> None:
    with listening() as tcp, handed_over([tcp], LIVELY, "--url", url.format(port=port(tcp))) as process:
        ended = process.end()
        said = said.format(port=port(tcp))

    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert said in ended.err


@pytest.mark.system
def test_systemd_starts_a_server_with_the_first_connection() -> None:
    command = shutil.which("systemd-socket-activate")
    assert command is not None
    with listening() as free:
        url = f"http://127.0.0.1:{port(free)}"
    serve = [sys.executable, "-m", "xooai", "serve", LIVELY, "--url", url]
    with subprocess.Popen(
        [command, "--listen", url.removeprefix("http://"), *serve],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert "Listening on" in next(iter(process.stderr or ()))
        with Executor.at(f"{url}/lively") as client:
            assert client.post(on="under_way") == 0
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.system
@pytest.mark.parametrize(
    ("page", "unit"),
    [
        ("how-to/running.md", "counter.service"),
        ("how-to/running.md", "counter.socket"),
        ("production.md", "linguist.service"),
    ],
    ids=["counter.service", "counter.socket", "linguist.service"],
)
def test_the_units_of_the_pages_are_sound(tmp_path: Path, page: str, unit: str) -> None:
    told = (HERE.parent.parent / "docs" / page).read_text()
    text = told.partition(f'title="{unit}"\n')[2].partition("```")[0]
    command = f"/srv/{unit.partition('.')[0]}/venv/bin/xooai"
    assert ("service" in unit) == (command in text)
    (tmp_path / "counter.service").write_text("[Service]\nExecStart=/bin/true\n")
    (tmp_path / unit).write_text(text.replace(command, sys.executable).replace("notify-reload", "notify"))
    ended = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / unit], capture_output=True, text=True, check=False, timeout=PATIENCE
    )

    assert (ended.returncode, ended.stderr) == (0, "")
