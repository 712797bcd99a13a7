"""Calls that go in a circle over the network: they end, however the circle is closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from xooai import Executor, FailedPrecondition, Flow, Text, current, post
from xooai.call import HOPS
from xooai.metadata import HOPS_HEADER

DOC = Text(value="Hi")
PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run


class Counts(Executor):
    def __init__(self) -> None:
        super().__init__(name="counts")
        self.calls = 0

    @post
    async def count(self, doc: Text) -> Text:
        self.calls += 1
        assert self.calls < 10 * HOPS, "it does not end"
        return doc


class Stands(Executor):
    """Stands where a Flow will be, until those that lead there know what it takes and gives."""

    def __init__(self) -> None:
        super().__init__(name="f")
        self.url = ""

    @post(name="call")
    def answer(self, doc: Text) -> Text:
        return doc


class Caller(Executor):
    """Calls a URL from a handler."""

    url = ""

    @post
    async def asynchronous(self, doc: Text) -> Text:
        return await self.apost(self.url, doc=doc)  # type: ignore[no-any-return]

    @post
    async def mapped(self, doc: Text) -> Text:
        async with Executor(self.url.rpartition("/")[0]) as there:
            (found,) = [found async for found in there.amap(docs=[doc])]
            return found  # type: ignore[no-any-return]

    @post(batch_size=2, batch_wait=0, batch_concurrency=2 * HOPS)
    async def batch(self, docs: list[Text]) -> list[Text]:
        return [await self.apost(self.url, doc=doc) for doc in docs]

    @post
    def blocking(self, doc: Text) -> Text:
        return self.post(self.url, doc=doc)  # type: ignore[no-any-return]


Circle = Callable[[Flow, str, ExitStack], Any]


def _itself(f: Flow, url: str, stack: ExitStack) -> None:
    f.add(use=url, id="back", needs="count")


def _inner(f: Flow, url: str, stack: ExitStack) -> None:
    f.add(use=stack.enter_context(Flow(name="inner").add(use=url, id="back")), id="inner", needs="count")


def _two_deep(f: Flow, url: str, stack: ExitStack) -> None:
    inner = stack.enter_context(Flow(name="inner").add(use=url, id="back"))
    f.add(use=stack.enter_context(Flow(name="outer").add(use=inner, id="inner")), id="outer", needs="count")


def _several(f: Flow, url: str, stack: ExitStack) -> None:
    f.add(use=[url, url.replace("127.0.0.1", "localhost")] if "127.0.0.1" in url else url, id="back", needs="count")


def _handler(f: Flow, url: str, stack: ExitStack, on: str = "asynchronous") -> None:
    caller = stack.enter_context(Caller())
    caller.url = url
    f.add(use=caller, on=on, id="caller", needs="count")


CIRCLES: dict[str, Circle] = {
    "a node that is the Flow's own URL": _itself,
    "a Flow inside": _inner,
    "a Flow inside of one inside": _two_deep,
    "a node that is at several servers": _several,
    "a handler": _handler,
    "a handler that maps": partial(_handler, on="mapped"),
    "a handler of batches": partial(_handler, on="batch"),
}


@pytest.fixture(params=["http://127.0.0.1:0", "grpc://127.0.0.1:0", "memory://circle"])
def stands(request: pytest.FixtureRequest) -> Iterator[Stands]:
    """Serves where a Flow is to be served."""
    if request.param.startswith("http:"):
        pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
    if request.param.startswith("grpc:"):
        pytest.importorskip("grpc", reason="serving needs grpcio; it comes with: pip install -e '.[grpc]'")
    with Stands() as stands:
        (stands.url,) = stands.start(request.param)
        yield stands


@pytest.mark.parametrize("circle", CIRCLES)
def test_a_circle_over_the_network_ends_after_sixteen_servers(stands: Stands, circle: str) -> None:
    counts = Counts()
    with ExitStack() as stack:
        f = stack.enter_context(Flow(name="f")).add(use=counts, on="count", id="count")
        CIRCLES[circle](f, f"{stands.url}/f/call", stack)
        f.check()
        stands.stop()
        f.start(stands.url)
        with pytest.raises(FailedPrecondition, match=f"through {HOPS} servers already"):
            f.post(doc=DOC, timeout=PATIENCE)

    assert counts.calls in (HOPS, HOPS + 1)  # the first one, which no server asked for, may count


def test_a_circle_through_a_blocking_handler_ends(stands: Stands) -> None:
    with Caller() as caller, Flow(name="f").add(use=caller, on="blocking") as f:
        caller.url = f"{stands.url}/f/call"
        stands.stop()
        f.start(stands.url)
        # Not the whole way: each round holds a thread, and there are only so many.
        near = {HOPS_HEADER: str(HOPS - 3)}
        with Executor(f"{stands.url}/f") as client, pytest.raises(FailedPrecondition, match="servers already"):
            client.post(doc=DOC, timeout=PATIENCE, metadata=near)


class Tells(Executor):
    @post
    def hops(self, doc: Text) -> str:
        return current().metadata.get(HOPS_HEADER, "none")


def test_only_calls_that_a_server_makes_say_how_many_came_before(stands: Stands) -> None:
    scheme = stands.url.partition(":")[0]
    with Tells() as tells, ExitStack() as stack:
        (url,) = tells.start(f"{scheme}://127.0.0.1:0" if scheme != "memory" else "memory://tells")
        f = stack.enter_context(Flow(name="f").add(use=f"{url}/tells/hops", id="hops"))
        f.check()
        stands.stop()
        f.start(stands.url)
        outer = stack.enter_context(Flow().add(use=f"{stands.url}/f/call", id="there"))
        assert stack.enter_context(Executor(f"{url}/tells")).post(doc=DOC) == "none"
        assert f.post(doc=DOC) == "none"
        assert outer.post(doc=DOC) == "1"


@pytest.mark.parametrize("said", ["16", "99999999999999999999", "-1", "many", ""])
def test_a_call_that_says_it_came_through_too_many_servers_is_refused(said: str) -> None:
    with Flow(name="f").add(use=Counts, on="count") as f:
        f.start("memory://refuses")
        with Executor("memory://refuses/f") as client:
            assert client.post(doc=DOC, metadata={HOPS_HEADER: "15"}) == DOC
            with pytest.raises(FailedPrecondition, match="servers already"):
                client.post(doc=DOC, metadata={HOPS_HEADER: said})
