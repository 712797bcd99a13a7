"""Flows that fail: one error that says where and why, the rest is cancelled, and nobody works for a caller that is gone."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from xooai import (
    DeadlineExceeded,
    Executor,
    FailedPrecondition,
    Flow,
    FlowError,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Text,
    Unavailable,
    XooaiError,
    current,
    post,
    stream,
)
from xooai.flow.planning import AWAY

Put = Callable[[Executor], dict[str, Any]]
PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run
DOC = Text(value="x")


class Troubled(Executor):
    """Tells what was begun, what was cancelled, and fails as it is asked to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.waits = threading.Event()
        self.cancelled = threading.Event()
        self.failures = 0

    @post
    async def fail(self, doc: Text) -> Text:
        self.begun.append("fail")
        await asyncio.to_thread(self.waits.wait, PATIENCE)
        raise NotFound("there is no such page")

    @post
    def crash(self, doc: Text) -> Text:
        raise ZeroDivisionError("the secret of the handler")

    @post
    async def wait(self, doc: Text) -> Text:
        self.waits.set()
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return doc

    @post
    async def defy(self, doc: Text) -> Text:
        try:
            await self.wait(doc)
        except asyncio.CancelledError:
            return doc
        return doc

    @post
    async def echo(self, doc: Text) -> Text:
        self.begun.append("echo")
        return doc

    @post
    async def slow(self, doc: Text) -> Text:
        self.begun.append("slow")
        await asyncio.sleep(0.3)
        return doc

    @post
    async def busy(self, doc: Text, times: int = 2, reason: str = "load", after: float = 0) -> Text:
        self.begun.append("busy")
        if len(self.begun) <= times:
            raise ResourceExhausted("come back", reason=reason, retry_after=after)
        return doc


def test_the_first_failure_cancels_the_rest_and_says_where_it_was(put: Put) -> None:
    troubled = Troubled()
    there = put(troubled)
    f = Flow().add(**there, on="wait", id="waits").add(**there, on="fail", id="fails")
    f.add(**there, on="echo", id="after", needs=("fails", "waits"))

    with f:
        began = time.monotonic()
        with pytest.raises(NotFound) as told:
            f.post(doc=DOC)
        assert time.monotonic() - began < PATIENCE / 2
        assert troubled.cancelled.wait(PATIENCE)

    assert troubled.begun == ["fail"]
    error = told.value
    host = there["use"].rpartition("/")[0] if isinstance(there["use"], str) else ""
    assert error.details == {"node": "fails", "endpoint": "troubled/fail", "host": host}
    where = f"at {host}" if host else "in process"
    assert re.fullmatch(
        rf"node 'fails' \(troubled/fail {re.escape(where)}\) failed: there is no such page \(request [0-9a-f-]+\)",
        error.message,
    )
    assert isinstance(error.__cause__, XooaiError)


@pytest.mark.parametrize("followers", [1, 2])
@pytest.mark.parametrize("first", ["fail", "defy"])
@pytest.mark.filterwarnings("error")
def test_a_node_that_goes_on_when_it_is_told_to_end_is_followed_by_none(first: str, followers: int) -> None:
    troubled = Troubled()
    f = Flow()
    for on in sorted(("fail", "defy"), key=lambda on: on != first):
        f.add(use=troubled, on=on, id=on)
    for number in range(followers):
        f.add(use=troubled, on="echo", id=str(number), needs="defy")

    with f, pytest.raises(NotFound, match="node 'fail'"):
        f.post(doc=DOC)
    gc.collect()  # what was never awaited is told of

    assert troubled.cancelled.is_set()
    assert troubled.begun == ["fail"]


def test_a_crash_is_an_internal_error_under_the_id_of_the_log(put: Put, caplog: pytest.LogCaptureFixture) -> None:
    there = put(Troubled())

    with Flow().add(**there, on="crash", id="node") as f, pytest.raises(Internal) as told:
        f.post(doc=DOC)

    assert told.value.id is not None
    assert told.value.id in told.value.message
    assert any(told.value.id in record.getMessage() for record in caplog.records)
    assert "secret" not in told.value.message


