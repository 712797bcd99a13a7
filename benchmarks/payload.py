"""How long does a large file take to a server, the first time and again, and how much memory, against a bare upload?"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import psutil

import peers
import report
from options import Options
from processes import MIB, cores, end_when_terminated, free_port

SERVERS = Path(__file__).parent / "servers"
STEP = 1024 * 1024
START_LIMIT = 60.0  # seconds
SETTLED = 2.1  # seconds that a file was not written to: what was written just now may change again unseen
UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}

Send = Callable[[int, Path], str]


def signed(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _streamed(port: int, path: Path) -> str:
    """The file as the body, in chunks of a MiB, after its signature was made: a name for it by content needs one."""
    named = await asyncio.to_thread(signed, path)

    async def chunks() -> AsyncIterator[bytes]:
        with path.open("rb", buffering=0) as file:
            while data := await asyncio.to_thread(file.read, STEP):
                yield data

    async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{port}/", data=chunks()) as response:
        found = await response.text()
    assert found == named, found
    return found


async def _form(port: int, path: Path, where: str) -> str:
    with path.open("rb") as file:
        form = aiohttp.FormData()
        form.add_field("doc", file, filename=path.name, content_type="application/octet-stream")
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session,
            session.post(f"http://127.0.0.1:{port}/{where}", data=form) as response,
        ):
            return (await response.text()).strip('"')


def bare(port: int, path: Path) -> str:
    return asyncio.run(_streamed(port, path))


def fastapi(port: int, path: Path) -> str:
    return asyncio.run(_form(port, path, ""))


def bentoml(port: int, path: Path) -> str:
    return asyncio.run(_form(port, path, "put"))


def by_xooai(scheme: str) -> Send:
    """What a user writes, in this process; loaded here, so that the others are measured where it is missing."""
    xooai: Any = importlib.import_module("xooai")
    clients: dict[int, Any] = {}

    def send(port: int, path: Path) -> str:
        if port not in clients:
            clients[port] = xooai.Executor(f"{scheme}://127.0.0.1:{port}/payload")
        return str(clients[port].post("put", doc=xooai.File(ref=str(path)), timeout=600)).removeprefix("sha256:")

    return send


@dataclass
class Way:
    """One line of the table."""

    key: str
    name: str
    program: str
    module: str
    arguments: tuple[str, ...]
    send: Callable[[str], Send]


class Apart:
    """A caller in a process of its own, with the Python that has its client: paths go to it, signatures come back."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._child: subprocess.Popen[str] | None = None

    def __call__(self, port: int, path: Path) -> str:
        if self._child is None:
            command = [self._python, str(SERVERS / "payload_jina.py"), "client", str(port)]
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        print(path, file=self._child.stdin, flush=True)
        return self._child.stdout.readline().strip()

    @property
    def pid(self) -> int:
        return os.getpid() if self._child is None else self._child.pid

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()


WAYS = (
    Way("bare", "limit: bare ASGI on uvicorn, from aiohttp", "payload_limit", "uvicorn", (), lambda _: bare),
    Way("http", "xooai over HTTP", "xooai_payload", "xooai", ("http",), lambda _: by_xooai("http")),
    Way("grpc", "xooai over gRPC", "xooai_payload", "xooai", ("grpc",), lambda _: by_xooai("grpc")),
    Way("fastapi", "FastAPI, UploadFile, from aiohttp", "payload_fastapi", "fastapi", (), lambda _: fastapi),
    Way("bentoml", "BentoML, Path, from aiohttp", "payload_bentoml", "bentoml", (), lambda _: bentoml),
    Way("jina", "Jina, bytes in a document, over gRPC", "payload_jina", "jina", (), Apart),
)


