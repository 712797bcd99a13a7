"""Several URLs for one node: who gets the calls, what becomes of those that a server did not take, and who is asked again."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from authority import HERE, Authority
from grpc_poller import poller
from xooai import Executor, Flow, FlowError, NotFound, ResourceExhausted, Text, Unavailable, post, stream, sync
from xooai.client import Remote
from xooai.flow import several
from xooai.flow.attempts import EACH
from xooai.flow.servers import MOST

__all__ = ["poller"]

PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run
DOC = Text(value="x")
NEEDED = {"http": "uvicorn", "grpc": "grpc", "quic": "aioquic"}


class Reader(Executor):
    """Tells its name, and keeps what it was asked."""

    def __init__(self, tag: str, **more: Any) -> None:
        super().__init__(**more)
        self.tag = tag
        self.begun: list[str] = []
        self.has_begun, self.go = threading.Event(), threading.Event()
        self.refuses = False

    @post
    async def read(self, doc: Text) -> Text:
        self.begun.append(await doc.aread())
        if self.refuses:
            raise ResourceExhausted("come back", retry_after=1)
        return Text(value=self.tag)

    @post
    async def held(self, doc: Text) -> Text:
        self.begun.append(await doc.aread())
        self.has_begun.set()
        while not self.go.is_set():  # noqa: ASYNC110 - a thread sets it, and none may be left waiting
            await asyncio.sleep(0.005)
        return Text(value=self.tag)

    @stream
    async def words(self, doc: Text) -> AsyncIterator[Text]:
        for word in (await doc.aread()).split():
            yield Text(value=f"{self.tag} {word}")

    @post
    async def large(self, doc: Text) -> Text:
        return Text(value=self.tag * 400_000)

    @post
    async def size(self, doc: Text) -> int:
        return len(await doc.aread())


class Other(Executor):
    """An executor of the same name, whose endpoint takes another type."""

    @post
    async def read(self, doc: list[Text]) -> Text:
        return doc[0]


class Servers:
    """Serves executors over one driver, or HTTP, until the test ends."""

    def __init__(self, stack: ExitStack, scheme: str = "http", certificate: dict[str, str] | None = None) -> None:
        self._stack, self._scheme, self._certificate = stack, scheme, certificate or {}

    def __call__(self, executor: Executor, scheme: str | None = None) -> str:
        """The URL of the server."""
        self._stack.enter_context(executor)
        return self.start(executor, f"{scheme or self._scheme}://127.0.0.1:0")

    def start(self, executor: Executor, url: str, grace: float = PATIENCE) -> str:
        return executor.start(url, grace=grace, **self._certificate)[0]  # type: ignore[arg-type]


@pytest.fixture
def serve() -> Iterator[Servers]:
    """Over HTTP."""
    pytest.importorskip("uvicorn")
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.fixture(params=NEEDED)
def serve_all(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    """Over each driver."""
    pytest.importorskip(NEEDED[request.param])
    certificate: dict[str, str] = {}
    if request.param == "quic":
        authority = Authority(tmp_path)
        pair = authority.signs("here", HERE)
        certificate = {"certificate": str(pair.certificate), "key": str(pair.key)}
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.trust))
    with ExitStack() as stack:
        yield Servers(stack, request.param, certificate)


def of(urls: list[str], on: str = "read", **more: Any) -> Flow:
    return Flow().add(use=[f"{url}/reader/{on}" for url in urls], id="node", **more)


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_equal_servers_get_as_many_calls(serve_all: Servers) -> None:
    readers = [Reader("a"), Reader("b"), Reader("c")]
    urls = [serve_all(reader) for reader in readers]

    async def main(f: Flow) -> None:
        for _ in range(4):
            await asyncio.gather(*(f.apost(doc=DOC) for _ in range(60)))

    with of(urls) as f:
        f.post(doc=DOC)
        sync.run(main(f))

    assert all(len(reader.begun) > 50 for reader in readers), [len(reader.begun) for reader in readers]


def test_a_server_that_has_calls_under_way_gets_no_more_while_another_has_none(serve_all: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve_all(reader) for reader in readers]
    for reader in readers:
        reader.go.set()

    with of(urls, "held") as f, ThreadPoolExecutor(1) as pool:
        f.post(doc=DOC)
        for reader in readers:
            reader.go.clear()
            reader.has_begun.clear()
        hanging = pool.submit(f.post, doc=Text(value="hangs"))
        until(lambda: any(reader.has_begun.is_set() for reader in readers))
        busy, free = sorted(readers, key=lambda reader: not reader.has_begun.is_set())
        free.go.set()
        assert {f.post(doc=DOC).value for _ in range(30)} == {free.tag}
        busy.go.set()
        assert hanging.result().value == busy.tag


def test_drivers_are_mixed_and_the_trace_says_who_answered(serve: Servers) -> None:
    pytest.importorskip("grpc")
    urls = [serve(Reader("a")), serve(Reader("b"), "grpc")]

    with of(urls) as f:
        assert f.check() == []
        hosts = {"a": urls[0], "b": urls[1]}
        seen = set()
        for _ in range(40):
            ran = f.run(doc=DOC)
            assert ran.trace.spans[0].host == hosts[ran.result.value]
            seen.add(ran.result.value)
        assert f"node: reader/read at {urls[0]}, {urls[1]}\n" in f.explain()

    assert seen == {"a", "b"}


def test_each_item_goes_to_the_server_with_less_to_do(serve: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve(reader) for reader in readers]
    f = Flow().add(use=lambda n: [f"{i}" for i in range(n)], id="items")
    f.add(use=lambda item: Text(value=item), id="texts", needs="items", each=True)
    f.add(use=[f"{url}/reader/held" for url in urls], id="node", needs="texts", each=True)

    with f, ThreadPoolExecutor(1) as threads:
        running = threads.submit(f.run, n=100)
        until(lambda: [len(reader.begun) for reader in readers] == [EACH // 2, EACH // 2])
        readers[0].go.set()  # the other one is still at what it has
        until(lambda: [len(reader.begun) for reader in readers] == [100 - EACH // 2, EACH // 2])
        readers[1].go.set()
        ran = running.result(PATIENCE)

    assert sorted(text for reader in readers for text in reader.begun) == sorted(map(str, range(100)))
    (span,) = [span for span in ran.trace.spans if span.id == "node"]
    assert set(span.host.split(", ")) == set(urls)


def test_no_call_is_lost_when_a_server_goes_and_it_is_taken_back_when_it_returns(serve_all: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve_all(reader) for reader in readers]

    with of(urls) as f:
        f.post(doc=DOC)
        readers[0].stop()
        assert {f.post(doc=DOC).value for _ in range(30)} == {"b"}
        (warning,) = f.check()
        assert f"{urls[0]} (" in warning and "gets no calls until it answers" in warning

        serve_all.start(readers[0], urls[0])
        until(lambda: f.post(doc=DOC).value == "a")
        assert f.check() == []


def test_a_server_that_another_thread_took_back_meanwhile_gets_the_call() -> None:
    urls = ["http://127.0.0.1:1/reader/read", "http://127.0.0.1:2/reader/read"]
    node = several.Several(urls, Remote)

    assert asyncio.run(node._taken_back({}, PATIENCE)).name in urls[0] + urls[1]


def test_a_server_that_drains_under_load_costs_no_call(serve_all: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve_all(reader) for reader in readers]
    ends = asyncio.Event()
    tags: Counter[str] = Counter()

    async def call(f: Flow) -> None:
        while not ends.is_set():
            tags[(await f.apost(doc=DOC)).value] += 1

    async def main(f: Flow) -> None:
        async with f, asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(call(f))
            for reader, url in zip(readers, urls, strict=True):
                await asyncio.to_thread(until, lambda tag=reader.tag: tags[tag] > 50)  # type: ignore[misc]
                await asyncio.to_thread(reader.stop)
                await asyncio.to_thread(serve_all.start, reader, url)
                tags.clear()
                await asyncio.to_thread(until, lambda tag=reader.tag: tags[tag] > 5)  # type: ignore[misc]
            ends.set()

    asyncio.run(main(of(urls)))


def test_a_call_that_may_have_run_is_not_made_again(serve_all: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve_all(reader) for reader in readers]
    for reader, url in zip(readers, urls, strict=True):
        reader.stop()
        assert serve_all.start(reader, url, grace=0) == url

    with of(urls, "held") as f, ThreadPoolExecutor(1) as pool:
        call = pool.submit(f.post, doc=DOC)
        until(lambda: any(reader.has_begun.is_set() for reader in readers))
        busy, other = sorted(readers, key=lambda reader: not reader.has_begun.is_set())
        busy.stop()
        with pytest.raises(Unavailable) as told:
            call.result(PATIENCE)
        assert told.value.details["host"] == urls[readers.index(busy)]
        assert (busy.begun, other.begun) == (["x"], [])
        busy.go.set()
        other.go.set()
        assert f.post(doc=DOC).value == other.tag


def test_retry_says_that_it_may_be_made_again(serve: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve(reader) for reader in readers]
    for reader, url in zip(readers, urls, strict=True):
        reader.stop()
        serve.start(reader, url, grace=0)

    with of(urls, "held", retry=2) as f, ThreadPoolExecutor(1) as pool:
        call = pool.submit(f.post, doc=DOC)
        until(lambda: any(reader.has_begun.is_set() for reader in readers))
        busy, other = sorted(readers, key=lambda reader: not reader.has_begun.is_set())
        other.go.set()
        busy.stop()
        assert call.result(PATIENCE).value == other.tag
        busy.go.set()


def test_where_all_are_gone_the_error_names_all_and_the_first_that_returns_is_used(serve_all: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve_all(reader) for reader in readers]

    with of(urls) as f:
        f.post(doc=DOC)
        for reader in readers:
            reader.stop()
        for _ in range(3):
            with pytest.raises(Unavailable) as told:
                f.post(doc=DOC)
            assert all(f"{url} (" in told.value.message for url in urls)
        serve_all.start(readers[1], urls[1])
        assert f.post(doc=DOC).value == "b"


def test_a_flows_client_is_not_told_which_servers_are_behind_it(serve: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve(reader) for reader in readers]
    ports = [int(url.rpartition(":")[2]) for url in urls]

    texts = []
    with of(urls, timeout=0.3) as f, ExitStack() as stack:
        outer = stack.enter_context(Executor(f"{f.start('http://127.0.0.1:0')[0]}/flow"))
        outer.post(doc=DOC)
        for reader in readers:
            reader.stop()
        with pytest.raises(Unavailable) as away:
            outer.post(doc=DOC)
        texts.append(str(away.value))
        for port in ports:  # connections are made, and nothing is ever said
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        for _ in range(2):
            with pytest.raises(TimeoutError) as late:
                outer.post(doc=DOC)
            texts.append(str(late.value))

    assert all("'node'" in text for text in texts)
    assert not any(str(port) in text for text in texts for port in ports), texts


def test_none_that_answers_when_a_flow_is_planned_is_an_error_that_names_all(serve: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve(reader) for reader in readers]
    for reader in readers:
        reader.stop()

    with of(urls) as f:
        with pytest.raises(Unavailable, match="none of the servers says what it takes") as told:
            f.check()
        assert all(f"{url} (cannot connect" in told.value.message for url in urls)
        serve.start(readers[0], urls[0])
        assert f.post(doc=DOC).value == "a"
        assert len(f.check()) == 1


def test_servers_that_take_different_types_are_an_error_that_names_both(serve_all: Servers) -> None:
    urls = [serve_all(Reader("a")), serve_all(Other(name="reader"))]

    with of(urls) as f:
        with pytest.raises(FlowError) as told:
            f.check()
        assert (
            f"reader/read is (doc: Text) -> Text at {urls[0]}, and (doc: list[Text]) -> Text at {urls[1]}"
            in told.value.message
        )
        with pytest.raises(FlowError):
            f.post(doc=DOC)


def test_a_server_without_the_endpoint_is_an_error(serve: Servers) -> None:
    urls = [serve(Reader("a")), serve(Other(name="reader"))]

    with of(urls, "held") as f, pytest.raises(FlowError, match=f"{urls[0]} has reader/held, and {urls[1]} has not"):
        f.check()


def test_a_server_that_comes_back_with_other_types_gets_no_calls(serve: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve(reader) for reader in readers]
    readers[1].stop()

    with of(urls) as f:
        assert f.post(doc=DOC).value == "a"  # planned without the other
        other = Other(name="reader")
        with other:
            serve.start(other, urls[1])
            readers[0].stop()
            with pytest.raises(Unavailable) as told:
                f.post(doc=DOC)
            assert f"{urls[1]} (it takes or gives other types than the Flow was planned with" in told.value.message
            serve.start(readers[0], urls[0])
            assert f.post(doc=DOC).value == "a"
        serve.start(readers[1], urls[1])
        until(lambda: f.post(doc=DOC).value == "b")


def test_a_server_that_still_sets_up_is_asked_until_it_is_ready(serve_all: Servers) -> None:
    class Loading(Reader):
        async def setup(self) -> None:
            self.has_begun.set()
            await asyncio.to_thread(self.go.wait, PATIENCE)

    first, loading = Reader("a"), Loading("b", name="reader")
    url = serve_all(loading_place := Reader("c"))
    loading_place.stop()
    with ThreadPoolExecutor(1) as pool, loading:
        starting = pool.submit(serve_all.start, loading, url)
        assert loading.has_begun.wait(PATIENCE)
        with of([serve_all(first), url]) as f:
            assert {f.post(doc=DOC).value for _ in range(20)} == {"a"}
            loading.go.set()
            starting.result(PATIENCE)
            until(lambda: f.post(doc=DOC).value == "b")


def test_a_call_that_a_server_turns_away_goes_to_another_within_a_budget(serve: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve(reader) for reader in readers]

    with of(urls) as f:
        f.post(doc=DOC)
        readers[0].refuses = True
        assert {f.post(doc=DOC).value for _ in range(5)} == {"b"}
        readers[1].refuses = True
        for reader in readers:
            reader.begun.clear()
        for _ in range(100):
            with pytest.raises(ResourceExhausted, match="come back"):
                f.post(doc=DOC)

    assert sum(len(reader.begun) for reader in readers) <= 120


def test_a_server_that_hangs_is_left_alone_and_nothing_waits_for_it_when_the_flow_is_closed(
    serve: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several, "LATE", 0.1)
    monkeypatch.setattr(several, "ASK", PATIENCE)
    accepted: list[tuple[socket.socket, Any]] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        urls = [f"http://127.0.0.1:{silent.getsockname()[1]}", serve(Reader("a"))]
        with of(urls) as f:
            (warning,) = f.check()
            assert f"{urls[0]} (it did not answer within 0.1 s of the first one)" in warning
            asked = threading.Event()

            def accept() -> None:
                accepted.extend((silent.accept(), silent.accept()))
                asked.set()

            thread = threading.Thread(target=accept)
            thread.start()
            until(lambda: f.post(doc=DOC).value == "a" and asked.is_set())  # it is asked anew, by another connection
            thread.join()
            began = time.monotonic()
        assert time.monotonic() - began < PATIENCE / 2
        for connection, _ in accepted:
            connection.close()


def test_a_server_that_does_not_answer_in_time_is_asked_before_it_gets_another_call(serve: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve(reader) for reader in readers]

    with of(urls, "held") as f:
        f.check()
        with pytest.raises(TimeoutError):
            f.post(doc=DOC, timeout=0.1)
        (late,) = [reader for reader in readers if reader.begun]
        late.go.set()
        readers[1 - readers.index(late)].go.set()
        until(lambda: f.post(doc=DOC).value == late.tag)  # it was only slow
        assert f.check() == []


def test_contents_are_kept_by_the_server_that_gets_the_call(serve_all: Servers, tmp_path: Path) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve_all(reader) for reader in readers]
    file = tmp_path / "large.txt"
    file.write_text("x" * 400_000)

    with of(urls, "size") as f:
        f.post(doc=DOC)
        readers[0].stop()
        assert {f.post(doc=Text(ref=str(file))) for _ in range(4)} == {400_000}  # offered to the second, too
        serve_all.start(readers[0], urls[0])
    f = of(urls, "large").add(use=[f"{url}/reader/size" for url in urls], id="size", needs="node")
    with f:
        assert {f.post(doc=DOC) for _ in range(8)} == {400_000}


def test_a_stream_is_opened_at_a_server_that_works(serve_all: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve_all(reader) for reader in readers]
    failures = 0

    with of(urls, "words") as f:
        tags = {tuple(item.value for item in f.stream(doc=Text(value="to be"))) for _ in range(30)}
        assert tags == {("a to", "a be"), ("b to", "b be")}
        readers[0].stop()
        for _ in range(10):
            try:
                assert [item.value for item in f.stream(doc=DOC)] == ["b x"]
            except Unavailable as error:  # gRPC connects when a stream is read: too late for another server
                assert error.details["host"] == urls[0]
                failures += 1
        serve_all.start(readers[0], urls[0])
        until(lambda: [item.value for item in f.stream(doc=DOC)] == ["a x"])

    assert failures <= urls[0].startswith("grpc")


def test_many_threads_and_loops_share_the_servers(serve: Servers) -> None:
    readers = [Reader("a"), Reader("b")]
    urls = [serve(reader) for reader in readers]

    with of(urls) as f:

        def here() -> set[str]:
            return {f.post(doc=DOC).value for _ in range(10)}

        async def there() -> set[str]:
            return {reply.value for reply in await asyncio.gather(*(f.apost(doc=DOC) for _ in range(10)))}

        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(here) for _ in range(4)] + [pool.submit(asyncio.run, there()) for _ in range(4)]
            readers[1].stop()
            tags = set().union(*(call.result(PATIENCE) for call in calls))
            assert tags <= {"a", "b"}
            serve.start(readers[1], urls[1])
            until(lambda: asyncio.run(there()) == {"a", "b"})


FORKING = """
import os, signal, socket, time, traceback, warnings
from xooai import Executor, Flow, Text, post
from xooai.flow import several
from xooai.flow.attempts import EACH

warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: a process with threads forks
several.LATE = 0.1

class Reader(Executor):
    @post
    async def read(self, doc: Text) -> Text:
        return doc

silent = socket.create_server(("127.0.0.1", 0))
with Reader() as reader:
    urls = [f"http://127.0.0.1:{silent.getsockname()[1]}", *reader.start("http://127.0.0.1:0")]
    with Flow().add(use=[f"{url}/reader/read" for url in urls], id="node") as f:
        f.check()
        target = f._planning.targets["node"]
        while not target._returning._tasks:
            f.post(doc=Text(value="x"))
        child = os.fork()
        if not child:
            signal.alarm(20)  # a child that hangs fails
            try:
                silent.close()  # in the child alone: the parent still listens
                time.sleep(0.5)
                print([f.post(doc=Text(value=text), timeout=5).value for text in "abc"], flush=True)
                assert len(target._returning._tasks) == 1  # it asks for itself
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        print(f.post(doc=Text(value="parent")).value)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_that_forked_while_a_server_was_asked_calls_and_asks_by_itself() -> None:
    pytest.importorskip("uvicorn")
    run = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=2 * PATIENCE, check=False
    )

    assert (run.stdout, run.returncode) == ("['a', 'b', 'c']\nparent\n", 0), run.stderr


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (["http://a:1/reader/read", "http://b:1/reader/write"], "URLs of different endpoints, 'read' and 'write'"),
        (["http://a:1/reader/read", "http://a:1/reader/read"], "names http://a:1 twice"),
        (["http://a:1/reader/read", "reader/read"], "a list holds the URLs of one endpoint"),
        (["http://a:1/reader/read", "http://b:1"], "'http://b:1' names no endpoint"),
        ([], "a list holds the URLs of one endpoint"),
        ([Reader], "a list holds the URLs of one endpoint"),
        ([f"http://h{number}:1/reader/read" for number in range(65)], "65 URLs; a node takes 64 at most"),
    ],
    ids=["endpoints", "twice", "headless", "no endpoint", "empty", "class", "many"],
)
def test_a_list_that_is_no_list_of_servers_is_an_error_when_it_is_added(use: Any, says: str) -> None:
    with pytest.raises(FlowError, match=says):
        Flow(gateway="http://c:1").add(use=use)


