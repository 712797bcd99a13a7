"""An executor in a process of its own answers as if there were none between, to the callers of all workers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from isolated_program import Front, Model
from supervised import PATIENCE, Program, calling, running

from scraping import get, report
from xooai import AlreadyExists, Flow, InvalidArgument, NotFound, Text, Unavailable, XooaiError, serve

pytest.importorskip("uvicorn")
pytest.importorskip("grpc")

PROGRAM = Path(__file__).with_name("isolated_program.py")
URLS = "http://127.0.0.1:0,grpc://127.0.0.1:0"
LARGE = 3_000_000  # characters: more than goes inline, or in one piece


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("isolated")


@pytest.fixture(scope="module")
def program(folder: Path) -> Iterator[Program]:
    (folder / "sockets").mkdir()
    told = {
        "TEST_MODELS": str(folder / "models"),
        "TMPDIR": str(folder / "sockets"),
        "XOOAI_IDEMPOTENCY": str(folder / "keys"),
    }
    with running([str(PROGRAM), URLS, "2", "model"], **told) as found:
        yield found


@pytest.fixture
def alone() -> Iterator[list[str]]:
    """The same executor, served by this process."""
    with Model(language="de") as model:
        yield model.start(*URLS.split(","))


def answers(url: str, file: Path) -> dict[str, Any]:
    """What calls of all shapes are answered with."""
    text = "a" * LARGE
    found: dict[str, Any] = {}
    with Model.at(url) as client:
        found["small"] = client.read(Text(value="some text"))
        found["large"] = client.read(Text(value=text))
        found["grown"] = [len(client.grow(size).read()) for size in (10, LARGE)]
        found["sent"] = client.read(Text(ref=str(file)))
        found["kept"] = len(client.kept(str(file)).read())
        found["count"] = list(client.post(on="numbers", to=3))
        found["total"] = client.total(iter(range(100)))
        found["double"] = [
            one.read() for one in client.stream("double", texts=iter([Text(value="a"), Text(value=text)]))
        ]
        for name in ("refuse", "fail", "break_off"):
            try:
                list(client.stream(name)) if name == "break_off" else client.post(on=name)
            except XooaiError as error:
                found[name] = type(error), error.message, error.details, bool(error.id)
        with pytest.raises(XooaiError) as caught:
            client.post(on="read", doc=7)
        found["unfit"] = caught.value.message
    return found


@pytest.mark.parametrize("place", [0, 1], ids=["http", "grpc"])
def test_an_isolated_executor_answers_as_any_other(
    program: Program, alone: list[str], place: int, tmp_path: Path
) -> None:
    file = tmp_path / "content"
    file.write_text("b" * LARGE)  # which is kept at the server, and not inline

    assert answers(program.urls[place], file) == answers(alone[place], file)


def test_an_isolated_executor_is_made_once_from_what_its_constructor_got(program: Program, folder: Path) -> None:
    with Model.at(program.urls[0]) as client:
        told = client.post(on="who")

    made = [str(program.process.pid), told["pid"]]  # the program's own one, which it gives to serve()
    assert (folder / "models").read_text().split() == made
    assert told["language"] == "de"


@pytest.mark.parametrize("place", [0, 1], ids=["http", "grpc"])
def test_an_isolated_executor_is_told_who_calls_and_with_what(program: Program, place: int) -> None:
    with Model.at(program.urls[place], metadata={"x-request-id": "given", "x-mine": "this"}, timeout=20) as client:
        told = client.post(on="who")

    assert told["peer"].startswith("127.0.0.1:")
    assert (told["id"], told["x-mine"]) == ("given", "this")
    assert 10 < float(told["remaining"]) < 21  # gRPC writes seconds in rounder numbers


class Connected:
    """One connection over HTTP, which one worker answers."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)

    def __enter__(self) -> Connected:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def post(self, path: str, **arguments: Any) -> Any:
        self._connection.request("POST", path, json.dumps(arguments), {"content-type": "application/json"})
        response = self._connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        return json.loads(body)


def one_of_each(url: str, stack: ExitStack) -> list[Connected]:
    """Connections to two workers."""
    found: dict[str, Connected] = {}
    until = time.monotonic() + PATIENCE
    while len(found) < 2:
        assert time.monotonic() < until, "one worker has all connections"
        one = stack.enter_context(Connected(url))
        found.setdefault(one.post("/front/pid"), one)
    return list(found.values())


