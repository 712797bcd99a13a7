"""Large contents pass through little memory, on both sides."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from payload_server import Large, signature_of

from xooai import File

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to see what a process holds"),
]

MIB = 1024 * 1024
SIZE = 256 * MIB
MOST = (64 + 8) * MIB  # that a process may hold more than when it is idle


class Side:
    """A process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the most that it has held so far is forgotten (proc(5))
        self._idle = self._held("VmRSS")

    @property
    def grown(self) -> int:
        """Bytes that it held at most, more than when it was idle."""
        return self._held("VmHWM") - self._idle

    def _held(self, what: str) -> int:
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("large") / "content"
    with path.open("wb") as file:
        for _ in range(SIZE // MIB):
            file.write(os.urandom(MIB))
    yield path
    path.unlink()


@pytest.fixture(params=["http", "grpc"])
def server(request: pytest.FixtureRequest, tmp_path: Path, large: Path) -> Iterator[tuple[str, int]]:
    command = [sys.executable, str(Path(__file__).with_name("payload_server.py")), f"{request.param}://127.0.0.1:0"]
    environment = {**os.environ, "XOOAI_CACHE": str(tmp_path / "server")}
    with subprocess.Popen(
        [*command, str(large)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid


def test_a_large_content_passes_through_little_memory(server: tuple[str, int], large: Path, tmp_path: Path) -> None:
    """There, and back by ranges, and back as a whole."""
    url, pid = server
    with large.open("rb") as file:
        wanted = hashlib.file_digest(file, "sha256").hexdigest()
    (tmp_path / "small").write_bytes(b"to connect, and load what is loaded once")
    with Large.at(url, timeout=300) as client:
        client.take(doc=File(ref=str(tmp_path / "small")))
        here, there = Side(os.getpid()), Side(pid)
        assert client.take(doc=File(ref=str(large))) == wanted
        assert max(here.grown, there.grown) <= MOST, (here.grown // MIB, there.grown // MIB)

        reply = client.give()
        assert reply.size == SIZE
        assert signature_of(reply) == wanted
        with reply.path().open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == wanted
        assert max(here.grown, there.grown) <= MOST, (here.grown // MIB, there.grown // MIB)
