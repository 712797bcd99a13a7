"""Workers in a container: one that takes more memory than there is, and a supervisor that is process 1."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from supervised import PATIENCE, PROGRAM, Program, running
from worker_load import Notes
from worker_losses import LOST, REPLACED, at_a_worker, lost_among_calls, stays
from worker_program import Faulty

from xooai import Unavailable

pytest.importorskip("uvicorn")
pytest.importorskip("grpc")
pytest.importorskip("aioquic")
pytestmark = pytest.mark.system

GROUPS = {Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes", Path("/sys/fs/cgroup"): "memory.max"}
"""Where groups with a limit of their own are, in version 1 and in version 2, and the file that says it."""
ROOM = 64 * 1024 * 1024  # bytes that a worker may take beside what it has
DRIVERS = pytest.mark.parametrize("driver", [0, 1, 2], ids=["http", "grpc", "quic"])


@contextmanager
def group() -> Iterator[Path]:
    """A group of processes that have so much room together; those in it go back when it ends."""
    made, limit = _made()
    try:
        (made / limit).write_text(str(ROOM))
        with suppress(OSError):  # where there is swap it is no way out
            (made / "memory.swap.max").write_text("0")
        yield made
    finally:
        for pid in (made / "cgroup.procs").read_text().split():
            with suppress(OSError):  # it has ended
                (made.parent / "cgroup.procs").write_text(pid)
        made.rmdir()


def _made() -> tuple[Path, str]:
    """A group, and its file with the limit."""
    for place, limit in GROUPS.items():
        made = place / f"xooai-{os.getpid()}"
        with suppress(OSError):
            made.mkdir()
            if (made / limit).exists():
                return made, limit
            made.rmdir()
    pytest.skip("needs a file system of cgroups that may be written")


@DRIVERS
def test_a_worker_that_takes_more_memory_than_there_is_fails_its_own_calls_and_is_replaced(
    program: Program, driver: int, pace: float
) -> None:
    with group() as limited, ExitStack() as stack:
        url = program.urls[driver]
        found: defaultdict[str, list[Faulty]] = defaultdict(list)
        while len(found) < 2 or max(map(len, found.values())) < 2:  # two of one worker, and one of the other
            client = stack.enter_context(Faulty.at(url, retry=0))
            found[client.post(on="who", metadata=stays())["pid"]].append(client)
        (other, (others, *_)), (victim, (its, devourer, *_)) = sorted(found.items(), key=lambda one: len(one[1]))
        (limited / "cgroup.procs").write_text(victim)
        with ThreadPoolExecutor() as threads:
            survives = threads.submit(others.post, on="wait", seconds=2, metadata=stays())
            fails = threads.submit(its.post, on="wait", seconds=60, metadata=stays())
            with pytest.raises(Unavailable):
                devourer.post(on="devour", metadata=stays())
            ended = time.monotonic()
            with pytest.raises(Unavailable):
                fails.result(PATIENCE)
            assert time.monotonic() - ended < LOST * pace
            program.until("was ended by SIGKILL")
            program.until("is ready after")
            assert time.monotonic() - ended < REPLACED * pace
            assert survives.result(PATIENCE) == other
        with Faulty.at(url) as client:
            assert client.post(on="who")["pid"] != victim


@DRIVERS
@pytest.mark.slow
@pytest.mark.parametrize("on", ["work", "work_again"])
def test_at_the_promised_load_just_the_calls_of_the_worker_fail_that_may_not_run_again(
    program: Program, notes: Path, driver: int, on: str
) -> None:
    with group() as limited:

        async def devours(client: Faulty) -> None:
            pid = (await client.apost(on="who", metadata=stays()))["pid"]
            (limited / "cgroup.procs").write_text(pid)
            await at_a_worker(client, on="devour")

        lost = lost_among_calls(program, driver, devours, on)

    if on == "work":
        lost.takes_its_own(Notes(notes))
    else:
        lost.takes_none_that_may_run_again(Notes(notes))
    assert lost.replaced < REPLACED
    assert program.end(signal.SIGTERM) == 0
    assert "was ended by SIGKILL" in program.said()


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
