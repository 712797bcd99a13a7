"""A served Flow of nodes elsewhere that has connections to them: all that holds for its first call holds for the next ones."""

from __future__ import annotations

import asyncio
import http.client
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

import pytest

from xooai import Executor, Flow, ResourceExhausted, Unavailable, XooaiError, current, post
from xooai.call import Call, Layer, Service
from xooai.client import Remote
from xooai.codec import JSON

PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Nodes(Executor):
    """Two endpoints and one for what they gave; each does once what it has been told, and else answers."""

    def __init__(self) -> None:
        super().__init__(name="nodes", layers=(self._written,))
        self.told: dict[str, str] = {}
        self.calls: list[str] = []
        self.heads: list[dict[str, str]] = []
        self.begun, self.ended = threading.Semaphore(0), threading.Semaphore(0)

    @post
    async def left(self, text: str) -> str:
        return await self._answered("left", text)

    @post
    async def right(self, text: str) -> str:
        return await self._answered("right", text)

    @post
    async def join(self, left: str, right: str) -> str:
        return await self._answered("join", left + right)

    @post(idempotent=True)
    async def again(self, left: str, right: str) -> str:
        return await self._answered("again", left + right)

    async def _answered(self, name: str, reply: str) -> str:
        self.calls.append(name)
        self.heads.append(dict(current().metadata))
        told = self.told.pop(name, "")
        if told == "refuse":
            raise ResourceExhausted("not now", reason="load", retry_after=0.01)
        if told == "fail":
            raise Unavailable("gone for now")
        if told == "break":
            raise RuntimeError("broken")
        if told == "wait":
            self.begun.release()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.release()
        return reply

    def _written(self, service: Service) -> Service:
        async def answer(call: Call) -> None:
            name = call.endpoint.name
            is_odd = self.told.get(name) == "odd"
            await service(call)
            if is_odd:
                del call.reply
                call.reply = b'"a","b"'

        return answer


def flow(there: str, last: str = "join", layers: Sequence[Layer] = ()) -> Flow:
    f = Flow(name="f", layers=layers).add(use=there, on="left", id="left").add(use=there, on="right", id="right")
    return f.add(use=there, on=last, id="end", needs=("left", "right"))


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as nodes:
        yield nodes


@pytest.fixture
def there(nodes: Nodes) -> str:
    pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
    return f"{nodes.start('http://127.0.0.1:0')[0]}/nodes"


Connected = Callable[..., tuple[Executor, str]]


def posted(url: str, headers: dict[str, str]) -> int:
    """The status of the answer to a call of a Flow that is sent with these headers."""
    to = urlsplit(url)
    connection = http.client.HTTPConnection(str(to.hostname), to.port, timeout=PATIENCE)
    with closing(connection):
        connection.request("POST", f"{to.path}/call", b'{"text":"a"}', {"content-type": "application/json", **headers})
        response = connection.getresponse()
        response.read()
        return response.status


@pytest.fixture
def connected(nodes: Nodes, there: str, serve: Callable[[Any], str]) -> Iterator[Connected]:
    """A client of a served Flow that has called its nodes already, and the URL."""
    with ExitStack() as stack:

        def connected(last: str = "join") -> tuple[Executor, str]:
            url = serve(flow(there, last))
            found = stack.enter_context(Executor(url))
            for _ in range(2):
                assert found.post(text="a") == "aa"
            nodes.calls.clear()
            nodes.heads.clear()
            return found, url

        yield connected


def told(client: Executor) -> tuple[type, str, dict[str, Any]]:
    """The error of a call, without what no two calls have in common."""
    with pytest.raises(XooaiError) as caught:
        client.post(text="a")
    return caught.type, re.sub(r"request \S+\)", "request)", caught.value.message), caught.value.details


@pytest.mark.parametrize("node", ["left", "right", "join"])
@pytest.mark.parametrize("way", ["fail", "break", "odd"])
def test_an_error_of_a_node_is_told_as_that_of_a_first_call(
    nodes: Nodes, there: str, connected: Connected, serve: Callable[[Any], str], node: str, way: str
) -> None:
    with Executor(serve(flow(there))) as first:
        nodes.told[node] = way
        expected = told(first)
        nodes.told.clear()
    client, _ = connected()
    nodes.told[node] = way

    assert told(client) == expected
    assert expected[2]["node"] == ("end" if node == "join" else node)


@pytest.mark.parametrize(
    ("node", "way", "last"), [("left", "refuse", "join"), ("join", "refuse", "join"), ("again", "fail", "again")]
)
def test_a_call_of_a_node_is_made_anew_where_that_is_right(
    nodes: Nodes, connected: Connected, node: str, way: str, last: str
) -> None:
    client, _ = connected(last)
    nodes.told[node] = way

    assert client.post(text="b") == "bb"
    assert sorted(nodes.calls) == sorted(["left", "right", last, node])