def test_a_batch_is_made_of_the_calls_to_all_workers(program: Program) -> None:
    url = program.urls[0]
    with ExitStack() as stack, ThreadPoolExecutor(3) as threads, Model.at(url) as other:
        connections = one_of_each(url, stack)
        first = threads.submit(other.post, on="together", number=0)  # it keeps the others waiting
        until_waiting(url, "batch", 0)
        waiting = [threads.submit(one.post, "/model/together", number=1) for one in connections]
        until_waiting(url, "batch", 2)
        other.post(on="release")

        assert first.result(PATIENCE) == 1
        assert [one.result(PATIENCE) for one in waiting] == [2, 2]


def until_waiting(url: str, queue: str, count: int) -> None:
    until(lambda: [one["waiting"] for one in report(url)["queues"] if one["queue"] == queue] == [count])


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def until_still(note: Path) -> None:
    """Wait until what is told there changes no more."""
    before, now = "", note.read_text()
    while not now or now != before:
        time.sleep(0.2)
        before, now = now, note.read_text()


@pytest.mark.parametrize("place", [0, 1], ids=["http", "grpc"])
def test_a_call_whose_caller_leaves_is_cancelled_where_it_runs(program: Program, folder: Path, place: int) -> None:
    note = folder / f"left-{place}"

    async def leave() -> None:
        async with Model.at(program.urls[place]) as client:
            call = asyncio.ensure_future(client.apost("wait", seconds=60, note=str(note)))
            await asyncio.to_thread(until, note.exists)
            call.cancel()
            await asyncio.wait({call})
            await asyncio.to_thread(until, lambda: note.read_text() == "cancelled")

    asyncio.run(asyncio.wait_for(leave(), PATIENCE))


@pytest.mark.parametrize("place", [0, 1], ids=["http", "grpc"])
def test_a_stream_waits_for_its_caller(program: Program, folder: Path, place: int) -> None:
    note, size = folder / f"streamed-{place}", 64 * 1024

    async def look() -> None:
        async with (
            Model.at(program.urls[place]) as client,
            aclosing(client.astream("endless", note=str(note), size=size)) as items,
        ):
            await anext(items)
            await asyncio.to_thread(until_still, note)
            assert int(note.read_text()) * size < 64 * 1024 * 1024

    asyncio.run(asyncio.wait_for(look(), PATIENCE))


def test_each_process_is_told_of_among_the_workers(program: Program) -> None:
    asked(program.urls[0], "who")
    told = report(program.urls[0])

    assert [(slot["number"], slot["state"]) for slot in told["slots"]] == [(1, "ready"), (2, "ready"), (3, "ready")]
    assert {one["driver"] for one in told["calls"] if one["executor"] == "model"} >= {"http", "isolated"}


