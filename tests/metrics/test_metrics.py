"""What a server has counted: calls over every driver, in a form that Prometheus reads, by names that callers cannot make up."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.client import HTTPConnection
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import pytest

from authority import Authority
from everywhere import served
from grpc_poller import poller
from scraping import OPENMETRICS, get, report, sample, text
from xooai import Executor, Flow, InvalidArgument, ResourceExhausted, Text, Unavailable, post, stream
from xooai.metadata import TIMEOUT_HEADER
from xooai.metrics.process import Process
from xooai.metrics.report import Calls, Counted, merged, newest
from xooai.timed import STAGES

pytest.importorskip("uvicorn", reason="it comes with: pip install -e '.[http]'")
pytest.importorskip("prometheus_client", reason="it comes with: pip install -e '.[http]'")

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

__all__ = ["poller"]

PATIENCE = 20.0  # seconds
JSON = {"content-type": "application/json"}
_numbers = count(1)


class Counting(Executor):
    """What is counted is of the whole process: each test has an executor with a name of its own."""

    def __init__(self) -> None:
        super().__init__(name=f"counting_{next(_numbers)}")
        self.entered = threading.Event()
        self.leave = threading.Event()

    @post
    def echo(self, doc: Text) -> Text:
        return doc

    @post
    async def fail(self, how: str) -> str:
        if how == "argument":
            raise InvalidArgument("no")
        raise RuntimeError("secret")

    @post
    def wait(self) -> str:
        self.entered.set()
        assert self.leave.wait(PATIENCE)
        return "done"

    @post(limit=1, queue=1)
    def narrow(self) -> str:
        assert self.leave.wait(PATIENCE)
        return "done"

    @post
    async def forever(self) -> str:
        self.entered.set()
        await asyncio.sleep(PATIENCE)
        return "never"

    @stream
    async def repeat(self, items: AsyncIterator[str]) -> AsyncIterator[str]:
        async for item in items:
            yield item

    @post(batch_size=2, batch_wait=5.0)
    async def shout(self, item: list[str]) -> list[str]:
        return [one.upper() for one in item]

    @post(cache="1m")
    def kept(self, number: int) -> int:
        return number


@pytest.fixture
def counting() -> Iterator[Counting]:
    with Counting() as executor:
        yield executor
        executor.leave.set()


@pytest.fixture
def url(counting: Counting) -> str:
    return counting.start("http://127.0.0.1:0")[0]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["http", "grpc", "quic", "memory"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def over(scheme: str, counting: Counting, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Served over one of the drivers."""
    return served(counting, scheme, request, monkeypatch)


@pytest.fixture
def seen() -> Iterator[str]:
    """Where what this process has counted is seen over HTTP, whatever else is served in it."""
    with Counting() as other:
        yield other.start("http://127.0.0.1:0")[0]


def test_calls_are_counted_by_endpoint_driver_and_code(over: str, scheme: str, counting: Counting, seen: str) -> None:
    caller = Executor(f"{over}/{counting.name}" if scheme != "memory" else over)

    caller.post(on="echo", doc=Text(value="x"))
    caller.post(on="echo", doc=Text(value="x"))
    for how in ("argument", "other"):
        with pytest.raises(Exception, match=r"no|the handler failed"):
            caller.post(on="fail", how=how)

    of = {"executor": counting.name, "driver": scheme}
    assert sample(seen, "xooai_calls_total", endpoint="echo", code="OK", **of) == 2
    assert sample(seen, "xooai_calls_total", endpoint="fail", code="INVALID_ARGUMENT", **of) == 1
    assert sample(seen, "xooai_calls_total", endpoint="fail", code="INTERNAL", **of) == 1
    assert sample(seen, "xooai_call_seconds_count", endpoint="echo", **of) == 2
    assert sample(seen, "xooai_received_bytes_total", endpoint="echo", **of) > 0
    assert sample(seen, "xooai_sent_bytes_total", endpoint="echo", **of) > 0
    assert sample(seen, "xooai_calls_under_way", **of) == 0