def test_a_crash_in_process_has_its_cause() -> None:
    with Troubled() as troubled, Flow().add(use=troubled, on="crash") as f, pytest.raises(Internal) as told:
        f.post(doc=DOC)

    causes: list[BaseException | None] = [told.value]
    while causes[-1] is not None:
        causes.append(causes[-1].__cause__)
    assert isinstance(causes[-2], ZeroDivisionError)
    assert not any(isinstance(cause, BaseExceptionGroup) for cause in causes)


def test_a_condition_and_a_join_that_raise_name_their_node(caplog: pytest.LogCaptureFixture) -> None:
    def raises(*_: Any) -> Any:
        raise KeyError("secret")

    for name in ("when", "join"):
        wrong: dict[str, Any] = {name: raises}
        f = Flow().add(use=lambda doc: doc, id="a").add(use=lambda doc: doc, id="b", needs="a", **wrong)
        with f, pytest.raises(Internal, match=rf"node 'b' .* failed: its {name}= raised.*request") as told:
            f.post(doc=DOC)
        assert told.value.id is not None
        assert any(told.value.id in record.getMessage() for record in caplog.records)
        assert "secret" not in told.value.message


STOPS: dict[str, type[BaseException]] = {
    "a cancellation": asyncio.CancelledError,
    "an exit": SystemExit,
    "a closed generator": GeneratorExit,
}
"""What stops a task or a program, and may be raised by whatever a function awaits."""


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("where", ["when", "join", "use"])
@pytest.mark.parametrize("first", ["a", "b"])
def test_what_would_stop_a_task_is_a_failure_of_its_node(stop: str, where: str, first: str) -> None:
    async def raises(doc: Text) -> Text:
        raise STOPS[stop]

    wrong = {"use": raises} if where == "use" else {"use": lambda doc: doc, where: raises}
    f = Flow().add(use=lambda doc: doc, id="start")
    for id in ("a", "b") if first == "a" else ("b", "a"):  # one goes on in the task of "start", the other in its own
        more: dict[str, Any] = wrong if id == "b" else {"use": lambda doc: doc}
        f.add(id=id, needs="start", **more)

    with f, pytest.raises(Internal, match="node 'b' .* failed"):
        f.post(doc=DOC, timeout=PATIENCE)


def test_an_item_that_raises_what_would_stop_a_task_is_a_failure_of_its_node() -> None:
    async def stop(doc: int) -> int:
        if doc == 3:
            raise GeneratorExit
        return doc

    f = Flow().add(use=lambda doc: list(range(6)), id="l").add(use=stop, id="n", needs="l", each=True)
    with f, pytest.raises(Internal, match="node 'n' .* failed"):
        f.post(doc=DOC, timeout=PATIENCE)


@pytest.mark.parametrize("stop", STOPS)
def test_an_item_of_a_stream_that_raises_what_would_stop_a_task_is_a_failure_of_its_node(stop: str) -> None:
    class Items(Executor):
        @stream
        async def three(self) -> AsyncIterator[int]:
            for number in range(3):
                yield number

        @post
        async def stops(self, x: int) -> int:
            if x == 1:
                raise STOPS[stop]
            return x

    with Items() as items:
        f = Flow().add(use=items, on="three", id="a").add(use=items, on="stops", id="b", needs="a")
        with f, pytest.raises(Internal, match="node 'b'"):
            list(f.stream(timeout=PATIENCE))
        f = Flow().add(use=items, on="three", id="a")
        with f.add(use=items, on="stops", id="b", needs="a", optional=True):
            assert list(f.stream(timeout=PATIENCE)) == [0, 2]


def test_what_a_node_refuses_of_the_input_is_the_callers_and_of_another_node_is_not() -> None:
    def number(doc: int) -> int:
        return doc

    with Flow().add(use=number) as f, pytest.raises(InvalidArgument) as refused:
        f.post(doc="three")

    assert refused.value.errors[0]["loc"] == ("doc",)

    f = Flow().add(use=lambda doc: "three", id="a").add(use=number, id="b", needs="a")
    with f, pytest.raises(Internal, match=r"node 'b' \(number in process\) .* given of 'a': doc: Input should be"):
        f.post(doc=DOC)  # it is no mistake in this