@pytest.mark.parametrize("failing", ["left", "right"])
def test_the_first_failure_ends_the_node_beside_it(nodes: Nodes, connected: Connected, failing: str) -> None:
    client, _ = connected()
    nodes.told.update({"left": "wait", "right": "wait"} | {failing: "fail"})

    with pytest.raises(Unavailable, match=f"node '{failing}'"):
        client.post(text="a")

    assert nodes.ended.acquire(timeout=PATIENCE)
    assert client.post(text="b") == "bb"


@pytest.mark.parametrize("node", ["right", "join"])
def test_the_callers_time_ends_what_is_under_way(nodes: Nodes, connected: Connected, node: str) -> None:
    client, url = connected()
    nodes.told[node] = "wait"

    assert posted(url, {"xooai-timeout": "200"}) == 504
    assert nodes.ended.acquire(timeout=PATIENCE)
    assert client.post(text="b") == "bb"


@pytest.mark.parametrize("node", ["left", "join"])
def test_a_caller_that_leaves_ends_what_is_under_way(nodes: Nodes, connected: Connected, node: str) -> None:
    client, url = connected()
    nodes.told[node] = "wait"

    async def leave() -> None:
        async with Executor(url) as leaving:
            call = asyncio.create_task(leaving.apost(text="a"))
            assert await asyncio.to_thread(nodes.begun.acquire, timeout=PATIENCE)
            call.cancel()
            assert await asyncio.to_thread(nodes.ended.acquire, timeout=PATIENCE)

    asyncio.run(leave())
    assert client.post(text="b") == "bb"


def test_a_node_that_was_started_anew_is_called_on_new_connections(
    nodes: Nodes, there: str, connected: Connected
) -> None:
    client, _ = connected()
    nodes.stop()
    nodes.start(there.removesuffix("/nodes"))

    assert client.post(text="b") == "bb"


def test_a_follower_that_cannot_be_sent_as_its_needs_end_is_called_once_it_is_connected_again(
    nodes: Nodes, there: str, serve: Callable[[Any], str]
) -> None:
    with Nodes() as other:
        apart = other.start("http://127.0.0.1:0")[0]
        f = Flow(name="f").add(use=there, on="left", id="left").add(use=there, on="right", id="right")
        f.add(use=f"{apart}/nodes", on="join", id="end", needs=("left", "right"))
        with Executor(serve(f)) as client:
            for _ in range(2):
                assert client.post(text="a") == "aa"
            other.stop()
            other.start(apart)
            nodes.calls.clear()
            other.calls.clear()

            assert client.post(text="b") == "bb"

    assert sorted(nodes.calls) == ["left", "right"]
    assert other.calls == ["join"]


def test_a_server_that_was_called_from_another_loop_since_is_sent_calls_at_once(nodes: Nodes, there: str) -> None:
    remote = Remote(there.removesuffix("/nodes"))

    async def called() -> None:
        await remote.call("nodes", nodes._xooai_endpoint("left"), {"text": "a"}, PATIENCE, None, None)

    async def sent() -> bytes:
        loop = asyncio.get_running_loop()
        await called()
        await asyncio.to_thread(asyncio.run, called())
        ended = asyncio.Event()
        head = remote.heading("nodes", "left", JSON.media_type, PATIENCE, "")
        call = remote.start(head, b'{"text":"b"}', loop, ended.set)
        assert call is not None, "it would have to be opened"
        await asyncio.wait_for(ended.wait(), PATIENCE)
        return call.reply()[0]

    assert asyncio.run(sent()) == b'"b"'


def test_each_node_is_told_the_id_and_the_trace_of_the_call(nodes: Nodes, connected: Connected) -> None:
    client, _ = connected()

    client.post(text="a", metadata={"x-request-id": "the-one", "traceparent": TRACE})
    client.post(text="a", metadata={"x-request-id": "the-other"})

    assert nodes.calls == 2 * ["left", "right", "join"] or nodes.calls[:3] == ["right", "left", "join"]
    assert [head["x-request-id"] for head in nodes.heads] == 3 * ["the-one"] + 3 * ["the-other"]
    assert [head.get("traceparent") for head in nodes.heads] == 3 * [TRACE] + 3 * [None]
    assert {head["xooai-hops"] for head in nodes.heads} == {"1"}


def test_an_id_that_is_asked_for_on_the_way_is_told_with_no_other_call(
    nodes: Nodes, there: str, serve: Callable[[Any], str]
) -> None:
    def asking(service: Service) -> Service:
        async def answer(call: Call) -> None:
            asyncio.get_running_loop().call_soon(lambda: call.id)  # once the first nodes are called
            await service(call)

        return answer

    ids = []
    with Executor(serve(flow(there, layers=(asking,)))) as client:
        for _ in range(4):
            nodes.heads.clear()
            assert client.post(text="a") == "aa"
            ids.append({head["x-request-id"] for head in nodes.heads if "x-request-id" in head})
    assert any(ids)
    assert not any(one & other for one, other in combinations(ids, 2))


def test_many_callers_at_once_get_their_own_replies(connected: Connected) -> None:
    client, _ = connected()
    texts = [f"{index}." for index in range(300)]

    found = list(client.map(docs=texts, concurrency=64))

    assert found == [2 * text for text in texts]
