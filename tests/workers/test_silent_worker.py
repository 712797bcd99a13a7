"""What a server tells of itself while one of its workers says nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest
from supervised import PATIENCE, PROGRAM, running

from scraping import report

pytest.importorskip("uvicorn", reason="it comes with: pip install -e '.[http]'")

JSON = {"content-type": "application/json"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system stops no process"),
]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_worker_that_does_not_answer_is_named() -> None:
    with running([str(PROGRAM), "http://127.0.0.1:0", "2"], XOOAI_HUNG="60") as program:
        url = program.urls[0]
        before = report(url)
        pids: dict[str, int] = {}
        while len(pids) < 2:
            with urlopen(Request(f"{url}/faulty/who", b"{}", JSON), timeout=PATIENCE) as answer:
                who = json.load(answer)
            pids[who["number"]] = int(who["pid"])
        with stopped(pids["2"]):
            during = report(url)
        after = report(url)

        assert [one["process"]["worker"] for one in before["answers"]] == ["1", "2"]
        assert (before["missing"], during["missing"], after["missing"]) == ([], ["2"], [])
        assert [one["worker"] for one in during["workers"]] == ["1"]
        assert program.end(signal.SIGTERM) == 0