class Opaque:
    """What has no form on the wire."""


UNSENDABLE: dict[str, Any] = {
    "an object": Opaque(),
    "an object in a list": [Opaque()],
    "half a character": "\ud800",
    "an integer of 71 bits": 2**70,
    "too deep": [[]],
}
for _ in range(70):
    UNSENDABLE["too deep"] = [UNSENDABLE["too deep"]]


def anything(doc: Any) -> str:
    return "was called"


@pytest.mark.parametrize("given", UNSENDABLE)
@pytest.mark.parametrize("how", ["as it is", "each", "by a peer"])
def test_a_join_that_gives_what_cannot_be_sent_is_not_the_callers_mistake(given: str, how: str) -> None:
    f = Flow(name="f").add(use=Troubled, on="echo", id="a")
    value = UNSENDABLE[given]
    join = (lambda a: [1, value]) if how == "each" else lambda a: value
    f.add(use=anything, id="b", needs="a", join=join, each=how == "each")
    with f:
        if how != "by a peer":
            with pytest.raises(Internal, match=r"node 'b' .* it does not take what it was given of 'a'"):
                f.post(doc=DOC)
            return
        f.start("memory://flow")
        with Executor("memory://flow/f") as client, pytest.raises(Internal, match="given of 'a'"):
            client.post(doc=DOC)


def test_names_that_a_server_cannot_read_are_not_the_callers_mistake() -> None:
    class Counts(Executor):
        @post
        def count(self, by_name: dict[bool, int]) -> int:
            return len(by_name)

    with Counts() as counts:
        (url,) = counts.start("memory://counts")
        f = Flow().add(use=Troubled, on="echo", id="a")
        f.add(use=f"{url}/counts/count", id="b", needs="a", join=lambda a: {True: 1})
        with f, pytest.raises(Internal, match="given of 'a'"):
            f.post(doc=DOC)


def test_what_a_node_itself_refuses_stays_the_callers_mistake() -> None:
    def refuses(doc: Text) -> Text:
        raise InvalidArgument("no such word")

    with (
        Flow().add(use=Troubled, on="echo", id="a").add(use=refuses, id="b", needs="a") as f,
        pytest.raises(InvalidArgument, match="no such word"),
    ):
        f.post(doc=DOC)


def test_a_flow_inside_of_another_tells_both_nodes() -> None:
    with Troubled() as troubled:
        inner = Flow(name="inner").add(use=troubled, on="crash", id="deep")
        with inner, Flow().add(use=inner, id="outer") as f, pytest.raises(Internal) as told:
            f.post(doc=DOC)

    text = told.value.message
    assert "node 'outer' (inner/call in process) failed: node 'deep' (troubled/crash in process) failed" in text
    assert text.count("(request ") == 1


def test_a_server_that_is_away_is_told_by_its_node() -> None:
    pytest.importorskip("uvicorn", reason="calling needs httptools; it comes with: pip install -e '.[http]'")

    with Flow().add(use="http://127.0.0.1:1/a/b", id="gone") as f:
        for call in (f.check, lambda: f.post(doc=DOC)):
            with pytest.raises(Unavailable, match=r"node 'gone' \(a/b at http://127.0.0.1:1\)"):
                call()


def test_a_server_that_never_said_what_it_takes_is_told_of_as_one_that_did(serve: Callable[[Any], str]) -> None:
    class Asks(Executor):
        @post
        async def ask(self, doc: Text) -> Text:
            inner = Flow(name="inner").add(use="http://127.0.0.1:1/a/b", id="gone")
            return await Flow().add(use=inner, id="middle").apost(doc=doc)  # type: ignore[no-any-return]

    asks = Asks()
    with pytest.raises(Unavailable) as here:
        asks.post(doc=DOC)
    with Executor(serve(asks)) as client, pytest.raises(Unavailable) as outside:
        client.post(doc=DOC)

    assert "node 'middle' (inner): node 'gone' (a/b at http://127.0.0.1:1): cannot connect" in here.value.message
    assert here.value.details == {"node": "middle", "endpoint": "inner", "host": ""}
    assert outside.value.message == ("node 'middle' (inner): node 'gone' (a/b): its server did not say what it takes")
    assert outside.value.details == {"node": "middle", "endpoint": "inner"}


