"""Several processes serve at the same ports: each for itself, and replaced when it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from supervised import PATIENCE, PROGRAM, Program, calling, running
from worker_program import Faulty

from scraping import report, sample
from xooai import Executor, InvalidArgument, Unavailable, XooaiError, post, serve

pytest.importorskip("uvicorn")
grpc = pytest.importorskip("grpc")
health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
health_pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")


EVERYWHERE = "http://127.0.0.1:0,grpc://127.0.0.1:0,quic://127.0.0.1:0"


class Holder(Executor):
    def __init__(self, model: object = None) -> None:
        super().__init__()
        self.model = model

    @post
    def nothing(self) -> None: ...


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    with running([str(PROGRAM), "http://127.0.0.1:0,grpc://127.0.0.1:0", "2"]) as found:
        yield found


def everyone(url: str, count: int = 2) -> dict[str, dict[str, str]]:
    """Who answers at a URL, by number, once so many do: each call by a connection of its own."""
    found: dict[str, dict[str, str]] = {}
    until = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < until, f"only {found} answered"
        with Faulty.at(url) as client:
            told = client.post(on="who")
            found[told["number"]] = told
    return found


def test_each_worker_has_its_number_and_its_device(program: Program) -> None:
    found = everyone(program.urls[0])

    assert {number: told["device"] for number, told in found.items()} == {"1": "cpu:0", "2": "cpu:1"}
    assert len({told["pid"] for told in found.values()}) == 2


def test_a_worker_may_ask_all_others(program: Program) -> None:
    found = everyone(program.urls[0])
    with Faulty.at(program.urls[0]) as client:
        answers = client.post(on="asked")
        (states,) = client.post(on="states")

    assert sorted(answers) == sorted(told["pid"] for told in found.values())
    assert [one["state"] for one in json.loads(states)] == ["ready", "ready"]


def test_whichever_is_asked_tells_what_all_have_counted(program: Program) -> None:
    pytest.importorskip("prometheus_client")
    url = program.urls[0]
    everyone(url)
    told = report(url)

    assert {worker["worker"] for worker in told["workers"]} == {"1", "2"}
    assert [(slot["number"], slot["state"], slot["device"]) for slot in told["slots"]] == [
        (1, "ready", "cpu:0"),
        (2, "ready", "cpu:1"),
    ]
    counted = [sample(url, "xooai_calls_total", executor="faulty", endpoint="who", worker=one) for one in ("1", "2")]
    assert min(counted) >= 1
    assert sample(url, "xooai_worker_ready", worker="2", device="cpu:1") == 1
    assert sum(
        sum(one["codes"].values()) for one in told["calls"] if (one["executor"], one["endpoint"]) == ("faulty", "who")
    ) == sum(counted)


def asked(connection: HTTPConnection, on: str, **arguments: object) -> None:
    """Begin a call; `answered` ends it."""
    connection.request("POST", f"/faulty/{on}", json.dumps(arguments), {"content-type": "application/json"})


def answered(connection: HTTPConnection) -> Any:
    return json.load(connection.getresponse())


def test_connections_go_to_the_worker_that_has_less_to_do(program: Program) -> None:
    place = program.urls[0].partition("//")[2]
    busy: dict[str, list[HTTPConnection]] = {}
    with ExitStack() as stack:

        def connected() -> tuple[HTTPConnection, str]:
            connection = stack.enter_context(closing(HTTPConnection(place, timeout=PATIENCE)))
            asked(connection, "who")
            return connection, answered(connection)["pid"]

        until = time.monotonic() + PATIENCE
        while max(map(len, busy.values()), default=0) < 4:
            assert time.monotonic() < until
            one, pid = connected()
            busy.setdefault(pid, []).append(one)
        victim = max(busy, key=lambda pid: len(busy[pid]))
        for connection in busy[victim]:
            asked(connection, "wait", seconds=2)
        for connection in (one for pid, others in busy.items() if pid != victim for one in others):
            connection.close()
        in_a_row = 0  # the first may come before those calls have begun, which nobody tells
        while in_a_row < 30:
            assert time.monotonic() < until
            in_a_row = 0 if connected()[1] == victim else in_a_row + 1
        late = [answered(connection) for connection in busy[victim]]

    assert late == [victim] * 4


@pytest.mark.parametrize("driver", [0, 1], ids=["http", "grpc"])
def test_a_killed_worker_fails_its_own_calls_at_once_and_is_replaced(program: Program, driver: int) -> None:
    url = program.urls[driver]
    with Faulty.at(url) as client, ThreadPoolExecutor(1) as threads:
        victim = client.post(on="who")
        call = threads.submit(client.post, on="wait", seconds=PATIENCE)
        time.sleep(0.2)  # on its way: that the call has begun there, nobody tells
        began = time.monotonic()
        os.kill(int(victim["pid"]), signal.SIGKILL)
        with pytest.raises(Unavailable):
            call.result(PATIENCE)
        seconds = time.monotonic() - began

    assert seconds < 1
    program.until(f"worker {victim['number']} of 2 is ready")
    assert everyone(url)[victim["number"]]["pid"] != victim["pid"]


def test_hanging_up_replaces_all_without_a_failed_call(program: Program) -> None:
    url = program.urls[0]
    before = everyone(url)
    failed: list[XooaiError] = []
    made: list[object] = []

    def call() -> None:
        try:
            made.append(client.post(on="who"))
        except XooaiError as error:
            failed.append(error)

    with Faulty.at(url, timeout=PATIENCE) as client, calling(call):
        program.process.send_signal(signal.SIGHUP)
        program.until("all 2 workers are new")

    assert not failed
    assert made
    assert not {told["pid"] for told in before.values()} & {told["pid"] for told in everyone(url).values()}


@pytest.mark.slow
def test_without_a_worker_who_asks_for_the_health_of_a_grpc_server_is_turned_away(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    with running([str(PROGRAM), "grpc://127.0.0.1:0", "1"], TEST_FAILS=str(broken)) as program:
        assert _health(program.urls[0]) == health_pb2.HealthCheckResponse.SERVING
        with Faulty.at(program.urls[0]) as client:
            pid = int(client.post(on="who")["pid"])
        broken.touch()
        os.kill(pid, signal.SIGKILL)
        program.until("no worker is up")
        with pytest.raises(grpc.RpcError) as refused:
            _health(program.urls[0])
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        broken.unlink()
        program.until("is ready after")
        assert _health(program.urls[0]) == health_pb2.HealthCheckResponse.SERVING

        assert program.end(signal.SIGTERM) == 0


def _health(url: str) -> int:
    with grpc.insecure_channel(url.removeprefix("grpc://"), [("grpc.use_local_subchannel_pool", 1)]) as channel:
        asked = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        return int(asked.status)


@pytest.mark.slow
def test_without_a_worker_the_server_is_not_ready_and_says_so(tmp_path: Path) -> None:
    pytest.importorskip("aioquic")
    broken = tmp_path / "broken"
    with running([str(PROGRAM), EVERYWHERE, "1"], TEST_FAILS=str(broken)) as program:
        trust = program.until("clients trust it by").split("'")[1]
        at = [partial(Faulty.at, url, trust=trust if "quic" in url else None, retry=0) for url in program.urls]
        with at[0]() as client:
            pid = int(client.post(on="who")["pid"])
        broken.touch()
        os.kill(pid, signal.SIGKILL)
        program.until("no worker is up")
        with pytest.raises(HTTPError) as refused:
            urlopen(f"{program.urls[0]}/readyz")
        refused.value.close()
        began = time.monotonic()
        for there in at:
            with there() as client, pytest.raises(Unavailable):
                client.post(on="who")
        assert time.monotonic() - began < PATIENCE / 2  # none is left to its deadline
        broken.unlink()
        program.until("is ready after")
        for there in at:
            with there() as client:
                assert client.post(on="who")["pid"] != str(pid)

        assert program.end(signal.SIGTERM) == 0

    assert refused.value.code == 503


def test_what_cannot_start_ends_the_program_with_one_line(tmp_path: Path) -> None:
    with running([str(PROGRAM), "http://127.0.0.1:0", "2"], TEST_FAILS="/") as program:
        code = program.process.wait(PATIENCE)
        said = program.said()

    assert code == 1
    assert program.urls == []
    assert re.search(r"cannot start: ValueError: no such model \(worker_program.py, line \d+\)$", said.rstrip())


@pytest.mark.parametrize(
    ("executor", "options", "message"),
    [
        (Holder(object()), {"workers": 2}, r"serve\(Holder, workers=...\)"),
        (Holder, {"workers": 0}, "it takes 1 to"),
        (Holder, {"workers": 2, "devices": ("",)}, "names no devices"),
        (Holder, {"workers": 2, "at": "memory://here"}, "leave out workers"),
    ],
    ids=["instance", "none", "device", "driver"],
)
def test_what_workers_cannot_serve_is_refused(executor: Executor, options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        serve(executor, **{"at": "http://127.0.0.1:0", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["soon", "0", "nan"])
def test_a_time_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XOOAI_HUNG", given)

    with pytest.raises(InvalidArgument, match=f"XOOAI_HUNG='{given}' is no number of seconds"):
        serve(Holder, at="http://127.0.0.1:0", workers=2)


def test_a_class_within_a_function_is_refused() -> None:
    class Local(Executor):
        @post
        def nothing(self) -> None: ...

    with pytest.raises(InvalidArgument, match="define the class at the top of a module"):
        serve(Local, at="http://127.0.0.1:0", workers=2)
