"""A file that has become invalid changes nothing for those who call: the server goes on by what it said before, and says so."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from supervised import Program, running
from worker_load import Call, Load

from authority import HERE, Authority

pytest.importorskip("uvicorn")
pytest.importorskip("grpc")
pytest.importorskip("aioquic")
pytest.importorskip("yaml")
pytestmark = pytest.mark.slow

URLS = "https://127.0.0.1:0", "grpcs://127.0.0.1:0", "quic://127.0.0.1:0"


@dataclass
class Files:
    """What a server has read."""

    executor: Path
    certificate: Path
    keys: Path
    key: str


@pytest.fixture
def files(authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Files:
    executor, keys = tmp_path / "faulty.yaml", tmp_path / "keys.json"
    executor.write_text("use: worker_program:Faulty\n")
    made = subprocess.run(
        [sys.executable, "-m", "xooai", "keys", "new", "--file", str(keys), "--tenant", "a", "--scope", "*"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.trust))
    monkeypatch.setenv("XOOAI_KEYS", str(keys))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
    return Files(executor, authority.signs("server", HERE).both, keys, made.stdout.strip())


@contextmanager
def serving(files: Files, *options: str) -> Iterator[Program]:
    urls = [part for url in URLS for part in ("--url", url)]
    given = [str(files.executor), "--module", "worker_program", "--certificate", str(files.certificate), *urls]
    with running(["-m", "xooai", "serve", *given, *options]) as found:
        assert len(found.urls) == len(URLS)
        yield found


def called_meanwhile(server: Program, files: Files, told: str) -> list[Call]:
    """Calls over all drivers, among which the server is told to read its files anew, until it has told something of it."""

    async def main() -> list[Call]:
        loads = [Load(url, 20, 5, key=files.key) for url in server.urls]
        running = [asyncio.create_task(load.run(6)) for load in loads]
        await asyncio.sleep(1)
        server.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(server.until, told)
        await asyncio.gather(*running)
        for load in loads:
            await load.over()
        return [call for load in loads for call in load.calls]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("certificate", "the renewed TLS files are not used, those before stay in use"),
        ("keys", "the keys stay as they are"),
    ],
)
def test_a_server_alone_goes_on_by_what_a_file_said_before(files: Files, notes: Path, file: str, told: str) -> None:
    with serving(files) as server:
        getattr(files, file).write_text("{")
        calls = called_meanwhile(server, files, told)
        assert server.end(signal.SIGTERM) == 0

    assert not [call.error for call in calls if call.error is not None]
    assert {call.by for call in calls} == {str(server.process.pid)}
    assert len(calls) == len(notes.read_text().split())


@pytest.mark.parametrize(
    ("file", "reason"),
    [("certificate", "server.pem"), ("keys", "keys.json"), ("executor", "faulty.yaml")],
)
def test_workers_go_on_where_their_successors_cannot_read_a_file(
    files: Files, notes: Path, file: str, reason: str
) -> None:
    path: Path = getattr(files, file)
    with serving(files, "--workers", "2") as server:
        whole = path.read_bytes()
        path.write_text("{")
        calls = called_meanwhile(server, files, "the workers are not replaced: worker 1 could not start")
        path.write_bytes(whole)
        server.process.send_signal(signal.SIGHUP)
        server.until("all 2 workers are new")
        assert server.end(signal.SIGTERM) == 0
        said = server.said()

    assert not [call.error for call in calls if call.error is not None]
    assert len({call.by for call in calls}) == 2
    assert len(calls) == len(notes.read_text().split())
    (why,) = [line for line in said.splitlines() if "worker 1 cannot start" in line]
    assert reason in why