def test_a_client_of_a_served_flow_learns_of_no_server_behind_it(serve: Callable[[Any], str], put: Put) -> None:
    troubled = Troubled()
    troubled.waits.set()
    there = put(troubled)
    inner = Flow(name="inner").add(**there, on="fail", id="deep")
    outer = Flow(name="outer").add(use=inner, id="middle")

    with inner, Executor(serve(outer)) as client:
        with pytest.raises(NotFound) as here:
            outer.post(doc=DOC)
        with pytest.raises(NotFound) as outside:
            client.post(doc=DOC)
        troubled.stop()
        gone = isinstance(there["use"], str)
        with pytest.raises(Unavailable if gone else NotFound) as away:
            client.post(doc=DOC)

    host = there["use"].rpartition("/")[0] if gone else "in process"
    assert host in here.value.message
    assert outside.value.details == away.value.details == {"node": "middle", "endpoint": "inner/call"}
    assert re.fullmatch(
        r"node 'middle' \(inner/call\) failed: node 'deep' \(troubled/fail\) failed: there is no such page \(request .*\)",
        outside.value.message,
    )
    told = str([outside.value, away.value, outside.value.details, away.value.details])
    assert host.partition("://")[2] not in told if gone else host not in told


def test_an_executor_that_cannot_be_made_is_told_by_its_node() -> None:
    class Model(Executor):
        def __init__(self, error: Exception) -> None:
            raise error

        @post
        def echo(self, doc: Text) -> Text:
            return doc

    for error, kind, reason in [
        (ValueError("no such\nmodel"), FlowError, "cannot be set up: ValueError: no such model"),
        (Unavailable("no server of models"), Unavailable, "no server of models"),
    ]:
        with Flow().add(use=Model, with_={"error": error}, id="m") as f:
            for call in (partial(f.post, doc=DOC), partial(f.start, "http://127.0.0.1:0")):
                with pytest.raises(kind, match=reason) as told:
                    call()
                assert "node 'm'" in told.value.message


def test_the_first_item_that_fails_ends_the_others(put: Put) -> None:
    class Fails(Executor):
        def __init__(self) -> None:
            self.waiting, self.cancelled = threading.Event(), threading.Event()

        @post
        async def fail(self, doc: Text) -> Text:
            if doc.read() == "bad":
                await asyncio.to_thread(self.waiting.wait, PATIENCE)
                raise NotFound("no such word")
            self.waiting.set()
            try:
                await asyncio.sleep(PATIENCE)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return doc

    def split(doc: Text) -> list[Text]:
        return [Text(value=word) for word in doc.read().split()]

    fails = Fails()
    f = Flow().add(use=split).add(**put(fails), on="fail", id="each", needs="split", each=True)
    with f, pytest.raises(NotFound, match=r"node 'each' .* failed: no such word"):
        f.post(doc=Text(value="good bad"))

    assert fails.cancelled.wait(PATIENCE)