def test_a_file_holds_the_list(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    f = Flow().add(use=("http://a:1/reader/read", "grpc://b:2/reader/read"), id="node")
    (tmp_path / "flow.yaml").write_text(f.dump())

    loaded = Flow.load(tmp_path / "flow.yaml")

    assert "  use: ['http://a:1/reader/read', 'grpc://b:2/reader/read']\n" in f.dump()
    assert loaded.dump() == f.dump()
    assert loaded._planning.targets["node"].host == "http://a:1, grpc://b:2"


def test_on_names_the_endpoint_at_each_of_the_servers_and_one_is_as_a_url_alone(serve: Servers) -> None:
    urls = [serve(Reader("a")), serve(Reader("b"))]

    with Flow().add(use=tuple(f"{url}/reader" for url in urls), on="read") as f:
        assert list(f._planning.targets) == ["reader/read"]
        assert {f.post(doc=DOC).value for _ in range(40)} == {"a", "b"}
    with Flow().add(use=[f"{urls[0]}/reader/read"]) as f:
        assert f.post(doc=DOC).value == "a"


def test_an_error_of_a_handler_is_the_callers_and_says_where_it_was(serve: Servers) -> None:

    class Failing(Executor):
        @post
        async def read(self, doc: Text) -> Text:
            raise NotFound("no such page")

    urls = [serve(Failing(name="reader")), serve(Failing(name="reader"))]

    with of(urls) as f:
        with pytest.raises(NotFound, match="no such page") as told:
            f.post(doc=DOC)
        assert told.value.details["host"] in urls
        assert f.check() == []


assert MOST < PATIENCE  # or the tests that wait for a server to be taken back would be too short
