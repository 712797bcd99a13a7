"""A server that is told to stop while it still sets up."""

import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")

SLOW = """
import asyncio
from xooai import Executor, post

class Slow(Executor):
    async def setup(self):
        print("setting up", flush=True)
        await asyncio.sleep(60)

    @post
    async def ask(self) -> None: ...

    def close(self):
        print("closed", flush=True)

with Slow() as slow:
    slow.serve("http://127.0.0.1:0")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_setup_ends_the_server_at_once_with_the_reason(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stderr is not None
        assert server.stdout.readline() == b"setting up\n"
        told = time.monotonic()
        server.send_signal(number)
        server.wait(timeout=10)
        assert time.monotonic() - told < 2
        assert server.stdout.read() == b"closed\n"
        assert server.stderr.read().decode() == f"{number.name} came before the server was ready; nothing was served\n"
        assert server.returncode == 128 + number  # as shells tell it
