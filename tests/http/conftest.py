"""Event loops for tests of HTTP, checked for what a test leaves behind; and a certificate."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop


def open_files() -> int:
    """Without what idle worker threads wait at: a loop that is left behind has sockets too."""
    found = 0
    for name in os.listdir("/proc/self/fd") if sys.platform == "linux" else ():
        with suppress(FileNotFoundError):  # the listing's own
            found += not os.readlink(f"/proc/self/fd/{name}").startswith("anon_inode:[event")
    return found


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine, on a loop of each kind. No task, file or unheard exception may be left at the end."""
    complaints: list[dict[str, Any]] = []

    async def settled(scenario: Coroutine[Any, Any, Any]) -> Any:
        """Let those tasks end that are about to: a server's handshakes with clients that have left."""
        result = await scenario
        for _ in range(100):
            if len(asyncio.all_tasks()) == 1:
                break
            await asyncio.sleep(0.01)
        return result

    request.param().close()  # libuv opens a pipe for the whole process with its first loop
    gc.collect()
    gc.freeze()  # what is there by now stays: to look at all of it again, twice a test, takes minutes in a whole run
    before = open_files()
    with asyncio.Runner(loop_factory=request.param) as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        yield lambda scenario: runner.run(settled(scenario))
        gc.collect()
        left = asyncio.all_tasks(runner.get_loop())
    gc.collect()
    assert (left, complaints) == (set(), [])
    assert open_files() <= before  # fewer, where a library closes in a thread of its own what an earlier test had


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key for 127.0.0.1, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("tls")
    pem = folder / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=test"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
    subprocess.run(command.split() + files, check=True, capture_output=True)
    pem.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    return pem


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context
