"""`xooai top` shows what a server does, on a terminal, in a pipe, and for programs, over every driver."""

from __future__ import annotations

import json
import os
import pty
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, pairwise
from typing import Any

import msgspec
import pytest
from bench_target import Ended, Target

from xooai import Text
from xooai.cli.top_answers import Answers
from xooai.cli.top_rates import Seen, between
from xooai.metrics.process import Process
from xooai.metrics.report import Batches, Calls, Count, Counted, Queue, Report, Slot, merged

PATIENCE = 60.0  # seconds: what hangs fails its test instead of stopping the run
SOON = ("--once", "--interval", "0.1s")
Command = Callable[..., Ended]


def report(now: float, calls: int, started: float = 0.0, **more: Any) -> Report:
    """That of a server with one process, whose calls take between 5 and 10 ms, and of which one in ten fails."""
    buckets = [0, 0, calls, 0]
    codes = {"OK": calls - calls // 10, "INTERNAL": calls // 10}
    found = Calls("reader", "read", "http", codes, 3, 0.007 * calls, buckets, 10 * calls, 20 * calls)
    own = Calls("xooai", "metrics", "http", {"OK": 1}, 1, 0.1, [0] * 4, 1, 1)
    processes = [Process("0", started, cpu=calls / 1000, threads=2, memory=2**20, files=10, file_limit=100)]
    lists: dict[str, Any] = {"slots": [], "stages": [], "batches": [], "queues": [], "counts": [], **more}
    return Report(now=now, workers=processes, calls=[found, own], bounds=[0.001, 0.005, 0.01], **lists)


def test_what_was_between_two_looks_is_told_by_the_second() -> None:
    seen = between(report(100.0, 1000), report(102.0, 1500))

    (one,) = seen.endpoints
    assert (one.rate, one.errors, one.total, one.under_way) == (250.0, {"INTERNAL": 25.0}, 1500, 3)
    assert (one.received, one.sent) == (2500.0, 5000.0)
    assert one.p50 == pytest.approx(0.0075)
    assert one.p99 == pytest.approx(0.00995)
    assert (seen.workers[0].cpu, seen.workers[0].age) == (0.25, 102.0)


def test_what_began_anew_is_not_below_nothing() -> None:
    seen = between(report(100.0, 1000), report(102.0, 100, started=101.0))

    assert (seen.endpoints[0].rate, seen.endpoints[0].errors, seen.workers[0].cpu) == (50.0, {"INTERNAL": 5.0}, 0.0)


def test_one_worker_of_several_that_is_replaced_is_no_burst_of_calls() -> None:
    before, after = report(100.0, 4000), report(102.0, 3000)
    before.workers.append(Process("1", 0.0, cpu=1.0, threads=2))
    after.workers.append(Process("1", 101.0, cpu=0.1, threads=2))

    seen = between(before, after)

    assert (seen.endpoints[0].rate, seen.endpoints[0].errors, seen.endpoints[0].received) == (0.0, {}, 0.0)


def test_a_clock_that_is_put_back_is_no_burst_of_calls() -> None:
    seen = between(report(100.0, 1000), report(40.0, 1010))

    assert (seen.endpoints[0].rate, seen.endpoints[0].total, seen.workers[0].cpu) == (0.0, 1010, 0.0)


def test_nothing_between_two_looks_has_no_percentiles() -> None:
    seen = between(report(100.0, 1000), report(102.0, 1000))

    assert (seen.endpoints[0].rate, seen.endpoints[0].p50, seen.endpoints[0].p99) == (0.0, None, None)


def test_batches_queues_and_counts_are_told() -> None:
    before = report(100.0, 10, batches=[Batches("reader", "read", {"full": 4}, 40, [])])
    after = report(
        101.0,
        10,
        batches=[Batches("reader", "read", {"full": 7, "idle": 1}, 60, [])],
        queues=[Queue("batch", "reader", "read", 5), Queue("threads", "", "", 2)],
        counts=[Count("refusals", "full", "reader", "read", 8)],
    )

    seen = between(before, after)

    (batching,) = seen.batches
    assert (batching.rate, batching.items, batching.reasons) == (4.0, 5.0, {"full": 0.75, "idle": 0.25})
    assert (seen.endpoints[0].waiting, seen.waiting) == (5, {"batch": 5, "threads": 2})
    assert seen.counts == {"refusals full": 8.0}


def test_calls_are_told_over_every_driver(top: Command, target: Target, anywhere: str) -> None:
    with Target.at(anywhere) as client:
        for _ in range(3):
            client.post(on="echo", doc=Text(value="a"))

    told = top(anywhere, *SOON, "--json").report

    found = {(one["executor"], one["endpoint"], one["driver"]): one["total"] for one in told["endpoints"]}
    assert found["target", "echo", anywhere.partition(":")[0]] >= 3
    assert "xooai" not in {executor for executor, _, _ in found}  # nobody wants to see that he looked
    assert len(told["workers"]) == 1


def test_a_pipe_gets_a_table(top: Command, url: str) -> None:
    with Target.at(url) as client:
        client.post(on="echo", doc=Text(value="a"))

    ended = top(url, *SOON)

    assert ended.code == 0
    assert url.removesuffix("/target") in ended.out
    assert "target/echo" in ended.out
    assert "1 process" in ended.out


@contextmanager
def stranger(answer: Callable[[], bytes | None]) -> Iterator[str]:
    """A server that is none of ours, which answers all by this; by status 404 where that is None. Gives its URL."""

    class Other(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            found = answer()
            if found is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        serving = threading.Thread(target=other.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{other.server_port}"
        finally:
            other.shutdown()
            serving.join()


def test_a_server_that_tells_nothing_is_said_in_one_line(top: Command) -> None:
    with stranger(lambda: None) as url:
        ended = top(url, *SOON)

    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "does not tell what it counts" in ended.err


def test_no_name_that_a_server_tells_moves_the_cursor(top: Command) -> None:
    evil = "[/red]\x1b[2J\x9b2J\u202e\nx"
    looks = count(1)

    def lie() -> bytes:
        number = next(looks)
        calls = [Calls(evil, evil, evil, {evil: number}, 1, 1.0, [number, 0], 1, 1)]
        batches, queues = [Batches(evil, evil, {evil: number}, number, [])], [Queue(evil, evil, evil, 5)]
        slots, processes = [Slot(1, evil, evil, 2)], [Process(evil, 1.0, 1.0, 1)]
        counts = [Count(evil, evil, evil, evil, number)]
        return msgspec.json.encode(
            Report(100.0 + number, processes, slots, calls, [], batches, queues, counts, bounds=[1.0])
        )

    with stranger(lie) as url:
        ended = top(url, *SOON)

    assert ended.code == 0, ended.err
    assert ended.out.count("\\x1b[2J\\x9b2J\\u202e x") >= 9
    assert not set(ended.out) & set("\x1b\x9b\u202e")


def test_no_name_in_lines_of_json_moves_the_cursor(top: Command) -> None:
    evil = "\x1b[2J\x7f\x9b2J\u202e\n"
    looks = count(1)

    def lie() -> bytes:
        number = next(looks)
        return msgspec.json.encode(report(100.0 + number, number, counts=[Count(evil, evil, evil, evil, number)]))

    with stranger(lie) as url:
        ended = top(url, "--json", *SOON)

    assert ended.code == 0, ended.err
    (line,) = ended.out.splitlines()
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["counts"] == {f"{evil} {evil}": 1.0}


@pytest.mark.parametrize(
    "told",
    [{"now": 1e300}, {"now": -1e18}, {"calls": [Calls("a", "b", "http", {}, 1, 1.0, [1, 2, 3, 4, 5, 6], 1, 1)]}],
    ids=["far off", "long ago", "buckets"],
)
def test_figures_that_make_no_sense_are_said_in_one_line(top: Command, told: dict[str, Any]) -> None:
    with stranger(lambda: msgspec.json.encode(msgspec.structs.replace(report(100.0, 10), **told))) as url:
        ended = top(url, *SOON)

    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "counts otherwise than this version" in ended.err


def test_another_version_in_the_place_of_a_server_is_compared_with_nothing() -> None:
    newer = report(102.0, 30)
    newer.bounds, newer.calls[0].buckets = [0.001, 0.01], [0, 30, 0]

    seen = between(report(100.0, 1000), newer)

    assert seen.endpoints[0].rate == 15.0
    assert seen.endpoints[0].p50 == pytest.approx(0.0055)


def test_nobody_there_is_said_in_one_line(top: Command) -> None:
    ended = top("http://127.0.0.1:9", *SOON)

    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)


def test_on_a_terminal_it_is_live_and_ends_by_a_key(url: str) -> None:
    pytest.importorskip("rich")
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"TERM": "xterm", "COLUMNS": "120", "LINES": "30"})
        os.execv(sys.executable, [sys.executable, "-m", "xooai", "top", url, "--interval", "0.1s"])
    late = threading.Timer(PATIENCE, os.kill, (pid, 9))
    late.start()
    seen = b""
    try:
        for wanted, key in ((b"by name", b"s"), (b"by calls/s", b"q")):
            while wanted not in seen:
                seen += os.read(terminal, 65536)
            os.write(terminal, key)
        code = _ended(pid, terminal)
    finally:
        late.cancel()
        late.join()

    assert code == 0
    assert b"process" in seen