def test_calls_within_the_process_are_counted_as_local(counting: Counting, url: str) -> None:
    counting.post(on="echo", doc=Text(value="x"))

    assert sample(url, "xooai_calls_total", executor=counting.name, endpoint="echo", driver="local") == 1


def test_the_nodes_of_a_flow_are_calls_too(counting: Counting) -> None:
    flow = Flow(name=f"flow_of_{counting.name}")
    flow.add(use=counting, on="echo", id="first")
    flow.add(use=counting, on="echo", id="second", needs=("first",))
    with flow:
        url = flow.start("http://127.0.0.1:0")[0]
        Executor(f"{url}/{flow.name}").post(on="call", doc=Text(value="x"))

        assert sample(url, "xooai_calls_total", executor=flow.name, endpoint="call", driver="http") == 1
        assert sample(url, "xooai_calls_total", executor=counting.name, endpoint="echo", driver="local") == 2
        stages = {stage: sample(url, "xooai_stage_seconds_sum", executor=flow.name, stage=stage) for stage in STAGES}
        assert max(stages, key=lambda stage: stages[stage]) == "handle"


def test_a_path_that_callers_make_up_is_no_label(counting: Counting, url: str) -> None:
    for number in range(50):
        connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
        connection.request("POST", f"/{counting.name}/made_up_{number}", body=b"{}")
        assert connection.getresponse().status == 404
        connection.close()

    told = text(url)
    assert "made_up" not in told
    assert sample(url, "xooai_calls_total", executor="-", endpoint="-", driver="http", code="NOT_FOUND") >= 50


def test_what_streams_is_counted_with_its_bytes(counting: Counting, url: str) -> None:
    async def talk() -> list[str]:
        async with Executor(f"{url}/{counting.name}").open(on="repeat") as call:
            await call.send("x" * 1000)
            await call.end()
            return [item async for item in call]

    assert asyncio.run(talk()) == ["x" * 1000]

    of = {"executor": counting.name, "endpoint": "repeat"}
    assert sample(url, "xooai_calls_total", code="OK", **of) == 1
    assert sample(url, "xooai_received_bytes_total", **of) >= 1000
    assert sample(url, "xooai_sent_bytes_total", **of) >= 1000


def test_a_call_under_way_is_told_as_such(counting: Counting, url: str) -> None:
    caller = threading.Thread(target=lambda: Executor(f"{url}/{counting.name}").post(on="wait"))
    caller.start()
    assert counting.entered.wait(PATIENCE)

    assert sample(url, "xooai_calls_under_way", executor=counting.name, endpoint="wait") == 1
    counting.leave.set()
    caller.join()
    assert sample(url, "xooai_calls_under_way", executor=counting.name, endpoint="wait") == 0


def test_a_client_that_leaves_is_a_cancelled_call(counting: Counting, url: str) -> None:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    connection.request("POST", f"/{counting.name}/forever", body=b"{}", headers=JSON)
    assert counting.entered.wait(PATIENCE)
    connection.close()

    until(lambda: sample(url, "xooai_calls_total", executor=counting.name, endpoint="forever", code="CANCELLED") == 1)


def test_a_deadline_that_passes_is_counted_as_one(counting: Counting, url: str) -> None:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    connection.request("POST", f"/{counting.name}/forever", body=b"{}", headers={**JSON, TIMEOUT_HEADER: "50"})
    assert connection.getresponse().status == 504
    connection.close()

    assert of_code(url, counting, "forever") == {"DEADLINE_EXCEEDED": 1}


def test_the_stages_of_calls_are_told_to_prometheus_and_not_to_callers(counting: Counting, url: str) -> None:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    connection.request("POST", f"/{counting.name}/echo", body=b'{"doc":{"value":"x"}}', headers=JSON)
    response = connection.getresponse()
    response.read()
    connection.close()

    assert response.getheader("server-timing") is None
    for stage in STAGES:
        assert sample(url, "xooai_stage_seconds_count", executor=counting.name, endpoint="echo", stage=stage) == 1