class Garbage(BaseHTTPRequestHandler):
    """A server that answers everything with what nobody understands."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/msgpack")
        self.send_header("content-length", "7")
        self.end_headers()
        self.wfile.write(b"garbage")

    def log_message(self, *_: Any) -> None:
        pass


def test_a_server_that_answers_garbage_is_told_by_its_node() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Garbage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with Troubled.at(f"http://127.0.0.1:{server.server_port}") as typed:
            for f in (
                Flow().add(use=typed, on="echo", id="node"),
                Flow().add(use=f"http://127.0.0.1:{server.server_port}/a/b", id="node"),
            ):
                with f, pytest.raises(XooaiError, match="node 'node'") as told:
                    f.post(doc=DOC, timeout=PATIENCE)
                assert not isinstance(told.value, InvalidArgument)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# Time


def test_the_deadline_is_that_of_the_whole(put: Put) -> None:
    troubled = Troubled()
    there = put(troubled)
    f = (
        Flow()
        .add(**there, on="slow", id="a")
        .add(**there, on="wait", id="b", needs="a")
        .add(**there, on="echo", needs="b")
    )

    with f:
        f.check()
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="'b'"):
            f.post(doc=DOC, timeout=1.5)
        assert 1.4 < time.monotonic() - began < PATIENCE / 2
        assert troubled.cancelled.wait(PATIENCE)

    assert troubled.begun == ["slow"]


def test_what_a_deadline_found_under_way_is_named_conditions_too() -> None:
    async def waits(doc: Any) -> bool:
        await asyncio.sleep(PATIENCE)
        return True

    f = Flow().add(use=lambda doc: doc, id="a").add(use=lambda doc: doc, id="b", needs="a", when=waits)
    with f, pytest.raises(DeadlineExceeded, match="had begun and not ended: 'b'"):
        f.post(doc=DOC, timeout=0.1)


def test_an_executor_that_takes_too_long_to_make_is_named() -> None:
    made = threading.Event()

    class Slow(Executor):
        def __init__(self) -> None:
            assert made.wait(PATIENCE)

        @post
        def echo(self, doc: Text) -> Text:
            return doc

    with Flow().add(use=lambda doc: doc, id="a").add(use=Slow, id="model", needs="a") as f:
        try:
            with pytest.raises(DeadlineExceeded, match=r"passed while node 'model' \(slow/echo\) was set up"):
                f.post(doc=DOC, timeout=0.1)
        finally:
            made.set()
        assert f.post(doc=DOC) == DOC


def test_a_deadline_goes_through_mixed_drivers(serve: Callable[[Any], str]) -> None:
    class Stage(Executor):
        def __init__(self, name: str) -> None:
            super().__init__(name=name)
            self.left: list[float | None] = []

        @post
        async def stage(self, doc: Text) -> Text:
            self.left.append(current().remaining)
            await asyncio.sleep(0.3)
            return doc

    first, second, third = Stage("first"), Stage("second"), Stage("third")
    with second, third:
        url = second.start("grpc://127.0.0.1:0")[0]
        f = Flow().add(use=f"{serve(first)}/stage", id="a").add(use=f"{url}/second/stage", id="b", needs="a")
        with f.add(use=third, id="c", needs="b"):
            f.check()
            with pytest.raises(DeadlineExceeded):
                f.post(doc=DOC, timeout=0.5)

    assert len(first.left) == len(second.left) == 1
    assert first.left[0] is not None and 0.3 < first.left[0] <= 0.5
    assert second.left[0] is not None and 0 < second.left[0] <= 0.2
    assert third.left == []


def test_what_has_no_time_left_is_not_begun(put: Put) -> None:
    troubled = Troubled()
    with Flow().add(**put(troubled), on="echo") as f:
        f.check()
        for timeout in (0, -1):
            with pytest.raises(DeadlineExceeded):
                f.post(doc=DOC, timeout=timeout)

    assert troubled.begun == []


def test_a_node_may_have_less_time_than_the_whole(put: Put) -> None:
    with Flow().add(**put(Troubled()), on="slow", id="a", timeout=0.05) as f:
        f.check()
        with pytest.raises(DeadlineExceeded, match="node 'a'"):
            f.post(doc=DOC, timeout=PATIENCE)


def test_a_caller_that_leaves_cancels_all_nodes(put: Put) -> None:
    troubled = Troubled()
    f = Flow().add(**put(troubled), on="wait")

    async def leave() -> None:
        await f.acheck()
        call = asyncio.create_task(f.apost(doc=DOC))
        assert await asyncio.to_thread(troubled.waits.wait, PATIENCE)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(troubled.cancelled.wait, PATIENCE)

    with f:
        asyncio.run(leave())


def test_a_client_of_a_served_flow_that_leaves_cancels_its_nodes(put: Put, serve: Callable[[Any], str]) -> None:
    troubled = Troubled()
    url = serve(Flow().add(**put(troubled), on="wait"))

    async def leave() -> None:
        async with Executor(url) as client:
            call = asyncio.create_task(client.apost(doc=DOC))
            assert await asyncio.to_thread(troubled.waits.wait, PATIENCE)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(troubled.cancelled.wait, PATIENCE)

    asyncio.run(leave())


# What may fail


def test_an_optional_node_that_fails_ends_nothing(put: Put) -> None:
    there = put(Troubled())
    f = Flow().add(**there, on="echo", id="a").add(**there, on="crash", id="b", optional=True)
    f.add(use=lambda doc: doc, id="hard", needs="b")
    f.add(use=lambda docs: docs, id="soft", needs=("b", "a"))

    with f:
        assert f.post(doc=DOC) == {"hard": None, "soft": DOC}


def test_an_optional_node_whose_server_is_away_is_left_out_until_it_is_back(
    serve: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    troubled = Troubled()
    url = serve(troubled)
    troubled.stop()
    f = Flow().add(use=lambda doc: doc, id="a").add(use=f"{url}/echo", id="b", needs="a", optional=True)

    with f:
        assert f.post(doc=DOC) is None
        (warning,) = f.check()
        assert re.fullmatch(r"node 'b' \(troubled/echo at .*\): .*; the Flow goes on without it", warning)
        with pytest.raises(Unavailable, match="node 'b'"):
            f.start("http://127.0.0.1:0")
        troubled.start(url.rpartition("/")[0])
        monkeypatch.setattr("xooai.flow.planning.monotonic", lambda: time.monotonic() + AWAY)
        assert f.post(doc=DOC) == DOC
        assert f.check() == []


@pytest.fixture
def hangs() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_an_optional_node_whose_server_hangs_is_left_out(hangs: int, scheme: str) -> None:
    pytest.importorskip("uvicorn" if scheme == "http" else "grpc", reason="the driver needs it")
    f = Flow().add(use=lambda doc: doc, id="a")
    f.add(use=f"{scheme}://127.0.0.1:{hangs}/e/t", id="b", needs="a", optional=True)

    with f, ThreadPoolExecutor(8) as threads:
        posts = [threads.submit(lambda: f.post(doc=DOC, timeout=1)) for _ in range(8)]
        assert [one.result(PATIENCE) for one in posts] == [None] * 8
        began = time.monotonic()
        assert f.post(doc=DOC) is None
        assert time.monotonic() - began < AWAY / 2
        (warning,) = f.check(timeout=1)
    assert re.fullmatch(r"node 'b' \(e/t at .*\): the time allowed .* has passed; the Flow goes on without it", warning)


def test_while_one_post_asks_again_others_go_on_by_the_plan_that_there_is(
    hangs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn", reason="calling needs httptools; it comes with: pip install -e '.[http]'")
    f = Flow().add(use=lambda doc: doc, id="a")
    f.add(use=f"http://127.0.0.1:{hangs}/e/t", id="b", needs="a", optional=True)

    async def main() -> None:
        assert await f.apost(doc=DOC, timeout=0.8) is None
        monkeypatch.setattr("xooai.flow.planning.monotonic", lambda: time.monotonic() + AWAY)
        asking = asyncio.create_task(f.apost(doc=DOC, timeout=PATIENCE))
        await asyncio.sleep(0)
        assert [await f.apost(doc=DOC) for _ in range(3)] == [None] * 3
        assert not asking.done()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await f.apost(doc=DOC, timeout=0.8) is None  # who asked has left: the next one asks

    with f:
        asyncio.run(main())


def test_a_server_that_hangs_when_it_is_asked_is_named(hangs: int) -> None:
    pytest.importorskip("uvicorn", reason="calling needs httptools; it comes with: pip install -e '.[http]'")

    with Flow().add(use=f"http://127.0.0.1:{hangs}/a/b", id="slow") as f, ThreadPoolExecutor(4) as threads:
        for call in (lambda: f.check(timeout=0.2), lambda: f.post(doc=DOC, timeout=0.2)):
            for one in [threads.submit(call) for _ in range(4)]:
                with pytest.raises(DeadlineExceeded, match=r"node 'slow' \(a/b at http://127.0.0.1:"):
                    one.result(PATIENCE)


def test_a_node_that_cannot_be_asked_is_told_at_once_whatever_others_do(hangs: int) -> None:
    pytest.importorskip("uvicorn", reason="calling needs httptools; it comes with: pip install -e '.[http]'")
    f = Flow().add(use="http://127.0.0.1:1/a/b", id="gone").add(use=f"http://127.0.0.1:{hangs}/a/b", id="slow")

    with f, pytest.raises(Unavailable, match="node 'gone'"):
        f.post(doc=DOC, timeout=PATIENCE)


def test_an_optional_node_that_alone_says_what_the_flow_takes_has_to_be_there() -> None:
    pytest.importorskip("uvicorn", reason="calling needs httptools; it comes with: pip install -e '.[http]'")

    with Flow().add(use="http://127.0.0.1:1/a/b", optional=True) as f, pytest.raises(Unavailable):
        f.post(doc=DOC)


@pytest.mark.parametrize(("times", "retry", "calls"), [(2, 2, 3), (2, 1, 2), (0, 5, 1)])
def test_a_node_is_tried_anew_as_often_as_it_may(put: Put, times: int, retry: int, calls: int) -> None:
    troubled = Troubled()
    with Flow().add(**put(troubled), on="busy", args={"times": times}, retry=retry) as f:
        if calls > times:
            assert f.post(doc=DOC) == DOC
        else:
            with pytest.raises(ResourceExhausted):
                f.post(doc=DOC)

    assert len(troubled.begun) == calls


def test_what_failed_for_good_is_not_tried_anew(put: Put) -> None:
    troubled = Troubled()
    troubled.waits.set()
    there = put(troubled)
    with Flow().add(**there, on="busy", args={"reason": "size"}, retry=3) as f, pytest.raises(ResourceExhausted):
        f.post(doc=DOC)
    with Flow().add(**there, on="fail", retry=3) as f, pytest.raises(NotFound):
        f.post(doc=DOC)

    assert troubled.begun == ["busy", "fail"]


def test_a_server_that_says_when_to_come_back_is_left_alone_until_then(put: Put) -> None:
    troubled = Troubled()
    with Flow().add(**put(troubled), on="busy", args={"times": 1, "after": 0.6}, retry=3) as f:
        f.check()
        began = time.monotonic()
        assert f.post(doc=DOC) == DOC
        assert time.monotonic() - began >= 0.6

    assert troubled.begun == ["busy", "busy"]


def test_a_server_that_wants_to_be_left_alone_for_long_is_not_waited_for(put: Put) -> None:
    troubled = Troubled()
    f = Flow().add(**put(troubled), on="busy", args={"after": 3600}, retry=3)
    with f, pytest.raises(ResourceExhausted, match="come back") as told:
        f.post(doc=DOC)

    assert told.value.retry_after == 3600
    assert troubled.begun == ["busy"]


def test_a_pause_that_is_longer_than_the_time_for_the_whole_is_not_begun(put: Put) -> None:
    troubled = Troubled()
    with Flow().add(**put(troubled), on="busy", args={"after": 20}, retry=3) as f:
        f.check()
        with pytest.raises(ResourceExhausted, match="come back"):
            f.post(doc=DOC, timeout=10)

    assert troubled.begun == ["busy"]


def test_flows_that_call_each_other_in_a_circle_end(serve: Callable[[Any], str]) -> None:
    calls: list[int] = []

    class Again(Executor):
        where = ""

        @post
        async def again(self, doc: Text) -> Text:
            calls.append(1)
            return doc

    again = Again()
    first = Flow(name="first").add(use=again, id="again")
    url = serve(first)
    # The second is served under the name that the first one, served again, has as its node: neither is of one process.
    second = Flow(name="second").add(use=f"{url}/call", id="there")
    there = serve(second)
    first.stop()
    first.add(use=f"{there}/call", id="circle", needs="again")
    first.start(url.rpartition("/")[0])

    with pytest.raises(FailedPrecondition, match="through 16 servers already"):
        first.post(doc=DOC, timeout=PATIENCE)

    assert 1 < len(calls) <= 16
