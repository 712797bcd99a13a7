"""Workers in a container: one that takes more memory than there is, and a supervisor that is process 1."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from supervised import PATIENCE, PROGRAM, running
from worker_program import Faulty

from xooai import Unavailable

pytest.importorskip("uvicorn")
pytest.importorskip("grpc")
pytestmark = pytest.mark.system

GROUPS = {Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes", Path("/sys/fs/cgroup"): "memory.max"}
"""Where groups with a limit of their own are, in version 1 and in version 2, and the file that says it."""
ROOM = 64 * 1024 * 1024  # bytes that a worker may take beside what it has
PACE = 3.0  # times that a busy machine may take


@contextmanager
def group() -> Iterator[Path]:
    """A group of processes that have so much room together; those in it go back when it ends."""
    for place, limit in GROUPS.items():
        made = place / f"xooai-{os.getpid()}"
        with suppress(OSError):
            made.mkdir()
            try:
                (made / limit).write_text(str(ROOM))
                with suppress(OSError):  # where there is swap it is no way out
                    (made / "memory.swap.max").write_text("0")
                yield made
                return
            finally:
                made.rmdir()
    pytest.skip("needs a file system of cgroups that may be written")


@pytest.mark.parametrize("driver", [0, 1], ids=["http", "grpc"])
def test_a_worker_that_takes_more_memory_than_there_is_fails_its_own_calls_and_is_replaced(driver: int) -> None:
    urls = "http://127.0.0.1:0,grpc://127.0.0.1:0"
    with running([str(PROGRAM), urls, "2"]) as program, group() as limited, ExitStack() as clients:
        program.until("is ready after", times=2)
        url = program.urls[driver]
        found: dict[str, Faulty] = {}
        while len(found) < 2:  # a client for each worker
            client = clients.enter_context(Faulty.at(url, retry=0))
            found.setdefault(client.post(on="who")["pid"], client)
        (victim, its), (other, others) = found.items()
        (limited / "cgroup.procs").write_text(victim)
        with ThreadPoolExecutor() as threads:
            survives = threads.submit(others.post, on="wait", seconds=2)
            fails = threads.submit(its.post, on="wait", seconds=60)
            with pytest.raises(Unavailable):
                its.post(on="devour")
            ended = time.monotonic()
            with pytest.raises(Unavailable):
                fails.result(PATIENCE)
            assert time.monotonic() - ended < 1 * PACE
            program.until("was ended by SIGKILL")
            program.until("is ready after")
            assert time.monotonic() - ended < 2 * PACE
            assert survives.result(PATIENCE) == other
        with Faulty.at(url) as client:
            assert client.post(on="who")["pid"] != victim


def test_a_supervisor_that_is_process_1_ends_in_good_order() -> None:
    """Signals that have no handler do nothing to process 1, and whoever has lost its parent becomes its child."""
    apart = (
        "import os, sys; os.execvp('unshare', 'unshare --pid --fork --mount-proc --kill-child'.split() + sys.argv[1:])"
    )
    with running(["-c", apart, sys.executable, str(PROGRAM), "http://127.0.0.1:0", "2"]) as program:
        program.until("is ready after", times=2)
        outside = program.process.pid
        first = int(Path(f"/proc/{outside}/task/{outside}/children").read_text())
        assert Path(f"/proc/{first}/status").read_text().partition("NSpid:")[2].split("\n")[0].split()[-1] == "1"
        with ThreadPoolExecutor() as threads, Faulty.at(program.urls[0]) as client:
            before = client.post(on="who")["pid"]
            call = threads.submit(client.post, on="wait", seconds=1)
            time.sleep(0.3)  # on its way: that it has begun there, nobody tells
            os.kill(first, signal.SIGTERM)

            assert call.result(PATIENCE) == before
            assert program.process.wait(PATIENCE) == 0