def test_of_many_calls_at_once_the_stages_of_some_are_timed(counting: Counting, url: str) -> None:
    for _ in range(300):
        counting.post(on="kept", number=1)

    timed = sample(url, "xooai_stage_seconds_count", executor=counting.name, endpoint="kept", stage="handle")
    assert timed >= 1
    [calls] = [one for one in report(url)["calls"] if (one["executor"], one["endpoint"]) == (counting.name, "kept")]
    assert timed <= 1 + 2 * max(calls["seconds"], 0.01) * 100  # one in ten milliseconds, and the time between calls


def test_batches_are_counted_by_size_and_by_why_they_left(counting: Counting, url: str) -> None:
    remote = Executor(f"{url}/{counting.name}")
    assert remote.post(on="shout", item=["a", "b", "c", "d"]) == ["A", "B", "C", "D"]

    of = {"executor": counting.name, "endpoint": "shout"}
    assert sample(url, "xooai_batches_total", reason="full", **of) >= 1
    assert sample(url, "xooai_batch_items_sum", **of) == 4
    assert sample(url, "xooai_batch_items_count", **of) == sample(url, "xooai_batches_total", **of)
    assert sample(url, "xooai_queue_waiting", queue="batch", **of) == 0


def test_calls_that_wait_and_calls_that_are_refused_are_counted(counting: Counting, url: str) -> None:
    of = {"executor": counting.name, "endpoint": "narrow"}

    def call() -> None:
        try:
            Counting.at(f"{url}/{counting.name}", retry=0).post(on="narrow")
        except ResourceExhausted:
            pass

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()

    until(lambda: sample(url, "xooai_refusals_total", reason="full", **of) == 1)
    until(lambda: sample(url, "xooai_queue_waiting", queue="calls", **of) == 1)
    assert sample(url, "xooai_calls_under_way", **of) == 2
    counting.leave.set()
    for caller in callers:
        caller.join()
    assert sample(url, "xooai_queue_waiting", queue="calls", **of) == 0
    assert sample(url, "xooai_calls_total", code="RESOURCE_EXHAUSTED", **of) == 1
    assert sample(url, "xooai_calls_total", code="OK", **of) == 2


def test_a_call_that_a_client_makes_anew_is_counted(seen: str) -> None:
    before = sample(seen, "xooai_retries_total", reason="UNAVAILABLE")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        caller = Counting.at(f"http://127.0.0.1:{nobody.getsockname()[1]}", retry=1)
        with pytest.raises(Unavailable):
            caller.post(on="echo", doc=Text(value="x"))

    assert sample(seen, "xooai_retries_total", reason="UNAVAILABLE") == before + 1


def test_calls_with_an_idempotency_key_are_counted(counting: Counting, url: str) -> None:
    remote = Executor(f"{url}/{counting.name}")
    for _ in range(3):
        remote.post(on="echo", doc=Text(value="x"), metadata={"idempotency-key": "once"})

    of = {"executor": counting.name, "endpoint": "echo"}
    assert sample(url, "xooai_idempotency_total", result="ran", **of) == 1
    assert sample(url, "xooai_idempotency_total", result="answered", **of) == 2


def test_kept_replies_are_counted(counting: Counting, url: str) -> None:
    remote = Executor(f"{url}/{counting.name}")
    for number in (1, 1, 1, 2):
        remote.post(on="kept", number=number)

    of = {"executor": counting.name, "endpoint": "kept"}
    assert sample(url, "xooai_result_cache_total", result="hits", **of) == 2
    assert sample(url, "xooai_result_cache_total", result="misses", **of) == 2