def _ended(pid: int, terminal: int) -> int:
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # Linux tells so that the other side is closed
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def workers(now: float, *told: tuple[str, float, int, float], missing: tuple[str, ...] = ()) -> Report:
    """That of a server with several: of each its name, start, calls and when it answered."""
    answers = [
        Counted(Process(name, started, calls / 1000, 2), report(at, calls).calls, now=at)
        for name, started, calls, at in told
    ]
    slots = [Slot(number, "ready") for number in sorted(int(name) for name in (*(one[0] for one in told), *missing))]
    found = merged(answers, now, slots)
    assert found.missing == list(missing)
    return msgspec.structs.replace(found, bounds=[0.001, 0.005, 0.01])


def looks(*reports: Report) -> list[Seen]:
    """What `xooai top` makes of them, one after the other."""
    answers = Answers(reports[0])
    return [between(*answers.pair(before, after)) for before, after in pairwise(reports)]


def test_a_worker_that_misses_a_look_makes_no_rate_jump() -> None:
    def told(name: str, at: float) -> tuple[str, float, int, float]:
        return (name, 0.0, int(at * 100), at)  # 100 calls a second

    steady, without, back = looks(
        workers(100.0, told("1", 100.0), told("2", 100.0)),
        workers(102.0, told("1", 102.0), told("2", 102.0)),
        workers(104.0, told("1", 104.0), missing=("2",)),
        workers(106.0, told("1", 106.0), told("2", 106.0)),
    )

    assert [round(seen.endpoints[0].rate) for seen in (steady, without, back)] == [200, 100, 200]
    assert [seen.endpoints[0].total for seen in (steady, without, back)] == [20400, 20600, 21200]
    assert [seen.missing for seen in (steady, without, back)] == [[], ["2"], []]
    assert [round(one.cpu, 6) for one in back.workers] == [0.1, 0.1]


def test_a_worker_that_answers_late_is_compared_over_its_own_time() -> None:
    (seen,) = looks(
        workers(100.0, ("1", 0.0, 10_000, 100.0), ("2", 0.0, 10_000, 100.0)),
        workers(102.0, ("1", 0.0, 10_200, 102.0), ("2", 0.0, 10_290, 102.9)),
    )

    assert seen.endpoints[0].rate == pytest.approx(200.0)


def test_a_worker_that_was_replaced_counts_from_nothing_and_one_never_heard_of_not_at_all() -> None:
    (replaced,) = looks(
        workers(100.0, ("1", 0.0, 10_000, 100.0), ("2", 0.0, 10_000, 100.0)),
        workers(102.0, ("1", 0.0, 10_200, 102.0), ("2", 101.0, 100, 102.0)),
    )
    (unknown,) = looks(
        workers(100.0, ("1", 0.0, 10_000, 100.0), missing=("2",)),
        workers(102.0, ("1", 0.0, 10_200, 102.0), ("2", 0.0, 10_000, 102.0)),
    )

    assert replaced.endpoints[0].rate == pytest.approx(150.0)
    assert unknown.endpoints[0].rate == pytest.approx(100.0)
