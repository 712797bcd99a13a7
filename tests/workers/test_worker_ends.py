"""How workers end, and how those fare that are being started, when signals, disks and files of keys are not as they should be."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from supervised import PATIENCE, PROGRAM, running
from worker_program import Faulty

from xooai import XooaiError

pytest.importorskip("uvicorn")
pytestmark = pytest.mark.slow

ANY = "http://127.0.0.1:0"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def status(url: str) -> int:
    try:
        with urlopen(f"{url}/readyz", timeout=PATIENCE) as answer:
            found: int = answer.status
            return found
    except HTTPError as refused:
        refused.close()
        return refused.code
    except (URLError, OSError):
        return 0


def until_status(url: str, wanted: int) -> None:
    until = time.monotonic() + PATIENCE
    while status(url) != wanted:
        assert time.monotonic() < until, f"{url}/readyz is not {wanted}"
        time.sleep(0.05)


def test_what_closes_for_longer_than_a_loop_may_stand_still_is_not_taken_for_stuck(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    with running([str(PROGRAM), ANY, "1"], TEST_CLOSED=str(closed), XOOAI_HUNG="1.5") as program:
        code = program.end(signal.SIGTERM)
        said = program.said()

    assert "hangs" not in said
    assert closed.exists()
    assert code == 0


def test_a_disk_that_is_full_for_what_is_printed_ends_nothing() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Path("/dev/full").open("w") as full:
        program = subprocess.Popen([sys.executable, str(PROGRAM), url, "1"], stdout=full, stderr=full)
        try:
            until_status(url, 200)
            for _ in range(2):  # the second one was started while nothing could be printed, and is looked after, too
                with Faulty.at(url) as client:
                    pid = client.post(on="who")["pid"]
                    os.kill(int(pid), signal.SIGKILL)
                until = time.monotonic() + PATIENCE
                while True:
                    assert time.monotonic() < until
                    try:
                        with Faulty.at(url, timeout=1) as client:
                            if client.post(on="who")["pid"] != pid:
                                break
                    except XooaiError:
                        time.sleep(0.05)
            program.send_signal(signal.SIGTERM)

            assert program.wait(PATIENCE) == 0
        finally:
            program.kill()
            program.wait()


def test_hanging_up_while_one_is_to_be_started_later_leaves_one_in_its_place(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    with running([str(PROGRAM), ANY, "1"], TEST_FAILS=str(broken)) as program:
        with Faulty.at(program.urls[0]) as client:
            pid = int(client.post(on="who")["pid"])
        broken.touch()
        os.kill(pid, signal.SIGKILL)
        program.until("it is started again in 3.2 s")
        broken.unlink()
        program.process.send_signal(signal.SIGHUP)
        program.until("all 1 workers are new")
        time.sleep(3.2)  # when it would have been started
        program.process.send_signal(signal.SIGHUP)
        program.until("all 1 workers are new")
        with Faulty.at(program.urls[0]) as client:
            assert len(client.post(on="asked")) == 1

        assert program.end(signal.SIGTERM) == 0
        assert program.said().count("is ready after") == 3


def test_what_a_worker_is_at_is_told_while_it_loads() -> None:
    """The second keeps its loop from running meanwhile."""
    with running([str(PROGRAM), ANY, "2"], TEST_SETUP="12") as program:
        assert program.end(signal.SIGTERM) == 0
        said = program.said()

    for number in (1, 2):
        assert re.search(rf"worker {number} of 2 still loads after \d\d s: faulty is set up, 1 of 1\n", said)
        assert re.search(rf"worker {number} of 2 is ready after \d\d\.\d s\n", said)


def test_hanging_up_once_more_gives_up_a_successor_that_never_becomes_ready(tmp_path: Path) -> None:
    loads = tmp_path / "loads"
    with running([str(PROGRAM), ANY, "1"], TEST_LOADS=str(loads)) as program:
        with Faulty.at(program.urls[0]) as client:
            before = client.post(on="who")["pid"]
        loads.touch()
        program.process.send_signal(signal.SIGHUP)
        program.until("loads", times=2)
        time.sleep(1)  # until it has come so far
        loads.unlink()
        program.process.send_signal(signal.SIGHUP)
        program.until("all 1 workers are new")
        with Faulty.at(program.urls[0]) as client:
            assert client.post(on="who")["pid"] != before
            assert len(client.post(on="asked")) == 1

        assert program.end(signal.SIGTERM) == 0


def test_workers_come_back_once_a_broken_file_of_keys_is_mended(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    command = [sys.executable, "-m", "xooai", "keys", "new", "--file", str(keys), "--tenant", "a", "--scope", "*"]
    subprocess.run(command, check=True, capture_output=True)
    whole = keys.read_bytes()
    with running([str(PROGRAM), ANY, "1"], XOOAI_KEYS=str(keys)) as program:
        worker = next(iter(children(program.process.pid)))
        keys.write_text("{")
        os.kill(worker, signal.SIGKILL)
        program.until("cannot start", times=3)
        keys.write_bytes(whole)
        program.until("is ready after")
        until_status(program.urls[0], 200)

        assert program.end(signal.SIGTERM) == 0


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_signal_to_the_whole_group_is_one_to_the_supervisor() -> None:
    with running([str(PROGRAM), ANY, "2"], TEST_DELAY="2") as program:
        for one in [*children(program.process.pid), program.process.pid]:  # as service managers do, in any order
            os.kill(one, signal.SIGTERM)
            time.sleep(0.05)
        began = time.monotonic()
        until_status(program.urls[0], 503)
        with Faulty.at(program.urls[0]) as client:
            while time.monotonic() < began + 1.5:
                client.post(on="who")
                assert status(program.urls[0]) == 503

        assert program.process.wait(PATIENCE) == 0


def test_an_interruption_of_all_that_is_being_started_shows_no_traceback() -> None:
    for milliseconds in range(50, 450, 100):
        started = subprocess.Popen(
            [sys.executable, str(PROGRAM), ANY, "2"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert started.stderr is not None
        with started, started.stderr:
            said = started.stderr.readline()
            assert "loads" in said
            time.sleep(milliseconds / 1000)
            os.killpg(started.pid, signal.SIGINT)
            said += started.stderr.read()

        assert started.returncode in (0, 130)
        assert "Traceback" not in said


def test_workers_that_load_end_with_their_supervisor(tmp_path: Path) -> None:
    loads = tmp_path / "loads"
    loads.touch()
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), ANY, "1"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TEST_LOADS": str(loads)},
    ) as started:
        assert started.stderr is not None
        assert "loads" in started.stderr.readline()
        time.sleep(2)  # until it has come so far
        began = time.monotonic()
        started.kill()
        started.stderr.read()  # to the end, which is when the worker has ended, too

    assert time.monotonic() - began < 10


def test_a_worker_imports_nothing_from_where_its_program_was_started(tmp_path: Path) -> None:
    (tmp_path / "selectors.py").write_text("raise SystemExit('not this one')\n")
    program = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE.format(folder=str(PROGRAM.parent))],
        cwd=tmp_path,
        env={**os.environ, "TEST_FAILS": "/"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert "no such model" in program.stderr


_ELSEWHERE = """
import sys

sys.path[0] = {folder!r}
from worker_program import Faulty

from xooai import serve

serve(Faulty, at="http://127.0.0.1:0", workers=1)
"""


def test_a_worker_whose_supervisor_has_ended_before_a_word_ends_without_one() -> None:
    ours, its = socket.socketpair()
    with its:
        ours.close()
        ended = subprocess.run(
            [sys.executable, "-m", "xooai.workers", str(its.fileno())],
            pass_fds=[its.fileno()], capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