def test_both_formats_are_read_by_prometheus_own_client(counting: Counting, url: str) -> None:
    counting.post(on="echo", doc=Text(value="x"))

    status, headers, plain = get(url, "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    names = {family.name for family in read_text(plain.decode())}
    status, headers, openmetrics = get(url, "/metrics", accept=OPENMETRICS)
    assert headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"

    found: Any = read_openmetrics(openmetrics.decode())  # type: ignore[no-untyped-call]
    assert {family.name for family in found} == names
    assert {"xooai_calls", "xooai_call_seconds", "xooai_stage_seconds", "process_resident_memory_bytes"} <= names


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("application/openmetrics-text;q=0", "text/plain"),
        ("application/openmetrics-text;version=1.0.0;q=0.0,text/plain;q=0.5", "text/plain"),
        ("application/openmetrics-text;q=0.3,text/plain;q=0.5", "text/plain"),
        (
            "Application/OpenMetrics-Text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.3",
            "application/openmetrics-text",
        ),
        ("*/*", "text/plain"),
        ("text/html", "text/plain"),
    ],
)
def test_the_format_is_the_one_that_is_wanted_most(url: str, accept: str, form: str) -> None:
    assert get(url, "/metrics", accept=accept)[1]["content-type"].partition(";")[0] == form


@pytest.mark.parametrize("path", ["/metrics", "/status.json"])
def test_no_browser_takes_what_is_counted_for_a_page(url: str, path: str) -> None:
    headers = get(url, path)[1]

    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.system
def test_promtool_finds_nothing_to_say(counting: Counting, url: str) -> None:
    counting.post(on="echo", doc=Text(value="x"))

    promtool = shutil.which("promtool") or "promtool"
    told = subprocess.run([promtool, "check", "metrics"], input=text(url), capture_output=True, text=True, check=False)

    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_what_is_asked_otherwise_is_answered_as_other_pages_are(url: str) -> None:
    assert get(url, "/metrics", "HEAD")[2] == b""
    assert get(url, "/metrics", "POST")[0] == 405
    assert get(url, "/status.json")[1]["content-type"] == "application/json"
    assert get(url, "/metrics")[1]["cache-control"] == "no-store"


def test_the_figures_of_the_process_are_right(url: str) -> None:
    [worker] = report(url)["workers"]

    assert worker["worker"] == "0"
    assert abs(worker["files"] - len(os.listdir("/proc/self/fd"))) < 20
    assert 10_000_000 < worker["memory"] < 10_000_000_000
    assert worker["cpu"] > 0


def test_several_processes_are_one_answer() -> None:
    def told(worker: str, calls: int) -> Counted:
        one = Calls("reader", "read", "http", {"OK": calls}, 1, 0.5, [calls, 0], 10, 20)
        return Counted(Process(worker, 1.0, 2.0, 3), [one])

    found = merged([told("1", 2), told("0", 3)], 5.0)

    assert found.calls == [Calls("reader", "read", "http", {"OK": 5}, 2, 1.0, [5, 0], 20, 40)]
    assert [process.worker for process in found.workers] == ["0", "1"]


def test_of_a_worker_and_its_successor_the_newer_is_told_of() -> None:
    old, new, other = (
        Counted(Process(worker, started, 2.0, 3)) for worker, started in (("1", 1.0), ("1", 9.0), ("2", 1.0))
    )

    assert newest([new, other, old]) == [new, other]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_child_of_a_fork_begins_to_count_at_nothing() -> None:
    code = (
        "import msgspec, os\n"
        "from xooai import Executor, Text, post\n"
        "from xooai.metrics import counted\n"
        "class Echo(Executor):\n"
        "    @post\n"
        "    def echo(self, doc: Text) -> Text: return doc\n"
        "e = Echo()\n"
        "e.post(on='echo', doc=Text(value='x'))\n"
        "calls = lambda: sum(one['codes'].get('OK', 0) for one in msgspec.msgpack.decode(counted())['calls'])\n"
        "print(calls(), flush=True)\n"
        "if os.fork() == 0:\n"
        "    print(calls(), flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.split() == ["1", "0"]


def until(condition: Callable[[], Any]) -> Any:
    """What `condition` gives as soon as it is something."""
    end = threading.Event()
    for _ in range(int(PATIENCE / 0.02)):
        if found := condition():
            return found
        end.wait(0.02)
    raise AssertionError("it did not come about")


def of_code(url: str, executor: Executor, endpoint: str) -> dict[str, int]:
    return {
        code: number
        for one in report(url)["calls"]
        if (one["executor"], one["endpoint"]) == (executor.name, endpoint)
        for code, number in one["codes"].items()
    }