def when_up(url: str, on: str, **arguments: Any) -> Any:
    """What a client answers that makes a call anew itself.

    A client asks some times for a process that is not up yet, and a start takes as long as the machine lets it: so those
    that then give up are followed by another.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with Model.at(url, retry=10) as client:
                return client.post(on=on, **arguments)
        except Unavailable as error:
            if "is not up; it is started again" not in error.message or time.monotonic() > end:
                raise


def asked(url: str, on: str) -> Any:
    return when_up(url, on)


@pytest.mark.parametrize(("how", "told"), [("fails", NotFound), ("ends", AlreadyExists)])
@pytest.mark.parametrize("place", [0, 1], ids=["http", "grpc"])
def test_a_call_with_a_key_runs_once_however_that_ends(
    program: Program, tmp_path: Path, place: int, how: str, told: type[XooaiError]
) -> None:
    note, key = tmp_path / "note", {"idempotency-key": str(tmp_path)}
    for _ in range(3):
        with Model.at(program.urls[place]) as client, pytest.raises((told, Unavailable)) as caught:
            client.post(on="charge", note=str(note), how=how, metadata=key)
    assert caught.type is told
    assert note.read_text() == "ran\n"


def test_a_killed_process_fails_its_calls_at_once_and_is_replaced(program: Program, folder: Path) -> None:
    url, again = program.urls[0], folder / "again"
    notes = [folder / f"killed-{place}" for place in range(len(program.urls))]
    killed = asked(url, "who")["pid"]
    with ThreadPoolExecutor(1 + len(notes)) as threads, ExitStack() as clients:
        repeated = threads.submit(when_up, url, "once_more", note=str(again))
        until(again.exists)
        calls = []
        for its, note in zip(program.urls, notes, strict=True):
            client = clients.enter_context(Model.at(its, retry=10))
            calls.append(threads.submit(client.post, on="wait", seconds=60, note=str(note)))
            until(note.exists)
        os.kill(int(killed), signal.SIGKILL)
        began = time.monotonic()
        for call in calls:
            with pytest.raises(Unavailable, match="the process of the executor 'model' has ended") as caught:
                call.result(PATIENCE)
            assert caught.value.details["reason"] == "worker_lost"
        took = time.monotonic() - began
        with Front.at(url) as front:
            assert front.post(on="pid")
        assert repeated.result(2 * PATIENCE) != killed
    assert get(url, "/readyz")[0] == 200  # others still answer

    assert took < 1
    assert asked(url, "who")["pid"] != killed
    assert asked(program.urls[1], "who")["pid"] != killed


@pytest.mark.slow
def test_a_hangup_replaces_the_process_without_a_failed_call(program: Program) -> None:
    url = program.urls[0]
    before, failures, answered = asked(url, "who")["pid"], [], set()

    def ask(client: Any) -> None:
        try:
            answered.add(client.post(on="who")["pid"])
        except XooaiError as error:
            failures.append(error)

    with (
        Model.at(url, timeout=PATIENCE) as one,
        Model.at(url, timeout=PATIENCE) as other,
        calling(partial(ask, one), partial(ask, other)),
    ):
        program.process.send_signal(signal.SIGHUP)
        program.until("all 3 workers are new")

    assert not failures
    assert before in answered
    assert len(answered) == 2


def test_nothing_is_left_at_the_end(program: Program, folder: Path) -> None:
    slots = report(program.urls[0])["slots"]
    pids = [int(asked(program.urls[0], "who")["pid"])]
    (private,) = (folder / "sockets").glob("xooai-*")
    mode = private.stat().st_mode & 0o777

    assert program.end(signal.SIGTERM) == 0
    assert mode == 0o700
    assert len(slots) == 3
    assert not list((folder / "sockets").iterdir())
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_who_is_to_be_isolated_has_to_be_there() -> None:
    with pytest.raises(InvalidArgument, match=r"isolated='modle' names no executor; did you mean 'model'\?"):
        serve(Model, Front, isolated="modle")


def a_flow() -> Flow:
    flow = Flow(name="flow")
    flow.add(use=Front, on="pid", id="pid")
    return flow


@pytest.mark.parametrize(
    ("given", "isolated", "said"),
    [
        (
            (a_flow(),),
            "flow",
            "isolated='flow' is of executors, and only a Flow is given; serve the executors of its nodes apart",
        ),
        ((a_flow(),), True, "isolated=True is of executors, and only a Flow is given"),
        (
            (a_flow(), Model),
            True,
            "isolated=True is of executors, and a Flow is among those given; name some of: model",
        ),
        ((Model, Model), "model", "two executors are called 'model'; give one of them another name="),
        ((int,), "int", "serve() takes executors and Flows, or classes of them; <class 'int'> is none of these"),
        ((sys,), (), "serve() takes executors and Flows, or classes of them; <module 'sys'"),
        ((Model,), 3, "isolated=3 is neither True nor names of executors"),
    ],
    ids=["its name", "all", "all beside a Flow", "twice", "another class", "a module", "a number"],
)
def test_what_cannot_be_served_so_is_refused_before_anything_is_started(
    given: tuple[Any, ...], isolated: Any, said: str
) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(said)):
        serve(*given, at="http://127.0.0.1:0", workers=None if isolated == () else 2, isolated=isolated)


@pytest.mark.parametrize("none", ["isolated", "devices"])
def test_an_empty_list_is_as_none_said(tmp_path: Path, none: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from isolated_program import Model\nfrom xooai import serve\n"
        "if __name__ == '__main__':\n    serve(Model, at='http://127.0.0.1:0', "
        f"{none}=[])\n"
    )
    with running([str(program)], PYTHONPATH=os.pathsep.join([str(PROGRAM.parent), *sys.path])) as served:
        with Model.at(served.urls[0]) as client:
            assert client.post(on="who")["pid"] == str(served.process.pid)

        assert served.end(signal.SIGTERM) == 0