class Peak:
    """The most memory of a process, from here on."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._idle = self._read("VmRSS")
        (self._folder / "clear_refs").write_text("5")

    def growth(self) -> float:
        """MiB above what it had."""
        return (self._read("VmHWM") - self._idle) / 1024

    def _read(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))


@dataclass
class Contestant:
    way: Way
    port: int
    process: psutil.Process
    send: Send
    first: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)

    def tree(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def turn(self, path: Path) -> None:
        for one in self.tree():
            one.resume()
        wanted = signed(path)
        peaks = [Peak(one.pid) for one in self.tree()]
        own = Peak(self.send.pid if isinstance(self.send, Apart) else os.getpid())
        began = time.perf_counter()
        found = self.send(self.port, path)
        self.first.append(time.perf_counter() - began)
        if found != wanted:
            raise SystemExit(f"{self.way.name} answered {found[:200]!r}, not {wanted}")
        self.server.append(sum(peak.growth() for peak in peaks))
        self.client.append(own.growth())
        began = time.perf_counter()
        self.send(self.port, path)
        self.again.append(time.perf_counter() - began)
        for one in self.tree():
            one.suspend()


@contextlib.contextmanager
def up(way: Way, python: str, core: int, cache: str) -> Iterator[Contestant]:
    port, send = free_port(), way.send(python)
    child = subprocess.Popen(
        [python, str(SERVERS / f"{way.program}.py"), str(port), *way.arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "XOOAI_CACHE": cache},
    )
    try:
        process = psutil.Process(child.pid)
        process.cpu_affinity([core])
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or child.poll() is not None:
                    raise SystemExit(f"{way.name} does not start") from None
                time.sleep(0.1)
        time.sleep(1)
        yield Contestant(way, port, process, send)
    finally:
        if isinstance(send, Apart):
            send.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def size_of(text: str) -> int:
    return int(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else int(text)


def main() -> None:
    """Measure and print the tables."""
    parser = Options(__doc__, [way.key for way in WAYS], seconds=0, rounds=5)
    parser.add_argument("--sizes", default="1M,16M,256M", help="of the file (default: 1M,16M,256M)")
    parser.add_argument("--python", type=peers.pair, action="append", default=[], metavar="PEER=PATH")
    given = parser.parse_args()
    end_when_terminated()
    core, own = cores()
    os.sched_setaffinity(0, {own})
    chosen = [way for way in WAYS if way.key in given.only or way.key == "bare"]
    print(f"{report.machine()}; {given.rounds} rounds\n", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="payload-"))
    os.environ["XOOAI_CACHE"] = str(folder / "client")
    try:
        with contextlib.ExitStack() as stack:
            contestants = []
            for way in chosen:
                python = peers.interpreter(way.module, dict(given.python))
                if python is None:
                    print(f"without {way.key}: {peers.missing(way.module)}", file=sys.stderr)
                    continue
                one = stack.enter_context(up(way, python, core, str(folder / way.key)))
                contestants.append(one)
                for process in one.tree():
                    process.suspend()
            for size in map(size_of, given.sizes.split(",")):
                _measure(contestants, folder / "content.bin", size, given)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(contestants: Sequence[Contestant], path: Path, size: int, given: argparse.Namespace) -> None:
    with path.open("wb") as file:
        for place in range(0, size, STEP):
            file.write(os.urandom(min(STEP, size - place)))
    for one in contestants:
        one.first, one.again, one.server, one.client = [], [], [], []
    for _ in range(given.rounds):
        for one in contestants:
            with path.open("r+b") as file:  # new to everybody
                file.write(os.urandom(16))
            time.sleep(SETTLED)
            one.turn(path)
    limit = contestants[0]
    header = (
        "",
        "seconds",
        "rate against the limit",
        "spread ± %",
        "MiB/s",
        "again, ms",
        "again, % of first",
        "server's MiB",
        "client's MiB",
    )
    rows = [
        (
            one.way.name,
            f"{median(one.first):.3f}",
            f"{report.ratio(limit.first, one.first):.2f}",
            f"{report.spread(one.first):.0f}",
            f"{size / MIB / median(one.first):,.0f}",
            f"{1000 * median(one.again):.1f}",
            f"{100 * median(one.again) / median(one.first):.1f}",
            f"{max(one.server):.0f}",
            f"{max(one.client):.0f}",
        )
        for one in contestants
    ]
    print(f"{size / MIB:g} MiB\n\n{report.table(header, rows, given.markdown)}\n", flush=True)


if __name__ == "__main__":
    main()
